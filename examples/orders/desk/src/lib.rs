//! Takes orders: it asks what they cost, and tells whoever wants to know.
//!
//! It names nobody. Whom it asks is said by `links` in the manifest, and who hears of an order by the `subscribe` of others.

#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "generated: what a component imports is called by raw memory")]

/// What wit-bindgen makes of the WIT package.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "ordering" });
}

use bindings::acme::orders::tariff::{self, Item};
use lattice_actor::{Context, Rejection, Result, actor, log};
use serde::Serialize;

/// The desk.
#[derive(Default)]
pub struct Desk;

/// An order, as it is answered and published.
#[derive(Serialize)]
pub struct Order {
    /// The same, however often it is published.
    id: String,
    sku: String,
    amount: u32,
    cents: u64,
}

#[actor]
impl Desk {
    /// Takes an order.
    async fn order(&self, ctx: &Context, sku: String, amount: u32) -> Result<Order> {
        let item = Item { sku: sku.clone(), amount };
        // What may go wrong is a value of the interface. A call that fails otherwise traps, as a function of WIT has no other way.
        let cents = tariff::price(&item).map_err(|why| Rejection::new("no-price", why))?;
        let order = Order { id: ctx.message_id().to_owned(), sku, amount, cents };
        // It is stored when this returns, and whoever subscribes hears of it, now or when they are there again.
        ctx.publish("orders.created", &order).await?;
        log::info!("order {} costs {cents} cents", order.id);
        Ok(order)
    }
}
