//! The interfaces that the actors of the shop share, and what travels between them.
//!
//! No actor is here: a change of one of these lines shows, when they are compiled, in every actor that must follow.

use std::collections::BTreeMap;

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

/// Keeps what one customer wants to buy. A keyed actor: each customer has one of their own.
#[interface]
pub trait Cart {
    /// Puts so many more in, and gives how many of them there are now.
    ///
    /// Rejects with [`CartError`].
    async fn add(&mut self, sku: String, quantity: u32) -> Result<u32>;

    /// What is in it, and how many of each.
    #[idempotent]
    async fn lines() -> Result<BTreeMap<String, u32>>;

    /// Takes everything out.
    #[idempotent]
    async fn clear(&mut self) -> Result<()>;
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

/// Why something does not go into a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ActorError)]
pub enum CartError {
    /// There are not so many.
    OutOfStock {
        /// What was asked for.
        sku: String,
        /// How many there are.
        left: u32,
    },
}

impl std::fmt::Display for CartError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CartError::OutOfStock { sku, left } => write!(out, "only {left} of `{sku}` are left"),
        }
    }
}
