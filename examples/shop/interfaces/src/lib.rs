//! The interfaces that the actors of the shop share, and what travels between them.
//!
//! No actor is here: a change of one of these lines shows, when they are compiled, in every actor that must follow.

use lattice_actor::{ActorError, Result, interface};
use serde::{Deserialize, Serialize};

/// Knows what is on the shelves.
#[interface]
pub trait Inventory {
    /// How many are left; none of what was never sold here.
    #[idempotent]
    async fn stock(sku: String) -> Result<u32>;
}

/// Knows what things cost.
#[interface]
pub trait Pricing {
    /// The price of one, in cents.
    ///
    /// Rejects with [`PricingError`].
    #[idempotent]
    async fn price(sku: String) -> Result<u64>;
}

/// Sells.
#[interface]
pub trait Storefront {
    /// What so many would cost, and whether they are there.
    #[idempotent]
    async fn quote(sku: String, quantity: u32) -> Result<Quote>;
}

/// What the storefront offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// What was asked for.
    pub sku: String,
    /// How many were asked for.
    pub quantity: u32,
    /// For all of them.
    pub price_cents: u64,
    /// Whether so many are left.
    pub available: bool,
}

/// Why there is no price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ActorError)]
pub enum PricingError {
    /// Nothing of that name is sold here.
    UnknownSku {
        /// The name.
        sku: String,
    },
}

impl std::fmt::Display for PricingError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PricingError::UnknownSku { sku } => write!(out, "`{sku}` is not sold here"),
        }
    }
}
