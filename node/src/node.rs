//! The composition root: builds the parts, owns every long-lived task, drains on shutdown. It holds no logic.

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::Incarnation;
use lattice_proto::envelope::Suspicion;
use lattice_proto::subject::{Inbox, Subjects};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::{self, Agent, Specs, Tools};
use crate::artifact::Artifacts;
use crate::bus::{self, Bus};
use crate::clock::ServerClock;
use crate::config::Config;
use crate::controller::{self, Declarations, NodeOrders, Observer};
use crate::engine::Engine;
use crate::events::{Archive, Events};
use crate::membership::{self, Identity, Inventory, Leader, ToLeader};
use crate::nats_child::NatsChild;
use crate::replica::Local;
use crate::router::{Inboxes, Ingress, Parts, Peers, Router, Suspicions, Table};
use crate::telemetry::{self, Counters};
use crate::{Error, Options, admin, shutdown};

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
    let exporter =
        telemetry::start(&config.log, me.name.as_str(), config.lattice.as_str(), me.incarnation.as_str());
    let signals = shutdown::Signals::listen().map_err(Error::Signals)?;

    // The port comes first: a node that cannot have it should not have done anything yet.
    let listener = admin::Listener::bind(&config.listen, &config.admin).await?;
    std::fs::create_dir_all(&config.data)
        .map_err(|source| Error::Data { folder: config.data.clone(), source })?;
    let engine = Engine::start(&config.data, config.pool)?;

    let mut child = match config.nats.is_empty() {
        true => Some(NatsChild::start(config.nats_server.as_deref(), &config.data).await?),
        false => None,
    };
    let own_server = child.as_ref().map(|child| child.url().to_owned());
    let told = signals.told();
    let mut serving = Box::pin(serve(&config, me, listener, engine, own_server, signals));
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
    listener: admin::Listener,
    engine: Engine,
    own_server: Option<String>,
    mut signals: shutdown::Signals,
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
    let waiting = |reason: &str| eprintln!("waiting for NATS at {shown}: {reason}");
    let bus = tokio::select! {
        bus = Bus::connect(&options, &subjects, waiting) => bus?,
        () = signals.first() => return Ok(()),
    };
    let keeper = tokio::select! {
        keeper = membership::take_name(&bus, &subjects, &me) => keeper?,
        () = signals.first() => return Ok(()),
    };

    // What is shared by the parts below.
    let counters = Counters::default();
    let clock = Arc::<ServerClock>::default();
    let local = Local::default();
    let (events, tellings) = Events::new(me.name.clone(), clock.clone(), counters.clone());
    let inventory = Inventory::new(membership::describe(&me, config.labels.clone(), listener.url()));
    let (leader_seen, leader) = watch::channel::<Option<Leader>>(None);
    let to_leader = ToLeader::new(bus.calls.clone(), subjects.clone(), leader.clone());
    let (peers, lost) =
        Peers::new(bus.calls.clone(), subjects.clone(), me.incarnation.clone(), counters.clone());
    let table =
        Table::new(bus.clone(), subjects.clone(), me.incarnation.clone(), peers.clone(), counters.clone());
    let router = Router::new(Parts {
        bus: bus.calls.clone(),
        subjects: subjects.clone(),
        incarnation: me.incarnation.clone(),
        zone: config.labels.get("zone").cloned(),
        clock: clock.clone(),
        local: local.clone(),
        table,
        peers: peers.clone(),
        leader: to_leader.clone(),
        counters: counters.clone(),
    });
    let artifacts = Artifacts::open(bus.clone(), engine, config.data.join("artifacts"))
        .map_err(|source| Error::Data { folder: config.data.clone(), source })?;

    let stop = CancellationToken::new();
    let (heard, told) = mpsc::channel(256);
    let mut tasks = JoinSet::new();

    // Calls in.
    let inboxes = Inboxes::new(router.clone(), peers.clone(), heard);
    let inbox = inboxes.open().await?;
    tasks.spawn(inboxes.serve(inbox));
    let ingress = Ingress::new(router.clone());
    let from_outside = ingress.open().await?;
    let outside = CancellationToken::new();
    let mut from_outside = tokio::spawn(ingress.serve(from_outside, outside.clone()));

    // Calls out.
    tasks.spawn(peers.watch());
    tasks.spawn(report_lost(to_leader.clone(), lost));

    // What runs here.
    tasks.spawn(local.clone().watch());
    tasks.spawn(agent::report(local.clone(), me.incarnation.clone(), to_leader));
    let tools = Tools {
        specs: Specs::new(bus.clone(), subjects.clone()),
        artifacts: artifacts.clone(),
        local,
        router: router.clone(),
        inventory: inventory.clone(),
        events: events.clone(),
    };
    tasks.spawn(Agent::new(bus.clone(), subjects.clone(), me.clone(), counters.clone(), tools).run());

    // This node in the lattice.
    tasks.spawn(inventory.clone().publish(bus.clone()));
    tasks.spawn(membership::follow_leader(bus.clone(), leader_seen));
    tasks.spawn(tellings.run(bus.events.clone(), subjects.clone()));
    let archive =
        Archive::new(bus.events.clone(), subjects.clone(), clock.clone(), counters.clone(), stop.clone());
    let release = CancellationToken::new();
    let mut name = tokio::spawn(membership::keep(keeper, bus.clone(), me.clone(), clock, release.clone()));
    let context = controller::Context {
        bus: bus.clone(),
        subjects: subjects.clone(),
        me: me.clone(),
        leader: leader.clone(),
        counters: counters.clone(),
        events: events.clone(),
    };
    let lead = CancellationToken::new();
    let mut leading = tokio::spawn(controller::run(context, told, lead.clone()));
    tasks.spawn(ensure_after_outages(bus.clone(), subjects.clone()));

    // Operators.
    let url = listener.url();
    let observer = Observer::new(bus.clone(), subjects.clone());
    let nodes = NodeOrders::new(bus.clone(), subjects.clone());
    let declarations = Declarations::new(bus.clone(), subjects, artifacts.clone(), events);
    let parts = admin::Parts {
        router: router.clone(),
        declarations,
        nodes,
        observer: observer.clone(),
        artifacts,
        archive,
        counters,
    };
    let mut serving = tokio::spawn(listener.serve(parts, stop.clone()));

    let (server_version, server) = bus.control.server();
    tracing::info!(server_version, "connected to NATS");
    println!(
        "ready name={} id={} lattice={} admin={url} nats={}",
        me.name,
        me.incarnation,
        config.lattice,
        if servers.is_empty() { server } else { shown },
    );

    let mut name_ended = false;
    let outcome = tokio::select! {
        () = signals.first() => Ok(()),
        lost = &mut name => {
            name_ended = true;
            match lost {
                Ok(Some(lease)) => Err(Error::NameLost { name: me.name.clone(), holder: lease.incarnation }),
                Ok(None) => Ok(()),
                Err(_) => Err(Error::Task("the node's own lease")),
            }
        }
        // They run for as long as the node does: one that ends is a defect, and a deaf node must not stay.
        Some(_) = tasks.join_next() => Err(Error::Task("a part of the node")),
        _ = &mut from_outside => Err(Error::Task("the way in for plain NATS clients")),
        _ = &mut leading => Err(Error::Task("the controller")),
        _ = &mut serving => Err(Error::Task("the admin API")),
    };
    if outcome.is_ok() {
        tokio::select! {
            () = drain(&inventory, &observer, &me) => {}
            () = signals.second() => {}
        }
        // Each step has a bound of its own: what cannot be taken over must not cost what can be answered.
        outside.cancel();
        let _ = tokio::time::timeout(LAST_REQUESTS, from_outside).await;
        stop.cancel();
        tokio::select! {
            answered = tokio::time::timeout(DRAIN, router.all_answered()) => if answered.is_err() {
                tracing::warn!("not everything was answered in time; stopping all the same");
            },
            () = signals.second() => {}
        }
    }
    stop.cancel();
    // After a defect one of these may have ended, and must not be waited for again.
    if !serving.is_finished() {
        let _ = tokio::time::timeout(LAST_REQUESTS, serving).await;
    }
    lead.cancel();
    if !leading.is_finished() {
        let _ = leading.await;
    }
    release.cancel();
    if !name_ended {
        let _ = name.await;
    }
    bus.calls.flush().await;
    tasks.shutdown().await;
    outcome
}

