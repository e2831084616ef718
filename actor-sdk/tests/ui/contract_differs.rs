//! An actor whose operation takes or gives something else than its interface says.
use lattice_actor::{Context, Result, actor, interface};

#[interface]
pub trait Inventory {
    async fn reserve(sku: String, quantity: u32) -> Result<u32>;
    async fn stock(sku: String) -> Result<u32>;
}

#[derive(Default)]
pub struct Shelves;

#[actor]
impl Inventory for Shelves {
    async fn reserve(&self, _ctx: &Context, _sku: String, quantity: u64) -> Result<u32> {
        Ok(quantity as u32)
    }

    async fn stock(&self, _ctx: &Context, _sku: String) -> Result<String> {
        Ok("none".into())
    }
}

fn main() {}
