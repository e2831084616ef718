//! A caller that gives a client the wrong arguments.
use lattice_actor::{Context, Result, interface};

#[interface]
pub trait Inventory {
    async fn reserve(sku: String, quantity: u32) -> Result<u32>;
}

async fn caller(ctx: &Context) -> Result<u32> {
    let inventory = ctx.actor::<dyn Inventory>("inventory");
    inventory.reserve("tea").await?;
    inventory.reserve("tea", "two").await
}

fn main() {}