/// Asks to be emptied, and waits until others have taken over, where there are others.
async fn drain(inventory: &Inventory, observer: &Observer, me: &Identity) {
    let serves = inventory.actors().values().any(|running| running.ready() > 0);
    if !serves || !has_others(observer, me).await {
        return;
    }
    eprintln!("draining; a second signal stops at once");
    inventory.drain();
    if tokio::time::timeout(DRAIN, inventory.emptied()).await.is_err() {
        tracing::warn!("not everything was taken over in time; stopping all the same");
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

/// Tells the leader which nodes this one lost.
async fn report_lost(leader: ToLeader, mut lost: Suspicions) {
    while let Some(incarnation) = lost.recv().await {
        leader.tell(&Inbox::Suspect, Suspicion { incarnation }.encode()).await;
    }
}

/// A server that lost its memory, as a restarted one does, gets its buckets again.
async fn ensure_after_outages(bus: Bus, subjects: Subjects) {
    let mut link = bus.control.link();
    loop {
        let generation = link.borrow().generation;
        if link.wait_for(|link| link.up && link.generation != generation).await.is_err() {
            return;
        }
        while let Err(error) = bus.ensure(&subjects).await {
            tracing::debug!(%error, "the lattice's buckets cannot be made yet");
            tokio::time::sleep(Duration::from_millis(fastrand::u64(100..300))).await;
            if !bus.control.is_up() {
                break;
            }
        }
    }
}
