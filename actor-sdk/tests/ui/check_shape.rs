//! Checks that a node cannot ask.
use lattice_actor::{Context, Result, actor, interface};

#[derive(Default)]
pub struct NotAsync;

#[actor]
impl NotAsync {
    #[check]
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
pub struct WithContext;

#[actor]
impl WithContext {
    #[check]
    async fn check(&self, _ctx: &Context) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
pub struct NoSelf;

#[actor]
impl NoSelf {
    #[check]
    async fn check() -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
pub struct SaysBool;

#[actor]
impl SaysBool {
    #[check]
    async fn check(&self) -> bool {
        true
    }
}

#[derive(Default)]
pub struct SaysMore;

#[actor]
impl SaysMore {
    #[check]
    async fn check(&self) -> Result<u32> {
        Ok(1)
    }
}

#[derive(Default)]
pub struct Twice;

#[actor]
impl Twice {
    #[check]
    async fn one(&self) -> Result<()> {
        Ok(())
    }

    #[check]
    async fn two(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
pub struct Both;

#[actor]
impl Both {
    #[check]
    #[idempotent]
    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[interface]
pub trait Health {
    async fn healthy() -> Result<bool>;
}

#[derive(Default)]
pub struct InInterface;

#[actor]
impl Health for InInterface {
    #[check]
    async fn healthy(&self, _ctx: &Context) -> Result<bool> {
        Ok(true)
    }
}

fn main() {}
