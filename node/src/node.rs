//! The composition root: builds the parts, owns every long-lived task, drains on shutdown. It holds no logic.

mod joining;
mod member;

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lattice_proto::Incarnation;
use lattice_proto::subject::Subjects;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::joining::join;
use self::member::Member;
use crate::agent::{self, Agent, Last, Specs, Tools};
use crate::artifact::Artifacts;
use crate::bus::{self, Bus};
use crate::client::Clients;
use crate::clock::ServerClock;
use crate::config::Config;
use crate::controller::{self, Declarations, NodeOrders, Observer};
use crate::engine::Engine;
use crate::events::{Archive, Events};
use crate::keyed::{Delivery, Handover, Keyed, Letters, Owners, Sends, Store};
use crate::membership::{self, Fence, Identity, Inventory, Leader, ToLeader};
use crate::nats_child::NatsChild;
use crate::registry::Registries;
use crate::replica::Local;
use crate::router::{Inboxes, Parts, Peers, Router, Table};
use crate::stores::Stores;
use crate::survey::{self, Surveyor};
use crate::tap::Taps;
use crate::telemetry::{self, Counters, metrics};
use crate::topics::{Publisher, Subscriber};
use crate::{Error, Options, admin, gateway, logs, shutdown, tap, traces};

/// How long a node that knows what it ran last waits for NATS before it begins without: as long as one attempt to connect
/// may take. A lattice that can be reached is joined in a fraction of that.
const FIRST_TRY: Duration = Duration::from_secs(2);

/// How long a node waits for its replicas to be taken over when it stops.
const DRAIN: Duration = Duration::from_secs(10);

/// How far apart the signals to a node and to its server may come.
const SIGNAL: Duration = Duration::from_millis(300);

/// How long requests to the admin API may go on after everything else has stopped.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Runs a node until it is told to stop.
///
/// Prints one line on standard output when it is ready. SIGTERM and SIGINT drain and stop it; a second one stops it at
/// once.
///
/// # Errors
/// Why it could not start, or could not go on.
pub async fn run(options: Options) -> Result<(), Error> {
    let config = Config::read(options)?;
    let me = Identity { name: config.name.clone(), incarnation: Incarnation::generate() };
    let exporter = telemetry::start(&telemetry::Options {
        log: &config.log,
        format: config.log_format,
        slow: config.trace_slow,
        node: me.name.as_str(),
        lattice: config.lattice.as_str(),
        incarnation: me.incarnation.as_str(),
    });
    let signals = shutdown::Signals::listen().map_err(Error::Signals)?;

    // The port comes first: a node that cannot have it should not have done anything yet.
    let listener = admin::Listener::bind(&config.listen, &config.admin).await?;
    let gateway = match &config.http {
        Some(http) => Some(gateway::Listener::bind(http).await?),
        None => None,
    };
    std::fs::create_dir_all(&config.data)
        .map_err(|source| Error::Data { folder: config.data.clone(), source })?;
    let _ours = lock(&config.data)?;
    let engine = Engine::start(&config.data, config.pool)?;

    let mut child = match config.nats.is_empty() {
        true => Some(NatsChild::start(config.nats_server.as_deref(), &config.data).await?),
        false => None,
    };
    let own_server = child.as_ref().map(|child| child.url().to_owned());
    let told = signals.told();
    let told_to = (exporter.page.clone(), exporter.store.clone());
    let mut serving = Box::pin(serve(&config, me, (listener, gateway), engine, own_server, signals, told_to));
    let outcome = match &mut child {
        Some(child) => tokio::select! {
            outcome = &mut serving => outcome,
            ended = child.ended() => {
                // Whoever stops both at once, as a supervisor may, has not lost the server.
                match tokio::time::timeout(SIGNAL, told.cancelled()).await {
                    Ok(()) => serving.await,
                    Err(_) => Err(ended.into()),
                }
            }
        },
        None => serving.await,
    };
    if let Some(child) = child {
        child.stop().await;
    }
    let _ = tokio::task::spawn_blocking(move || exporter.shutdown()).await;
    outcome
}

