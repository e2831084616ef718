//! An actor that lacks an operation of its interface.
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
    async fn stock(&self, _ctx: &Context, _sku: String) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
