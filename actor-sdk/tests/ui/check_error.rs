//! A check whose error nobody could read.
use lattice_actor::{Result, actor};

pub struct Silent;

#[derive(Default)]
pub struct Till;

#[actor]
impl Till {
    #[check]
    async fn check(&self) -> Result<(), Silent> {
        Err(Silent)
    }
}

fn main() {}