async fn serve(
    config: &Config,
    me: Identity,
    (listener, gateway): (admin::Listener, Option<gateway::Listener>),
    engine: Engine,
    own_server: Option<String>,
    mut signals: shutdown::Signals,
    (page, lines): (metrics::Page, logs::Store),
) -> Result<(), Error> {
    let subjects = Subjects::new(config.lattice.clone());
    let servers = own_server.map_or_else(|| config.nats.clone(), |url| vec![url]);
    let options = bus::Options {
        servers: servers.clone(),
        credentials: config.nats_creds.clone(),
        tls_ca: config.nats_tls_ca.clone(),
        name: format!("lattice node {}", me.name),
        copies: config.nats_replicas,
    };
    let shown = servers.iter().map(|server| without_password(server)).collect::<Vec<_>>().join(",");
    let waiting = {
        let shown = shown.clone();
        move |reason: &str| say(&format!("waiting for NATS at {shown}: {reason}"))
    };
    let (bus, opening) = Bus::new(options, &subjects);

    crate::clock::skew(config.clock_skew_ms);
    // What is shared by the parts below.
    let counters = Counters::default();
    let clock = Arc::<ServerClock>::default();
    lines.tell_time_by(clock.clone());
    let local = Local::default();
    let (events, tellings) = Events::new(me.name.clone(), clock.clone(), counters.clone());
    let http = gateway.as_ref().map(gateway::Listener::url);
    let described = membership::describe(&me, config.labels.clone(), listener.url(), http.clone());
    let inventory = Inventory::new(described);
    let (leader_seen, leader) = watch::channel::<Option<Leader>>(None);
    let to_leader = ToLeader::new(bus.calls.clone(), subjects.clone(), leader.clone());
    let (peers, lost) =
        Peers::new(bus.calls.clone(), subjects.clone(), me.incarnation.clone(), counters.clone());
    let table =
        Table::new(bus.clone(), subjects.clone(), me.incarnation.clone(), peers.clone(), counters.clone());
    let fence = Fence::default();
    let (owners, ownership) = Owners::new(me.incarnation.clone(), fence.clone());
    let router = Router::new(Parts {
        bus: bus.calls.clone(),
        subjects: subjects.clone(),
        incarnation: me.incarnation.clone(),
        zone: config.labels.get("zone").cloned(),
        clock: clock.clone(),
        local: local.clone(),
        owners: owners.clone(),
        table,
        peers: peers.clone(),
        leader: to_leader.clone(),
        counters: counters.clone(),
    });
    let artifacts = Artifacts::open(bus.clone(), engine, config.data.join("artifacts"))
        .map_err(|source| Error::Data { folder: config.data.clone(), source })?;
    // A server of the node's own is there whenever the node is.
    let last = (!config.nats.is_empty())
        .then(|| Last::new(config.data.join("last"), config.lattice.clone(), me.name.clone()));
    let known = last.as_ref().and_then(Last::read);

    let store = Store::new(bus.clone(), subjects.clone(), me.incarnation.clone());
    let letters = Letters::new(bus.clone(), subjects.clone(), owners.clone(), clock.clone());
    let topics = Publisher::new(bus.topics.clone(), subjects.clone(), counters.clone());

    // Operators. They are answered from the first moment on: what a node that waits for NATS cannot do it says at once.
    let stop = CancellationToken::new();
    let url = listener.url();
    let observer = Observer::new(bus.clone(), subjects.clone());
    let nodes = NodeOrders::new(bus.clone(), subjects.clone());
    let archive =
        Archive::new(bus.events.clone(), subjects.clone(), clock.clone(), counters.clone(), stop.clone());
    let registries = Registries::new(config.registries.clone());
    let declarations =
        Declarations::new(bus.clone(), subjects.clone(), artifacts.clone(), registries, events.clone());
    let parts = admin::Parts {
        router: router.clone(),
        declarations,
        nodes,
        observer: observer.clone(),
        artifacts: artifacts.clone(),
        letters: letters.clone(),
        topics: (topics.clone(), bus.topics.clone()),
        store: store.clone(),
        owners: owners.clone(),
        events: events.clone(),
        archive,
        counters: counters.clone(),
        lines: logs::Reader::new(bus.calls.clone(), subjects.clone(), observer.clone(), lines.clone()),
        surveyor: Surveyor::new(bus.calls.clone(), subjects.clone(), observer.clone(), clock.clone()),
        taps: tap::Reader::new(bus.calls.clone(), subjects.clone(), observer.clone()),
        traces: traces::Reader::new(bus.calls.clone(), subjects.clone(), observer.clone()),
        page: page.clone(),
        names: (me.name.clone(), config.lattice.clone()),
        stop: stop.clone(),
    };
    let mut serving = tokio::spawn(listener.serve(parts, stop.clone()));
    // Clients of the gateway, too: actors that run here need no NATS.
    let mut gateway =
        gateway.map(|gateway| tokio::spawn(gateway.serve(router.clone(), observer.clone(), stop.clone())));

    // The lattice. A node that knows what it ran last does not wait for it.
    let (heard, told) = mpsc::channel(256);
    let inboxes = Inboxes::new(router.clone(), peers.clone(), heard);
    let parts = member::Parts {
        bus: bus.clone(),
        subjects: subjects.clone(),
        me: me.clone(),
        router: router.clone(),
        inventory: inventory.clone(),
        clock: clock.clone(),
        fence: fence.clone(),
        counters: counters.clone(),
        events: events.clone(),
        artifacts: artifacts.clone(),
        artifact_grace: config.artifact_grace,
        shards: config.shards,
        tellings,
        leader_seen,
        leader,
        to_leader: to_leader.clone(),
        lost,
        told,
    };
    let mut joining = Box::pin(join(opening, inboxes, parts, waiting));
    let first_try = async {
        match known {
            Some(_) => tokio::time::sleep(FIRST_TRY).await,
            None => std::future::pending().await,
        }
    };
    let mut member = tokio::select! {
        member = &mut joining => Some(member?),
        () = first_try => None,
        () = signals.first() => {
            stop.cancel();
            return Ok(());
        }
        _ = &mut serving => return Err(Error::Task("the admin API")),
    };

    let joined = CancellationToken::new();
    let mut tasks = JoinSet::new();

    // What runs here.
    tasks.spawn(peers.watch());
    let own = (me.name.clone(), me.incarnation.clone());
    let history = survey::History::default();
    tasks.spawn(history.clone().keep(page.clone(), me.name.clone(), clock.clone()));
    let surveys = bus.calls.clone();
    tasks.spawn(survey::serve(page, history, surveys, subjects.clone(), own.clone(), counters.clone()));
    tasks.spawn(traces::serve(bus.calls.clone(), subjects.clone(), own.clone(), counters.clone()));
    let (taps, shows) = Taps::new(clock.clone());
    tasks.spawn(shows.run());
    tasks.spawn(tap::serve(taps.clone(), bus.calls.clone(), subjects.clone(), own.clone(), counters.clone()));
    tasks.spawn(logs::serve(lines.clone(), bus.calls.clone(), subjects.clone(), own, counters.clone()));
    tasks.spawn(metrics::lag(bus.calls.clone(), subjects.clone(), me.incarnation.clone()));
    tasks.spawn(local.clone().watch());
    tasks.spawn(agent::report(local.clone(), me.incarnation.clone(), to_leader));
    tasks.spawn(ownership.run(bus.clone(), subjects.clone(), counters.clone()));
    let keyed = Keyed::new(owners, store, letters.clone(), config.activations as usize);
    tasks.spawn(keyed.clone().ensure_after_outages());
    metrics::observe(metrics::Observed {
        local: local.clone(),
        keyed: keyed.clone(),
        fence: fence.clone(),
        counters: counters.clone(),
    });
    tasks.spawn(Handover::new(keyed.clone(), inventory.clone()).run());
    let delivery =
        Delivery::new(keyed.clone(), local.clone(), router.clone(), letters.clone(), counters.clone());
    tasks.spawn(delivery.run());
    let sends = Sends::new(router.clone(), letters.clone(), counters.clone());
    tasks.spawn(sends.clone().run());
    let subscriber = Subscriber::new(
        bus.topics.clone(),
        subjects.clone(),
        local.clone(),
        sends,
        letters.clone(),
        counters.clone(),
    );
    tasks.spawn(subscriber.run());
    let tools = Tools {
        specs: Specs::new(bus.clone(), subjects.clone(), known.as_ref()),
        artifacts: artifacts.clone(),
        local,
        keyed,
        router: router.clone(),
        clients: Clients::default(),
        stores: Stores::new(bus.clone(), subjects.clone()),
        topics,
        inventory: inventory.clone(),
        events: events.clone(),
        lines,
        taps,
    };
    let begin_with = known.as_ref().filter(|_| member.is_none()).map(|orders| orders.assignment.clone());
    let agent = Agent::new(bus.clone(), subjects.clone(), me.clone(), counters.clone(), tools, last, known);
    tasks.spawn(agent.run(begin_with, joined.clone().cancelled_owned()));

    let line = |word: &str, nats: &str| {
        let (name, id, lattice) = (&me.name, &me.incarnation, &config.lattice);
        let http = http.as_ref().map(|url| format!(" http={url}")).unwrap_or_default();
        format!("{word} name={name} id={id} lattice={lattice} admin={url}{http} nats={nats}")
    };
    if member.is_some() {
        joined.cancel();
        println!("{}", line("ready", &shown));
    } else {
        println!("{}", line("ready", "offline"));
    }

    let outcome = loop {
        tokio::select! {
            () = signals.first() => break Ok(()),
            entered = &mut joining, if member.is_none() => match entered {
                Ok(entered) => {
                    member = Some(entered);
                    joined.cancel();
                    say(&line("online", &shown));
                }
                Err(error) => break Err(error),
            },
            error = ended(&mut member) => break Err(error),
            // They run for as long as the node does: one that ends is a defect, and a deaf node must not stay.
            Some(_) = tasks.join_next() => break Err(Error::Task("a part of the node")),
            _ = &mut serving => break Err(Error::Task("the admin API")),
            () = gone(&mut gateway) => break Err(Error::Task("the HTTP gateway")),
        }
    };
    if outcome.is_ok() {
        if let Some(member) = &mut member {
            tokio::select! {
                () = drain(&inventory, &observer, &me) => {}
                () = signals.second() => {}
            }
            member.close_outside().await;
        }
        // Each step has a bound of its own: what cannot be taken over must not cost what can be answered.
        stop.cancel();
        let all = async {
            router.all_answered().await;
            if let Some(gateway) = gateway.take_if(|gateway| !gateway.is_finished()) {
                let _ = gateway.await;
            }
        };
        tokio::select! {
            answered = tokio::time::timeout(DRAIN, all) => if answered.is_err() {
                tracing::warn!("not everything was answered in time; stopping all the same");
            },
            () = signals.second() => {}
        }
    }
    stop.cancel();
    // After a defect it may have ended, and must not be waited for again.
    if !serving.is_finished() {
        let _ = tokio::time::timeout(LAST_REQUESTS, serving).await;
    }
    if let Some(member) = member {
        member.leave().await;
    }
    tasks.shutdown().await;
    outcome
}

