//! Says what things cost, by the interface of `wit/orders.wit`. Whoever imports it is linked to this by the manifest.
//!
//! Nothing in it is Lattice's, and nothing in it has to be Rust: it is a component, and that is all.

#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "generated: what a component exports is entered by raw memory")]

/// What wit-bindgen makes of the WIT package.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "priced" });
}

use bindings::exports::acme::orders::tariff::{Guest, Item};

struct Tariff;

bindings::export!(Tariff with_types_in bindings);

/// In cents for one.
const PRICES: [(&str, u64); 3] = [("tea", 450), ("coffee", 890), ("cup", 1_250)];

impl Guest for Tariff {
    fn price(item: Item) -> Result<u64, String> {
        let price = PRICES.iter().find(|(sku, _)| *sku == item.sku);
        let (_, price) = price.ok_or_else(|| format!("nobody sells `{}`", item.sku))?;
        Ok(price * u64::from(item.amount))
    }
}
