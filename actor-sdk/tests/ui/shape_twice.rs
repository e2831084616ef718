//! Two operations of one actor under one name: the second could never be called.
use lattice_actor::{Context, Result, actor, interface};

#[interface]
pub trait Inventory {
    async fn stock(sku: String) -> Result<u32>;
}

#[derive(Default)]
pub struct Shelves;

impl Inventory for Shelves {
    async fn stock(&self, _ctx: &Context, _sku: String) -> Result<u32> {
        Ok(0)
    }
}

#[actor(implements(Inventory))]
impl Shelves {
    async fn stock(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
