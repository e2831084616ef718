//! Asks all nodes again and again for as long as somebody watches, and shows everybody the same pictures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lattice_proto::admin::Picture;
use lattice_proto::subject::Subjects;
use lattice_proto::survey::{Past, Query, STEP_MS, Survey};
use lattice_proto::{ActorName, Incarnation, LatticeId};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::history::{Sample, add_up};
use super::picture::{Known, Listing, is_asked, paint};
use super::rates::between;
use crate::bus::{self, Connection};
use crate::clock::ServerClock;
use crate::controller::Observer;

/// How often there is a picture.
const EVERY: Duration = Duration::from_secs(1);

/// How long a node may take to answer before the picture is made without it.
const PATIENCE: Duration = Duration::from_millis(800);

/// How often it is read anew what is declared, which takes a read of the whole control stream.
const LIST: Duration = Duration::from_secs(3);

/// Actors whose past is held for whoever asks next.
const PASTS: usize = 256;

/// How long all goes on when nobody watches any more: somebody may only be on the way from one page to the next, and the
/// first picture has no rates.
const LINGER: Duration = Duration::from_secs(30);

/// How long what a node said last is shown when it does not answer.
const REMEMBER: Duration = Duration::from_secs(30);

/// Pictures as they come. Whoever is slow misses some.
pub struct Pictures(watch::Receiver<Option<Arc<Picture>>>);

impl Pictures {
    /// The next one; none when there are no more, as the node ends.
    pub async fn next(&mut self) -> Option<Arc<Picture>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(picture) = self.0.borrow_and_update().clone() {
                return Some(picture);
            }
        }
    }
}

/// A cheap handle.
#[derive(Clone)]
pub struct Surveyor(Arc<Shared>);

struct Shared {
    bus: Connection,
    subjects: Subjects,
    observer: Observer,
    clock: Arc<ServerClock>,
    lattice: LatticeId,
    pictures: watch::Sender<Option<Arc<Picture>>>,
    /// How actors did, as nodes remembered it a moment ago. Held for a look only.
    pasts: Mutex<Pasts>,
    /// Held for a look only.
    task: Mutex<Task>,
}

/// What was read of the past of actors, and when.
type Pasts = BTreeMap<ActorName, (Instant, Arc<[Sample]>)>;

/// What runs while somebody watches.
#[derive(Default)]
struct Task {
    running: Option<AbortOnDropHandle<()>>,
    /// When somebody watched last.
    watched: Option<Instant>,
}

impl Surveyor {
    /// One that asks nobody yet.
    pub fn new(bus: Connection, subjects: Subjects, observer: Observer, clock: Arc<ServerClock>) -> Self {
        let (lattice, pictures) = (subjects.lattice().clone(), watch::Sender::new(None));
        let (pasts, task) = Default::default();
        Self(Arc::new(Shared { bus, subjects, observer, clock, lattice, pictures, pasts, task }))
    }

    /// The latest picture; none while nobody watches, and until all nodes were asked once.
    pub fn latest(&self) -> Option<Arc<Picture>> {
        self.0.pictures.borrow().clone()
    }

    /// Follows the pictures.
    pub fn watch(&self) -> Pictures {
        let mut task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that a task that is about to end sees it.
        let pictures = Pictures(self.0.pictures.subscribe());
        task.watched = Some(Instant::now());
        if task.running.as_ref().is_none_or(|task| task.is_finished()) {
            // What was shown before says nothing of now.
            self.0.pictures.send_replace(None);
            task.running = Some(AbortOnDropHandle::new(tokio::spawn(run(Arc::downgrade(&self.0)))));
        }
        pictures
    }
}

impl Surveyor {
    /// How an actor did within the last half an hour, step by step, as far as nodes answer that remember it.
    pub async fn past(&self, actor: &ActorName) -> Arc<[Sample]> {
        let held = self.0.pasts().get(actor).cloned();
        if let Some((_, samples)) = held.filter(|(read, _)| read.elapsed() < Duration::from_millis(STEP_MS)) {
            return samples;
        }
        let nodes = self.0.observer.nodes().await.unwrap_or_default();
        let asking = nodes.iter().filter(|view| is_asked(view)).map(|view| async {
            let subject = self.0.subjects.survey(&view.record.incarnation);
            let query = Query::Past(actor.clone()).encode();
            let answer = self.0.bus.request(subject, query, PATIENCE).await.ok()?;
            Past::decode(answer).ok()
        });
        let pasts: Vec<Option<Past>> = asking.collect::<FuturesUnordered<_>>().collect().await;
        let pasts: Vec<Past> = pasts.into_iter().flatten().collect();
        let samples: Arc<[Sample]> = add_up(&pasts, u64::try_from(self.0.clock.now_ms()).unwrap_or(0)).into();
        let mut held = self.0.pasts();
        if held.len() >= PASTS {
            held.retain(|_, (read, _)| read.elapsed() < LINGER);
        }
        if held.len() < PASTS {
            held.insert(actor.clone(), (Instant::now(), samples.clone()));
        }
        samples
    }
}

