//! A key that loses its owner: which key that may be, and when it answers again.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lattice_proto::admin::KeyRequest;
use serde_json::Value;

use crate::{Lattice, wait_for};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a client asks that has no answer yet: it is part of what is measured.
const ASK: Duration = Duration::from_millis(20);

/// How long each of its calls waits.
const ASKED: Duration = Duration::from_secs(1);

/// Keys of the ledger to choose from.
const KEYS: u32 = 48;

/// A key of the ledger that a node owns, awake, and that is not on its way elsewhere.
pub async fn key_of(lattice: &Lattice, via: usize, node: usize) -> String {
    let name = lattice.nodes[node].name();
    let look = async || {
        let mut admin = lattice.admin(via);
        for number in 0..KEYS {
            let key = format!("ledger/k{number}");
            let info = admin.inspect_key(KeyRequest { actor: key.clone() }).await.unwrap().into_inner();
            let stays = info.owner == name && info.next_owner.is_empty();
            if stays && lattice.call_within(via, &key, "touch", Value::Null, PATIENCE).await.is_ok() {
                return Some(key);
            }
        }
        None
    };
    let found = wait_for(&format!("{name} owns a key"), PATIENCE, look, Option::is_some).await;
    found.unwrap_or_else(|| unreachable!("it was waited for"))
}

/// Asks a key again and again until one of its turns is committed and answered.
pub async fn until_answered(lattice: &Lattice, via: usize, key: &str) {
    let (mut asked, began) = (FuturesUnordered::new(), Instant::now());
    let mut tick = tokio::time::interval(ASK);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                assert!(began.elapsed() < PATIENCE, "{key} does not answer");
                asked.push(lattice.call_within(via, key, "touch", Value::Null, ASKED));
            }
            Some(answer) = asked.next() => if answer.is_ok() {
                return;
            },
        }
    }
}
