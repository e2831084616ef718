//! States that cannot be saved, read or made, and a migration of another shape.
use lattice_actor::serde_json::Value;
use lattice_actor::{Context, Result, keyed};
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
pub struct NoSerialize;

#[keyed]
impl NoSerialize {
    async fn lines(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize)]
pub struct NoDeserialize;

#[keyed]
impl NoDeserialize {
    async fn lines(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Serialize, Deserialize)]
pub struct NoDefault;

#[keyed]
impl NoDefault {
    async fn lines(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct Migrated;

#[keyed(version = 2, migrate = from_one)]
impl Migrated {
    async fn lines(&self, _ctx: &Context) -> Result<u32> {
        Ok(0)
    }
}

fn from_one(state: Value) -> Value {
    state
}

fn main() {}