impl Shared {
    fn pasts(&self) -> MutexGuard<'_, Pasts> {
        self.pasts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when nobody has watched for a while.
async fn run(shared: std::sync::Weak<Shared>) {
    let (mut listing, mut listed, mut problem) =
        (Arc::new(Listing::default()), None::<Instant>, String::new());
    let mut nodes = BTreeMap::<Incarnation, Known>::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        {
            let mut task = shared.task.lock().unwrap_or_else(PoisonError::into_inner);
            if shared.pictures.receiver_count() > 0 {
                task.watched = Some(Instant::now());
            } else if task.watched.is_none_or(|watched| watched.elapsed() >= LINGER) {
                // Whoever comes next waits for this lock, and begins another one.
                task.running = None;
                shared.pictures.send_replace(None);
                return;
            }
        }
        if listed.is_none_or(|listed| listed.elapsed() >= LIST) {
            match list(&shared.observer).await {
                Ok(new) => {
                    (listing, problem) = (Arc::new(new), String::new());
                    listed = Some(Instant::now());
                }
                // What was read last is shown meanwhile.
                Err(error) => problem = format!("what is declared cannot be read: {error}"),
            }
        }
        let answers = ask(&shared, &listing).await;
        // All of it takes milliseconds in a large lattice, in which nobody else on this thread is to be held up.
        let (known, listed, wrong) = (std::mem::take(&mut nodes), listing.clone(), problem.clone());
        let painted = tokio::task::spawn_blocking(move || {
            let known = take_in(known, answers, &listed);
            let mut picture = paint(shared.lattice.as_str(), &listed, &known);
            picture.at_ms = u64::try_from(shared.clock.now_ms()).unwrap_or(0);
            if !wrong.is_empty() {
                picture.problem = wrong;
            }
            shared.pictures.send_replace(Some(Arc::new(picture)));
            known
        });
        // Where it cannot be run the node ends.
        nodes = painted.await.unwrap_or_default();
    }
}

async fn list(observer: &Observer) -> Result<Listing, bus::Error> {
    Ok(Listing { nodes: observer.nodes().await?, actors: observer.actors().await? })
}

/// What each node answered that was to be asked; nothing where it did not in time.
type Answers = Vec<(Incarnation, Option<bytes::Bytes>)>;

/// Asks every node, and waits for what comes in time.
async fn ask(shared: &Shared, listing: &Listing) -> Answers {
    let asking = listing.nodes.iter().filter(|view| is_asked(view)).map(|view| async {
        let incarnation = view.record.incarnation.clone();
        let answer =
            shared.bus.request(shared.subjects.survey(&incarnation), Query::Now.encode(), PATIENCE).await;
        (incarnation, answer.ok())
    });
    asking.collect::<FuturesUnordered<_>>().collect().await
}

/// What is known of nodes with these answers.
fn take_in(
    mut nodes: BTreeMap<Incarnation, Known>,
    answers: Answers,
    listing: &Listing,
) -> BTreeMap<Incarnation, Known> {
    let now = Instant::now();
    for (incarnation, answer) in answers {
        match answer.and_then(|answer| Survey::decode(answer).ok()) {
            Some(survey) => {
                let between = nodes.remove(&incarnation).and_then(|before| {
                    let mut between = between(&before.survey, &survey)?;
                    // A round trip is measured less often than anybody looks, so that the last one stands until then.
                    between.round_trip_us = between
                        .round_trip_us
                        .or_else(|| before.between.and_then(|earlier| earlier.round_trip_us));
                    Some(between)
                });
                nodes.insert(incarnation, Known { survey, between, answers: true, heard: now });
            }
            None => {
                if let Some(node) = nodes.get_mut(&incarnation) {
                    // What it did meanwhile is told with its next answer.
                    (node.answers, node.between) = (false, None);
                }
            }
        }
    }
    let is_there = |incarnation: &Incarnation| {
        listing.nodes.iter().any(|view| view.record.incarnation == *incarnation && is_asked(view))
    };
    nodes.retain(|incarnation, node| is_there(incarnation) && node.heard.elapsed() < REMEMBER);
    nodes
}
