//! A load generator: calls at a fixed rate, whether or not earlier ones have been answered, each one recorded.
//!
//! An open loop shows what waiting callers would hide: a stall of one second at 200 calls per second is 200 late calls
//! here, and one late call in a closed loop.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::lattice::{AdminClient, call};
use crate::{Fault, Lattice, wait_until};

/// A load of which nothing is answered for so long has found something that is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is called, how often, and through whom.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The actor.
    pub target: String,
    /// Its operation.
    pub operation: String,
    /// The arguments as JSON.
    pub arguments: Value,
    /// Each call's deadline.
    pub timeout: Duration,
    /// Calls per second.
    pub rate: u32,
    /// For how long; [`Running::stop`] ends it earlier.
    pub duration: Duration,
    /// The indices of the nodes that are asked in turn.
    pub callers: Vec<usize>,
}

impl Plan {
    /// Greets at this rate, for so long, through these nodes.
    pub fn greet(rate: u32, duration: Duration, callers: &[usize]) -> Self {
        Self {
            target: "greeter".to_owned(),
            operation: "hello".to_owned(),
            arguments: serde_json::json!({ "name": "Ada" }),
            timeout: Duration::from_secs(5),
            rate,
            duration,
            callers: callers.to_vec(),
        }
    }

    /// The same load on another operation.
    pub fn on(mut self, target: &str, operation: &str, arguments: Value) -> Self {
        target.clone_into(&mut self.target);
        operation.clone_into(&mut self.operation);
        self.arguments = arguments;
        self
    }

    /// The same load with another deadline.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// One call and what became of it.
#[derive(Debug, Clone)]
pub struct Shot {
    /// When it was sent.
    pub started: Instant,
    /// Until its answer.
    pub latency: Duration,
    /// The node that was asked.
    pub via: usize,
    /// The answer.
    pub outcome: Result<Value, Fault>,
}

impl Shot {
    /// When its answer came.
    pub fn ended(&self) -> Instant {
        self.started + self.latency
    }
}

/// A load that is under way.
#[derive(Debug)]
pub struct Running {
    control: Arc<Control>,
    task: JoinHandle<Vec<Shot>>,
}

#[derive(Debug, Default)]
struct Control {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Running {
    /// Sends no more, waits for the answers that are due, and returns all.
    pub async fn stop(self) -> Report {
        self.control.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until so many more calls have been answered well.
    pub async fn wait_for(&self, more: usize) {
        let wanted = self.control.answered.load(Ordering::Relaxed) + more;
        let observe = async || self.control.answered.load(Ordering::Relaxed);
        wait_until(&format!("{wanted} answers"), PATIENCE, observe, |answered| *answered >= wanted).await;
    }

    /// Waits until the load has ended by itself.
    pub async fn finish(self) -> Report {
        let mut shots = self.task.await.unwrap();
        shots.sort_by_key(|shot| shot.started);
        Report { shots }
    }
}

/// Every call of a load, in the order in which they were sent.
#[derive(Debug)]
pub struct Report {
    /// All of them.
    pub shots: Vec<Shot>,
}

impl Report {
    /// Those that were answered.
    pub fn answered(&self) -> usize {
        self.shots.iter().filter(|shot| shot.outcome.is_ok()).count()
    }

    /// Those that failed.
    pub fn failed(&self) -> impl Iterator<Item = (&Shot, &Fault)> {
        self.shots.iter().filter_map(|shot| shot.outcome.as_ref().err().map(|fault| (shot, fault)))
    }

    /// Those that failed without a word from a node, which never may be.
    pub fn untyped(&self) -> Vec<&Fault> {
        self.failed().map(|(_, fault)| fault).filter(|fault| fault.kind.is_none()).collect()
    }

    /// How many failures of each kind.
    pub fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for (_, fault) in self.failed() {
            *kinds.entry(fault.kind().to_owned()).or_default() += 1;
        }
        kinds
    }

    /// A quantile of the latency of the answered calls, from 0.0 to 1.0.
    pub fn latency(&self, quantile: f64) -> Duration {
        let answered = self.shots.iter().filter(|shot| shot.outcome.is_ok());
        let mut sorted: Vec<_> = answered.map(|shot| shot.latency).collect();
        sorted.sort_unstable();
        let index = ((sorted.len().max(1) - 1) as f64 * quantile).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} answered (p50 {:.1?}, p99 {:.1?}), failures {:?}",
            self.shots.len(),
            self.answered(),
            self.latency(0.5),
            self.latency(0.99),
            self.kinds()
        )
    }
}

impl Lattice {
    /// Begins a load in the background.
    pub fn load(&self, plan: &Plan) -> Running {
        let clients: Vec<(usize, AdminClient)> =
            plan.callers.iter().map(|index| (*index, self.admin(*index))).collect();
        let control = Arc::new(Control::default());
        let task = tokio::spawn(send(plan.clone(), clients, Arc::clone(&control)));
        Running { control, task }
    }
}

async fn send(plan: Plan, clients: Vec<(usize, AdminClient)>, control: Arc<Control>) -> Vec<Shot> {
    let payload = plan.arguments.to_string().into_bytes();
    let mut ticks = interval(Duration::from_secs(1) / plan.rate);
    // A tick that came late is made up for at once, so that the rate holds over the whole load.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut calls, mut shots) = (JoinSet::new(), Vec::new());
    let start = Instant::now();
    for (via, client) in clients.iter().cycle() {
        ticks.tick().await;
        if control.stop.load(Ordering::Relaxed) || start.elapsed() >= plan.duration {
            break;
        }
        let (via, client, payload) = (*via, client.clone(), payload.clone());
        let control = Arc::clone(&control);
        let (target, operation, timeout) = (plan.target.clone(), plan.operation.clone(), plan.timeout);
        calls.spawn(async move {
            let started = Instant::now();
            let outcome = call(client, &target, &operation, payload, timeout).await;
            control.answered.fetch_add(usize::from(outcome.is_ok()), Ordering::Relaxed);
            Shot { started, latency: started.elapsed(), via, outcome }
        });
        while let Some(done) = calls.try_join_next() {
            shots.push(done.unwrap());
        }
    }
    shots.extend(calls.join_all().await);
    shots
}
