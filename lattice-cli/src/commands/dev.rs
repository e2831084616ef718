//! `lattice dev`: one terminal in which an app is built, deployed and watched, again at each save.
//!
//! A round reads the manifest, compiles the actors whose sources changed, declares what is new, and waits until it serves;
//! meanwhile the lines of all actors are shown. What fails is shown, and what ran before goes on. Compiling and the node,
//! where there is none, are processes of this same program, so that they can be ended at once.

mod building;
mod changes;
mod event;
mod hurry;
mod last_words;
mod own_node;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use lattice_proto::admin::{ApplyRequest, WatchLatticeRequest};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use self::building::Building;
use self::changes::{Changes, Saved};
use self::event::{Event, Step};
use self::own_node::OwnNode;
use self::sources::{Sources, Stale};
use super::apply::Source;
use super::{artifacts, logs, operation};
use crate::admin;
use crate::cli::{DEFAULT_ADMIN, Global};
use crate::failure::Failure;
use crate::setup;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A manifest, or the folder that holds a lattice.toml
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Start a node for as long as this runs, with its admin API here; port 0 takes a free one [default: where --admin names
    /// none and none answers, on 127.0.0.1:7700]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    // What is missing at the start is a mistake in the command line; later it is something that is being worked on.
    Source::read(args.path.clone())?;
    let listen = match args.listen {
        None => address(global).await?,
        wanted => wanted,
    };
    if listen.is_some() {
        // Found, or got, before anything runs that would have to be ended.
        setup::blocking(global.output, lattice_setup::nats_server).await?;
    }
    let mut ending = Ending::listen()?;
    let mut node = listen.as_deref().map(OwnNode::start).transpose()?;
    let outcome = tokio::select! {
        outcome = develop(args.path, node.as_mut(), global) => outcome,
        () = ending.asked() => Ok(()),
    };
    if let Some(node) = node {
        node.stop().await;
    }
    outcome
}

/// Where a node has to be started, if none is there.
async fn address(global: &Global) -> Result<Option<String>, Failure> {
    // What was set for another purpose, in a shell long ago, must not get what somebody is trying out.
    if !global.is_admin_named && !admin::is_local(global)? {
        let admin = &global.admin;
        return Err(Failure::usage(format!(
            "LATTICE_ADMIN names {admin}, which is not this machine: if each save is to be deployed there, write `--admin {admin}`; else \
             `--admin {DEFAULT_ADMIN}`, or unset it"
        )));
    }
    match admin::connect(global).await {
        Ok(_) => Ok(None),
        Err(failure) if failure.kind == "unreachable" && global.admin == DEFAULT_ADMIN => {
            Ok(Some(own_node::admin_address()))
        }
        Err(failure) => Err(failure),
    }
}

/// Works until nobody reads what is said, or the node is lost.
async fn develop(path: PathBuf, node: Option<&mut OwnNode>, global: &Global) -> Result<(), Failure> {
    let Some(node) = node else {
        let lattice = lattice(global).await?;
        let there = Event::Lattice { lattice: &lattice, admin: &global.admin };
        if there.show(global.output)?.is_break() {
            return Ok(());
        }
        return Session::new(&path, global.clone())?.run().await;
    };
    let ready = node.ready().await?;
    let global = Global { admin: ready.admin.clone(), ..global.clone() };
    if Event::Node(ready).show(global.output)?.is_break() {
        return Ok(());
    }
    tokio::select! {
        outcome = Session::new(&path, global)?.run() => outcome,
        failure = node.ended() => Err(failure),
    }
}

/// The name of the lattice that is there.
async fn lattice(global: &Global) -> Result<String, Failure> {
    let mut client = admin::connect(global).await?;
    let mut pictures = client.watch_lattice(WatchLatticeRequest { limit: 1 }).await?.into_inner();
    let picture = pictures.message().await?.ok_or_else(Failure::stream_ended)?;
    Ok(picture.lattice)
}

/// The signals by which a person, a supervisor or a terminal that is closed end it.
struct Ending([Signal; 4]);

impl Ending {
    fn listen() -> Result<Self, Failure> {
        let kinds =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let [interrupt, terminate, hangup, quit] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?, quit?]))
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// What the first build of a new project writes beside its sources.
fn is_lock(path: &Path) -> bool {
    path.ends_with("Cargo.lock") || path.ends_with("package-lock.json")
}

/// What is known from one round to the next.
struct Session {
    path: PathBuf,
    global: Global,
    /// The folder in which the manifest is looked for, and the one in which it lies.
    around: BTreeSet<PathBuf>,
    changes: Changes,
    sources: Sources,
    /// What must be compiled before anything can be declared.
    stale: Stale,
    /// The component of each actor that was compiled.
    made: BTreeMap<String, PathBuf>,
    /// The manifest and the digests that serve, as far as this session knows.
    serves: Option<(String, BTreeMap<String, String>)>,
    /// The actors whose lines are shown.
    heard: BTreeSet<String>,
    listening: JoinSet<Result<(), Failure>>,
}

