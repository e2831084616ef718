//! Operations whose types cannot be decoded or encoded, and an actor that cannot be made.
use lattice_actor::{Context, Result, actor};

pub struct Opaque;

#[derive(Default)]
pub struct Shelves;

#[actor]
impl Shelves {
    async fn take(&self, _ctx: &Context, _what: Opaque) -> Result<u32> {
        Ok(0)
    }

    async fn give(&self, _ctx: &Context) -> Result<Opaque> {
        Ok(Opaque)
    }

    async fn fail(&self, _ctx: &Context) -> Result<u32, Opaque> {
        Err(Opaque)
    }
}

pub struct NoDefault;

#[actor]
impl NoDefault {
    async fn stock(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
