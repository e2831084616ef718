//! An actor with an operation that its interface does not have, and one that implements nothing of what it lists.
use lattice_actor::{Context, Result, actor, interface};

#[interface]
pub trait Inventory {
    async fn stock(sku: String) -> Result<u32>;
}

#[derive(Default)]
pub struct Shelves;

#[actor]
impl Inventory for Shelves {
    async fn stock(&self, _ctx: &Context, _sku: String) -> Result<u32> {
        Ok(0)
    }

    async fn refill(&self, _ctx: &Context) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
pub struct Cellar;

#[actor(implements(Inventory))]
impl Cellar {}

fn main() {}