impl Session {
    fn new(path: &Path, global: Global) -> Result<Self, Failure> {
        let (folder, file) = match path.is_dir() {
            true => (Some(path), path.join("lattice.toml")),
            false => (path.parent().filter(|folder| !folder.as_os_str().is_empty()), path.to_owned()),
        };
        let looked_for = folder.unwrap_or(Path::new(".")).canonicalize()?;
        let real = file.canonicalize()?;
        let around = BTreeSet::from([looked_for, real.parent().unwrap_or(Path::new("/")).to_owned()]);
        let mut changes = Changes::new()?;
        changes.watch(around.clone())?;
        Ok(Self {
            sources: Sources::default(),
            around,
            changes,
            stale: Stale::default(),
            made: BTreeMap::new(),
            serves: None,
            heard: BTreeSet::new(),
            listening: JoinSet::new(),
            path: path.to_owned(),
            global,
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let mut saved = Saved { at: Instant::now(), first: true, paths: BTreeSet::new(), all: true };
        loop {
            self.stale.add(&self.sources, &saved);
            if let Err((step, failure)) = self.round(&saved).await {
                let failed = Event::Failed { step, failure: &failure };
                if failed.show(self.global.output)?.is_break() {
                    return Ok(());
                }
            }
            saved = tokio::select! {
                saved = self.changes.next() => saved?,
                // Only with somebody who reads no more does it end.
                Some(ended) = self.listening.join_next() => match ended {
                    Ok(Err(failure)) => return Err(failure),
                    _ => return Ok(()),
                },
            };
        }
    }

    /// Brings what was saved to be served.
    async fn round(&mut self, saved: &Saved) -> Result<(), (Step, Failure)> {
        let of = |step: Step| move |failure: Failure| (step, failure);
        // Also when nothing more can be read: it is here that it will be put right.
        self.changes.watch(self.around.clone()).map_err(of(Step::Watch))?;
        let source = Source::read(self.path.clone()).map_err(of(Step::Manifest))?;
        let sources = Sources::read(&source.file).map_err(of(Step::Manifest))?;
        // What was compiled from somewhere else is another actor.
        self.made.retain(|actor, _| sources.agrees(&self.sources, actor));
        self.sources = sources;
        // Before anything is compiled: what is saved from here on comes with the next round.
        self.changes.watch(self.sources.roots()).map_err(of(Step::Watch))?;
        self.build().await.map_err(of(Step::Build))?;
        self.listen(&source);
        self.apply(source, saved).await.map_err(of(Step::Apply))
    }

    async fn build(&mut self) -> Result<(), Failure> {
        let wanted: Vec<String> = self
            .sources
            .actors()
            .filter(|actor| self.stale.has(actor) || !self.made.contains_key(*actor))
            .map(str::to_owned)
            .collect();
        if !wanted.is_empty() {
            let start = Instant::now();
            let is_first = self.made.is_empty();
            let built = Building::start(self.sources.manifest(), &wanted, is_first)?.finish().await;
            if is_first {
                self.changes.forget(is_lock);
            }
            let built = built?;
            self.made.extend(built.into_iter().map(|one| (one.actor, one.artifact)));
            // A closed terminal ends the session with the next line.
            let _ = Event::Built { actors: &wanted, took: start.elapsed() }.show(self.global.output)?;
        }
        self.stale = Stale::default();
        Ok(())
    }

    async fn apply(&mut self, source: Source, saved: &Saved) -> Result<(), Failure> {
        let output = self.global.output;
        let mut client = admin::connect(&self.global).await?;
        let folder = self.sources.folder();
        let digests = artifacts::upload(&mut client, &source.manifest, folder, &self.made, output).await?;
        let now = (source.text, digests);
        if self.serves.as_ref() == Some(&now) {
            return Event::Unchanged { saved }.show(output).map(drop);
        }
        self.serves = None;
        let request = ApplyRequest {
            manifest: hurry::along(&now.0)?,
            file: source.file.display().to_string(),
            artifacts: now.1.clone().into_iter().collect(),
            dry_run: false,
            if_revision: None,
            request_id: operation::request_id(),
        };
        let started = client.apply(request).await?.into_inner();
        let (revision, changes) = (started.revision, started.changes.clone());
        tokio::select! {
            ended = operation::follow(client, started, &self.global) => ended?,
            // It is on its way, and something newer is there already.
            () = self.changes.arrived() => return Ok(()),
        };
        self.serves = Some(now);
        let app = source.manifest.app.as_str();
        Event::Applied { app, revision, changes: &changes, saved }.show(output).map(drop)
    }

    /// Shows the lines of actors that are new.
    fn listen(&mut self, source: &Source) {
        for actor in source.manifest.actors.keys().map(ToString::to_string) {
            if self.heard.insert(actor.clone()) {
                let global = self.global.clone();
                self.listening.spawn(async move {
                    let show = |row: logs::Row| Event::Log(&row).show(global.output);
                    logs::from_now_on(&actor, &global, show).await
                });
            }
        }
    }
}