/// Why a member cannot go on; a node that is none yet waits.
async fn ended(member: &mut Option<Member>) -> Error {
    match member {
        Some(member) => member.ended().await,
        None => std::future::pending().await,
    }
}

/// Waits until a task has ended that a node has which is told so.
async fn gone(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}

/// Says something on standard error. That nobody reads it any more is no reason to fall over, least of all while stopping.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Asks to be emptied, and waits until others have taken over, where there are others.
async fn drain(inventory: &Inventory, observer: &Observer, me: &Identity) {
    let serves = inventory.actors().values().any(|running| running.ready() > 0);
    if !serves || !has_others(observer, me).await {
        return;
    }
    say("draining; a second signal stops at once");
    inventory.drain();
    if tokio::time::timeout(DRAIN, inventory.emptied()).await.is_err() {
        tracing::warn!("not everything was taken over in time; stopping all the same");
    }
}

/// Keeps other nodes out of a data folder for as long as what is given lives: they would take what this one ran last for
/// their own, and its server.
fn lock(data: &Path) -> Result<File, Error> {
    let failed = |source| Error::Data { folder: data.to_owned(), source };
    let lock = File::create(data.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::DataInUse(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// A server's URL as it may be shown.
fn without_password(server: &str) -> String {
    match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => server.to_owned(),
    }
}

/// Whether there is another node to take over.
async fn has_others(observer: &Observer, me: &Identity) -> bool {
    let ready = |view: &controller::NodeView| view.state == lattice_proto::record::NodeState::Ready;
    let nodes = observer.nodes().await;
    nodes.is_ok_and(|nodes| nodes.iter().any(|view| view.record.name != me.name && ready(view)))
}
