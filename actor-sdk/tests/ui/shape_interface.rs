//! Interfaces whose operations cannot travel.
use lattice_actor::{Context, Result, interface};

#[interface]
pub trait NotAsync {
    fn stock(sku: String) -> Result<u32>;
}

#[interface]
pub trait WithSelf {
    async fn stock(self, sku: String) -> Result<u32>;
}

#[interface]
pub trait WithContext {
    async fn stock(ctx: &Context, sku: String) -> Result<u32>;
}

#[interface]
pub trait ByReference {
    async fn stock(sku: &str) -> Result<u32>;
}

#[interface]
pub trait Generic {
    async fn stock<T: ToString>(sku: T) -> Result<u32>;
}

#[interface]
pub trait GenericItself<T> {
    async fn stock(sku: T) -> Result<u32>;
}

#[interface]
pub trait ImplTrait {
    async fn stock(sku: impl ToString) -> Result<u32>;
}

#[interface]
pub trait Infallible {
    async fn stock(sku: String) -> u32;
}

#[interface]
pub trait Silent {
    async fn stock(sku: String);
}

#[interface]
pub trait Body {
    async fn stock(sku: String) -> Result<u32> {
        Ok(0)
    }
}

#[interface]
pub trait Pattern {
    async fn stock((sku, quantity): (String, u32)) -> Result<u32>;
}

#[interface]
pub trait Super: Send {
    async fn stock(sku: String) -> Result<u32>;
}

#[interface]
pub trait Constant {
    const SIZE: u32;
}

#[interface]
pub trait Reserved {
    async fn timeout(sku: String) -> Result<u32>;
}

#[interface(cbor)]
pub trait Format {
    async fn stock(sku: String) -> Result<u32>;
}

#[interface(protobuf)]
pub trait TwoMessages {
    async fn stock(one: String, two: String) -> Result<u32>;
}

fn main() {}
