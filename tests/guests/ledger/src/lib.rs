//! A list under each key. What was appended is seen by whoever comes later, once, and in one order: a test that loses
//! something, or has it twice, finds it in the list.

use std::time::Duration;

use lattice_actor::{Context, Rejection, Result, Turn, keyed};
use serde::{Deserialize, Serialize};

/// The list of one key.
#[derive(Default, Serialize, Deserialize)]
pub struct Ledger {
    entries: Vec<u64>,
    padding: String,
}

#[keyed]
impl Ledger {
    /// Appends a number, and gives how many there are then.
    async fn append(&mut self, _ctx: &Turn, number: u64) -> Result<usize> {
        self.entries.push(number);
        Ok(self.entries.len())
    }

    /// All of them.
    async fn all(&self, _ctx: &Context) -> Result<Vec<u64>> {
        Ok(self.entries.clone())
    }

    /// Appends a number and fails: nothing is to be left of it.
    async fn fail(&mut self, _ctx: &Turn, number: u64) -> Result<usize> {
        self.entries.push(number);
        Err(Rejection::new("refused", "as it was told").into())
    }

    /// Appends a number and traps: nothing is to be left of it.
    async fn trap(&mut self, _ctx: &Turn, number: u64) -> Result<usize> {
        self.entries.push(number);
        panic!("as it was told")
    }

    /// Makes the state so large, in bytes.
    async fn grow(&mut self, _ctx: &Turn, bytes: usize) -> Result<usize> {
        self.padding = "x".repeat(bytes);
        Ok(self.entries.len())
    }

    /// Appends a number and then computes for so long.
    async fn slow(&mut self, _ctx: &Turn, number: u64, ms: u64) -> Result<usize> {
        self.entries.push(number);
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(ms) {
            std::hint::spin_loop();
        }
        Ok(self.entries.len())
    }

    /// Calls an operation of another actor, or of this one, without arguments.
    async fn ask(&mut self, ctx: &Turn, id: String) -> Result<Vec<u64>> {
        ctx.call(id.as_str(), "all", &()).await
    }
}
