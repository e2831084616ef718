//! Keyed actors whose operations cannot be served.
use lattice_actor::{Context, Result, Turn, interface, keyed};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub struct ByValue;

#[keyed]
impl ByValue {
    async fn add(self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct NoSelf;

#[keyed]
impl NoSelf {
    async fn add(_ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct NoContext;

#[keyed]
impl NoContext {
    async fn add(&mut self, _sku: String) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct NoParameters;

#[keyed]
impl NoParameters {
    async fn lines(&self) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct ReadWithTurn;

#[keyed]
impl ReadWithTurn {
    async fn lines(&self, _ctx: &Turn) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct NotAsync;

#[keyed]
impl NotAsync {
    fn add(&mut self, _ctx: &Turn) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct Generic;

#[keyed]
impl Generic {
    async fn add<T: ToString>(&mut self, _ctx: &Turn, _sku: T) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct GenericItself<T>(T);

#[keyed]
impl<T> GenericItself<T> {
    async fn add(&mut self, _ctx: &Turn) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct WithCheck;

#[keyed]
impl WithCheck {
    #[check]
    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct AsyncWoken;

#[keyed]
impl AsyncWoken {
    #[woken]
    async fn woken(&mut self, _key: &str) {}
}

#[derive(Default, Serialize, Deserialize)]
pub struct WokenTwice;

#[keyed]
impl WokenTwice {
    #[woken]
    fn one(&mut self, _key: &str) {}

    #[woken]
    fn two(&mut self, _key: &str) {}
}

#[derive(Default, Serialize, Deserialize)]
pub struct Option;

#[keyed(schema = 2)]
impl Option {
    async fn add(&mut self, _ctx: &Turn) -> Result<u32> {
        Ok(0)
    }
}

#[interface]
pub trait Cart {
    async fn clear(&mut self) -> Result<()>;
}

#[derive(Default, Serialize, Deserialize)]
pub struct Marked;

#[keyed]
impl Cart for Marked {
    #[idempotent]
    async fn clear(&mut self, _ctx: &Turn) -> Result<()> {
        Ok(())
    }
}

fn main() {}
