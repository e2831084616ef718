//! Holding office: keep the lease, keep up with everything, and write what the plan says.

mod act;
mod chronicle;
mod entry;
mod held;
mod revisions;
mod shards;
mod states;
mod take_in;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use lattice_proto::record::{self, Node, NodeOrder, Route};
use lattice_proto::subject::{Control, Inbox};
use lattice_proto::{ActorName, Incarnation, NodeName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::chronicle::Chronicle;
use self::entry::{Decision, NodeEntry, parse_decision, parse_node};
use self::held::Held;
use super::Context;
use super::election::{Deposed, Elected};
use super::liveness::{Liveness, Verdict};
use super::reconcile::{Reconciler, Seen};
use super::scaling::Scaling;
use crate::bus::{Error, Link, Mirror, RequestError};
use crate::membership::is_gone;
use crate::router::Told;
use crate::telemetry::metrics;

/// How often time alone is a reason to look.
const LOOK: Duration = Duration::from_millis(100);

/// How long a ping may take before it says that the node hangs.
const PING: Duration = Duration::from_millis(500);

struct Office<'a> {
    context: &'a Context,
    term: u64,
    term_revision: u64,
    decisions: Mirror<Decision>,
    nodes: Mirror<NodeEntry>,
    routes: Mirror<Route>,
    /// The last revision of each route as this leader wrote it, where its echo has not come yet.
    written: BTreeMap<ActorName, u64>,
    /// None before the first plan, and whenever what is stored may not be what was meant.
    reconciler: Option<Reconciler>,
    /// The last one that was in doubt.
    earlier: Option<Reconciler>,
    /// Records with the labels that an operator changed.
    relabelled: BTreeMap<NodeName, (Arc<Node>, NodeOrder, Arc<Node>)>,
    leases_complete: bool,
    liveness: Liveness,
    chronicle: Chronicle,
    /// The leader before, until it was told that it is gone.
    deposed: Option<Deposed>,
    /// When each node was found to be lost.
    lost: BTreeMap<NodeName, (Incarnation, Instant)>,
    /// Whether the last plan could not be written as a whole.
    again: bool,
    /// Whether records that cannot be read were reported already.
    complained: bool,
    /// Revisions that failed and were not taken back; each is reported once in a term.
    stays: BTreeSet<(lattice_proto::AppName, u64)>,
    /// Nodes whose assignments were too large to be written; each is reported once in a term.
    oversized: BTreeSet<NodeName>,
    /// Actors whose routes were too large to be written; each is reported once in a term.
    oversized_routes: BTreeSet<ActorName>,
    /// Who owns which shard, as this leader wrote it last, or tried to.
    shards: Option<record::Shards>,
    /// Whether it is not sure to be stored.
    shards_unsure: bool,
    /// How busy those actors are of which the lattice decides the number of replicas.
    scaling: Scaling,
    /// The control stream's prefix, by which its keys are parsed.
    subjects: lattice_proto::subject::Subjects,
}

/// Leads until the lease is lost, and says why it ended.
pub(super) async fn hold(
    context: &Context,
    elected: Elected,
    told: &mut mpsc::Receiver<Told>,
    stop: &CancellationToken,
) -> &'static str {
    let Elected { keeper, term, term_revision, deposed } = elected;
    // Renewals have a task of their own: a plan that takes long to write must not cost the office.
    let held = Held::start(keeper);
    let (verdicts, mut asked) = mpsc::channel::<Asked>(64);
    let mut office = Office {
        context,
        term,
        term_revision,
        decisions: Mirror::new({
            let subjects = context.subjects.clone();
            move |entry| parse_decision(&subjects, entry)
        }),
        nodes: Mirror::new(parse_node),
        routes: Mirror::new(|entry| record::decode(entry.value.as_deref()?).ok()),
        written: BTreeMap::new(),
        reconciler: None,
        earlier: None,
        relabelled: BTreeMap::new(),
        leases_complete: false,
        deposed,
        liveness: Liveness::new(Instant::now(), renews(context)),
        chronicle: Chronicle::new(context.events.clone()),
        lost: BTreeMap::new(),
        again: false,
        complained: false,
        stays: BTreeSet::new(),
        oversized: BTreeSet::new(),
        oversized_routes: BTreeSet::new(),
        shards: None,
        shards_unsure: false,
        scaling: Scaling::default(),
        subjects: context.subjects.clone(),
    };
    let filter = context.subjects.control_filter();
    let mut decisions = context.bus.decisions.watch(&filter);
    let mut nodes = context.bus.nodes.watch(">");
    let mut routes = context.bus.routes.watch(">");
    let mut leases = context.bus.leases.watch("node.*");
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut link = context.bus.control.link();
    let mut generation = link.borrow().generation;

    loop {
        let mut dirty = tokio::select! {
            change = decisions.next() => office.decision(change),
            change = nodes.next() => office.nodes.apply(change),
            change = routes.next() => office.route(change),
            change = leases.next() => office.lease(change),
            Some(told) = told.recv() => match told {
                Told::Suspect(suspect) => {
                    if office.liveness.suspect(&suspect, Instant::now()) {
                        ask(context, suspect, &verdicts);
                    }
                    false
                }
                Told::Load(report) => office.scaling.load(report, Instant::now()),
                Told::Wake(wake) => office.scaling.wake(wake, Instant::now()),
            },
            Some(Asked { node, since, verdict }) = asked.recv() => {
                office.liveness.told(&node, verdict, since);
                office.liveness.take_changed(Instant::now())
            }
            _ = look.tick() => {
                let now = Instant::now();
                for silent in office.liveness.ask_now(now) {
                    ask(context, silent, &verdicts);
                }
                // Time alone changes little, so nothing is planned anew that did not change.
                let scaled = office.scaling.tick(now);
                scaled || office.liveness.take_changed(now) || office.again || office.forgets(now) || office.is_due(now)
            }
            latest = next_generation(&mut link, generation) => {
                generation = latest;
                office.liveness.forgive(Instant::now());
                false
            }
            () = stop.cancelled() => {
                held.release().await;
                return "the node is stopping";
            }
        };
        // Whatever else is there already is taken in first, so that a burst of changes makes one plan.
        for _ in 0..256 {
            let more = if let Some(change) = decisions.next().now_or_never() {
                office.decision(change)
            } else if let Some(change) = nodes.next().now_or_never() {
                office.nodes.apply(change)
            } else if let Some(change) = routes.next().now_or_never() {
                office.route(change)
            } else if let Some(change) = leases.next().now_or_never() {
                office.lease(change)
            } else {
                break;
            };
            dirty |= more;
        }
        if office.leases_complete
            && let Some(Deposed { incarnation, asked, .. }) = office.deposed.take()
        {
            office.liveness.deposed(&incarnation, asked);
        }
        if !held.is_valid() {
            return "its lease was not renewed in time, or another node took over";
        }
        if dirty && office.is_complete() {
            metrics::lattice(office.observed());
            let acted = office.act().await;
            office.again = acted.is_err();
            if acted.is_err() {
                office.doubt();
            }
            match acted {
                Ok(()) => {}
                // Either the mirrors are a moment behind, which mends itself, or another leader has begun its term.
                Err(Error::Conflict) => {
                    if matches!(office.is_deposed().await, Ok(true)) {
                        return "another term is stored than its own";
                    }
                }
                Err(error) => tracing::warn!(%error, "a plan was not written; it is made again"),
            }
        }
    }
}

