//! Actors whose operations cannot be served.
use lattice_actor::{Context, Result, actor, interface};

#[derive(Default)]
pub struct NotAsync;

#[actor]
impl NotAsync {
    fn stock(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct NoContext;

#[actor]
impl NoContext {
    async fn stock(&self, _sku: String) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct NoParameters;

#[actor]
impl NoParameters {
    async fn stock(&self) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct NoSelf;

#[actor]
impl NoSelf {
    async fn stock(_ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct Exclusive;

#[actor]
impl Exclusive {
    async fn stock(&mut self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct ByReference;

#[actor]
impl ByReference {
    async fn stock(&self, _ctx: &Context, _sku: &str) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct Generic;

#[actor]
impl Generic {
    async fn stock<T: ToString>(&self, _ctx: &Context, _sku: T) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct GenericItself<T>(T);

#[actor]
impl<T> GenericItself<T> {
    async fn stock(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct Constant;

#[actor]
impl Constant {
    const SIZE: u32 = 1;
}

#[interface]
pub trait Inventory {
    async fn stock(sku: String) -> Result<u32>;
}

#[derive(Default)]
pub struct Marked;

#[actor]
impl Inventory for Marked {
    #[idempotent]
    async fn stock(&self, _ctx: &Context, _sku: String) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
pub struct Option;

#[actor(replicas = 3)]
impl Option {
    async fn stock(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
