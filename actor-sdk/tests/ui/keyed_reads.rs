//! Operations that read and try to do more, and a replicated actor that tries what only keyed ones can.
use std::time::Duration;

use lattice_actor::{Context, Result, Schedule, Turn, actor, interface, keyed};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub struct Basket {
    lines: u32,
}

#[keyed]
impl Basket {
    async fn change(&self, _ctx: &Context) -> Result<()> {
        self.lines = 1;
        Ok(())
    }

    async fn send(&self, ctx: &Context) -> Result<()> {
        ctx.send(ctx.call::<()>("other", "nothing", &()))
    }

    async fn remind(&mut self, ctx: &Context) -> Result<()> {
        let call = ctx.actor::<Self>("basket/a").change();
        ctx.remind("change", Schedule::after(Duration::ZERO), call)
    }
}

#[interface]
pub trait Cart {
    async fn clear(&mut self) -> Result<()>;
}

#[derive(Default)]
pub struct Replicated;

#[actor]
impl Cart for Replicated {
    async fn clear(&mut self, _ctx: &Turn) -> Result<()> {
        Ok(())
    }
}

#[interface]
pub trait Inventory {
    async fn stock(sku: String) -> Result<u32>;
}

#[derive(Default, Serialize, Deserialize)]
pub struct Shelves;

#[keyed]
impl Inventory for Shelves {
    async fn stock(&mut self, _ctx: &Context, _sku: String) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct Empty;

#[keyed]
impl Cart for Empty {}

fn main() {}