/// For how long this node could renew its own lease over the connection that it has.
fn renews(context: &Context) -> Duration {
    let up = context.bus.control.link().borrow().since.map_or(Duration::ZERO, |since| since.elapsed());
    up.min(context.fence.unbroken())
}

/// Waits until the connection came up again.
async fn next_generation(link: &mut watch::Receiver<Link>, known: u64) -> u64 {
    let came_up = link.wait_for(|link| link.up && link.generation != known).await.map(|link| link.generation);
    match came_up {
        Ok(generation) => generation,
        // The connection is closed for good, and so is this node.
        Err(_) => std::future::pending().await,
    }
}

/// What came of asking a node.
struct Asked {
    node: Incarnation,
    /// When that began.
    since: Instant,
    verdict: Verdict,
}

/// Pings a node in the background and reports what that told.
fn ask(context: &Context, node: Incarnation, verdicts: &mpsc::Sender<Asked>) {
    let (context, verdicts, since) = (context.clone(), verdicts.clone(), Instant::now());
    tokio::spawn(async move {
        let inbox = context.subjects.inbox(&node, &Inbox::Ping);
        let verdict = match context.bus.control.request(inbox, Bytes::new(), PING).await {
            Ok(_) => Verdict::Alive,
            Err(RequestError::NoResponders) if is_gone(&context.bus, &context.subjects, &node).await => {
                Verdict::Gone
            }
            Err(RequestError::TimedOut) => Verdict::Silent,
            // Nothing is known of others while this node itself is cut off.
            Err(_) => return,
        };
        // The office may have ended meanwhile.
        let _ = verdicts.send(Asked { node, since, verdict }).await;
    });
}

impl Office<'_> {
    /// What there is to measure of the lattice.
    fn observed(&self) -> metrics::Lattice {
        let actors = self.routes.entries().iter().map(|(actor, stored)| {
            let ready = stored.value.targets.iter().map(|target| target.ready + target.stale).sum();
            (actor.clone(), stored.value.desired, ready)
        });
        let mut nodes = BTreeMap::<&'static str, u64>::new();
        for stored in self.nodes.entries().values() {
            if let entry::NodeEntry::Status(status) = &stored.value {
                *nodes.entry(status.state.as_str()).or_default() += 1;
            }
        }
        metrics::Lattice { actors: actors.collect(), nodes: nodes.into_iter().collect() }
    }

    fn is_complete(&self) -> bool {
        self.leases_complete
            && self.decisions.is_complete()
            && self.nodes.is_complete()
            && self.routes.is_complete()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.reconciler.as_ref().is_none_or(|reconciler| reconciler.is_due(now))
    }

    /// Whether the term that is stored is another one: of a later leader, or of an earlier one where the server has gone back to an
    /// older copy. Nothing that this leader plans can be written then.
    async fn is_deposed(&self) -> Result<bool, Error> {
        // Asked of the stream's own leader: a copy that lags behind knows an earlier term.
        let entry = self.context.bus.decisions.newest(&self.subjects.control(&Control::Term)).await?;
        Ok(entry.is_none_or(|entry| entry.revision != self.term_revision))
    }
}
