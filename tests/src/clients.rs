//! Concurrent clients of the ledger, whose history is judged afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lattice_proto::Ran;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::history::{Client, History, Key, Recorder};
use crate::lattice::{AdminClient, call};
use crate::linearize::{ListInput, ListOutput};

/// What is recorded.
pub type LedgerHistory = History<ListInput<u64>, ListOutput<u64>>;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long each key may take to tell what is there at the end.
const LAST: Duration = Duration::from_secs(30);

/// How long it does nothing after an answer, at most: histories stay short enough to be judged.
const PAUSE: std::ops::Range<u64> = 5..40;

/// One of so many operations reads.
const READS: u8 = 3;

/// Clients that go on until they are stopped.
#[derive(Debug)]
pub struct Clients {
    recorder: Recorder<ListInput<u64>, ListOutput<u64>>,
    answered: Arc<AtomicUsize>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    keys: Vec<String>,
    way: AdminClient,
}

impl Clients {
    /// Starts one client for each way in and key. They append, and now and then read where `reads`.
    pub fn start(ways: &[AdminClient], keys: &[&str], reads: bool) -> Self {
        let mut clients = Self {
            recorder: Recorder::default(),
            answered: Arc::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            way: ways[0].clone(),
        };
        // Each item is appended once, so that it tells which operation it came by.
        let items = Arc::new(AtomicU64::new(0));
        for (number, (way, key)) in
            ways.iter().flat_map(|way| keys.iter().map(move |key| (way, *key))).enumerate()
        {
            let client = Client(u32::try_from(number).unwrap());
            let one = One {
                client,
                key: Key::new(key),
                target: format!("ledger/{key}"),
                way: way.clone(),
                recorder: clients.recorder.clone(),
                items: items.clone(),
                answered: clients.answered.clone(),
                reads,
            };
            let stop = clients.stop.clone();
            clients.tasks.spawn(async move {
                // What is under way is waited for, or its outcome would be unknown.
                while !stop.is_cancelled() {
                    one.ask().await;
                    let pause = Duration::from_millis(fastrand::u64(PAUSE));
                    let _ = tokio::time::timeout(pause, stop.cancelled()).await;
                }
            });
        }
        clients
    }

    /// Waits until so many more operations were answered.
    pub async fn wait_for(&self, more: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        let bound = Duration::from_secs(60);
        crate::wait_until(
            "the clients are answered",
            bound,
            async || self.answered.load(Ordering::Relaxed),
            |count| *count >= goal,
        )
        .await;
    }

    /// Stops them, and gives what they saw: at the end all that is there, for which nothing may be wrong any more.
    pub async fn stop(mut self) -> LedgerHistory {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        for key in &self.keys {
            let asked = self.recorder.invoke(Client(u32::MAX), &Key::new(key), ListInput::Read);
            let target = format!("ledger/{key}");
            let all = call(self.way.clone(), &target, "all", Vec::new(), LAST).await;
            asked
                .ok(output(&all.unwrap_or_else(|fault| panic!("{key} does not answer at the end: {fault}"))));
        }
        self.recorder.history()
    }
}

struct One {
    client: Client,
    key: Key,
    target: String,
    way: AdminClient,
    recorder: Recorder<ListInput<u64>, ListOutput<u64>>,
    items: Arc<AtomicU64>,
    answered: Arc<AtomicUsize>,
    reads: bool,
}

impl One {
    async fn ask(&self) {
        let reads = self.reads && fastrand::u8(..READS) == 0;
        let (input, operation, payload) = match reads {
            true => (ListInput::Read, "all", Vec::new()),
            false => {
                let item = self.items.fetch_add(1, Ordering::Relaxed);
                (ListInput::Append(item), "append", item.to_string().into_bytes())
            }
        };
        let asked = self.recorder.invoke(self.client, &self.key, input);
        match call(self.way.clone(), &self.target, operation, payload, PATIENCE).await {
            Ok(reply) => {
                asked.ok(output(&reply));
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) if fault.ran == Ran::No => asked.failed(),
            Err(_) => asked.unknown(),
        }
    }
}

/// What the ledger answers: how many there are, or all.
fn output(reply: &Value) -> ListOutput<u64> {
    match reply.as_u64() {
        Some(length) => ListOutput::Length(usize::try_from(length).unwrap()),
        None => ListOutput::Items(serde_json::from_value(reply.clone()).unwrap()),
    }
}
