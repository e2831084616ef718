//! The elected node's loop: watch, plan, write assignments and routes, report. It never touches Wasm.
//!
//! ```text
//! specs, node records, leases ─▶ plan (pure) ─▶ assignments   (batches, guarded by the term)
//!                  │                       └────────────▶ routes        (compare-and-set each)
//!                  └────────────────────────────────────▶ node states   (plain writes)
//! ```
//!
//! Every node is a candidate; `election` says when this one holds office. Nothing that runs depends on there being a
//! leader.

mod collect;
mod declare;
mod election;
mod explain;
mod liveness;
mod nodes;
mod observe;
mod office;
mod reconcile;
mod rollout;
mod scaling;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::subject::Subjects;
use tokio::sync::{Notify, mpsc, watch};

use tokio_util::task::AbortOnDropHandle;

use crate::artifact::Artifacts;
use crate::bus::Bus;
use crate::events::Events;
use crate::membership::{Fence, Identity, Leader};
use crate::router::Told;
use crate::telemetry::{Counters, metrics};

pub use declare::{Declarations, Declared, Error as DeclareError, Terms};
pub use explain::Explained;
pub use nodes::NodeOrders;
pub use observe::{ActorStatus, Following, NodeView, Observer, Progress};

/// What candidates and leaders need.
#[derive(Clone)]
pub struct Context {
    /// Everything shared.
    pub bus: Bus,
    /// Names.
    pub subjects: Subjects,
    /// This node.
    pub me: Identity,
    /// Who leads, as this node sees it.
    pub leader: watch::Receiver<Option<Leader>>,
    /// Told when something that was sent to the leader found nobody there.
    pub doubts: Arc<Notify>,
    /// For how long it surely has its own lease.
    pub fence: Fence,
    /// What is counted.
    pub counters: Counters,
    /// What the lattice stores.
    pub artifacts: Artifacts,
    /// How long an artifact is kept that no revision names.
    pub artifact_grace: Duration,
    /// How many shards a new lattice gets.
    pub shards: u16,
    /// What is told.
    pub events: Events,
}

/// Stands for election, and leads when elected, for as long as the node runs.
///
/// `told` is what other nodes tell the leader.
pub async fn run(
    context: Context,
    mut told: mpsc::Receiver<Told>,
    stop: tokio_util::sync::CancellationToken,
) {
    let context = Arc::new(context);
    loop {
        let elected = tokio::select! {
            elected = election::win(&context) => elected,
            // What a leader is told is nobody else's business.
            () = drain(&mut told) => return,
            () = stop.cancelled() => return,
        };
        tracing::info!(term = elected.term, "this node leads the lattice");
        context.events.leads(&context.me.name, elected.term);
        let _measured = metrics::leads();
        let deposed = elected.deposed.as_ref().map(|deposed| deposed.incarnation.clone());
        let collecting = collect::run((*context).clone(), context.artifacts.clone(), context.artifact_grace);
        let _collecting = AbortOnDropHandle::new(tokio::spawn(collecting));
        let subscribing = subscriptions::run((*context).clone());
        let _subscribing = AbortOnDropHandle::new(tokio::spawn(subscribing));
        let outcome = office::hold(&context, elected, &mut told, &stop).await;
        tracing::info!(outcome, after = ?deposed, "this node no longer leads the lattice");
        if stop.is_cancelled() {
            return;
        }
    }
}

async fn drain(told: &mut mpsc::Receiver<Told>) {
    while told.recv().await.is_some() {}
}
