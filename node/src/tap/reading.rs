//! Watches on all nodes, and gives what they see as it comes.
//!
//! Each node is asked again and again, one query at a time, and not while what it said before has not been taken: so at most one
//! answer of each node is held here, and what is too much for whoever watches is left out where it is seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lattice_proto::record::NodeState;
use lattice_proto::subject::Subjects;
use lattice_proto::tap::{Message, Query, Seen};
use lattice_proto::{ActorName, Incarnation, NodeName, Operation};
use tokio::time::Instant;

use crate::bus::{self, Connection};
use crate::controller::Observer;

/// How long a node may take to answer, beside what it is asked to wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause before a node is asked again that did not answer, or that refused.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked for nodes that are new.
const LOOK: Duration = Duration::from_secs(2);

/// How long a node waits for a message.
const WAIT_MS: u32 = 1_000;

/// What is watched.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Messages of this actor.
    pub actor: ActorName,
    /// Only of this key.
    pub key: Option<Arc<str>>,
    /// Only this operation.
    pub operation: Option<Operation>,
    /// At most so many in a second, from each node.
    pub per_second: u32,
    /// Fields whose values are hidden.
    pub hide: Vec<String>,
}

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What there is cannot be told.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// Nobody would ever see anything.
    #[error("no actor named `{0}` is deployed; `lattice ps` lists those that are")]
    NoSuchActor(ActorName),
}

/// What somebody who watches is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A message.
    Message(NodeName, Box<Message>),
    /// So many messages of a node are left out here.
    Skipped(NodeName, u64),
    /// A node watches nothing, for this reason.
    Refused(NodeName, String),
}

/// Watches actors. A cheap handle.
#[derive(Clone)]
pub struct Reader {
    bus: Connection,
    subjects: Subjects,
    observer: Observer,
}

/// What is being watched.
pub struct Reading {
    reader: Reader,
    query: Query,
    nodes: BTreeMap<Incarnation, Asked>,
    asking: FuturesUnordered<futures::future::BoxFuture<'static, (Incarnation, Option<Seen>)>>,
    ready: VecDeque<Told>,
    look: Instant,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct Asked {
    is_asked: bool,
    /// It has answered before.
    again: bool,
    /// It was told that it refuses.
    refuses: bool,
}

impl Reader {
    /// Over all nodes that `observer` sees.
    pub fn new(bus: Connection, subjects: Subjects, observer: Observer) -> Self {
        Self { bus, subjects, observer }
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// When there is nothing to watch, or that cannot be told.
    pub async fn watch(&self, selection: Selection) -> Result<Reading, Error> {
        let actors = self.observer.actors().await?;
        if !actors.iter().any(|(_, name, _)| *name == selection.actor) {
            return Err(Error::NoSuchActor(selection.actor));
        }
        let Selection { actor, key, operation, per_second, hide } = selection;
        let query = Query {
            id: fastrand::u128(..),
            actor,
            key,
            operation,
            per_second,
            hide,
            wait_ms: WAIT_MS,
            again: false,
        };
        let mut reading = Reading {
            reader: self.clone(),
            query,
            nodes: BTreeMap::new(),
            asking: FuturesUnordered::new(),
            ready: VecDeque::new(),
            look: Instant::now() + LOOK,
        };
        reading.look_for_nodes().await?;
        Ok(reading)
    }
}

impl Reading {
    /// What comes next. Cancel safe.
    pub async fn next(&mut self) -> Told {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return told;
            }
            if Instant::now() >= self.look {
                self.look = Instant::now() + LOOK;
                // What is new there shows up the next time, where this does not succeed.
                let _ = self.look_for_nodes().await;
            }
            self.ask();
            tokio::select! {
                Some((node, seen)) = self.asking.next() => self.take_in(&node, seen),
                () = tokio::time::sleep_until(self.look) => {}
            }
        }
    }

    async fn look_for_nodes(&mut self) -> Result<(), bus::Error> {
        let views = self.reader.observer.nodes().await?;
        let there = views.into_iter().filter(|view| view.state != NodeState::Gone);
        let there: Vec<Incarnation> = there.map(|view| view.record.incarnation).collect();
        self.nodes.retain(|node, asked| asked.is_asked || there.contains(node));
        for node in there {
            self.nodes.entry(node).or_default();
        }
        Ok(())
    }

    fn ask(&mut self) {
        for (node, asked) in self.nodes.iter_mut().filter(|(_, asked)| !asked.is_asked) {
            asked.is_asked = true;
            let (bus, subject) = (self.reader.bus.clone(), self.reader.subjects.tap(node));
            let (query, node) = (Query { again: asked.again, ..self.query.clone() }.encode(), node.clone());
            self.asking.push(Box::pin(async move {
                let patience = PATIENCE + Duration::from_millis(u64::from(WAIT_MS));
                let seen = bus.request(subject, query, patience).await.ok();
                let seen = seen.and_then(|seen| Seen::decode(seen).ok());
                if seen.as_ref().is_none_or(|seen| seen.refused.is_some()) {
                    tokio::time::sleep(AGAIN).await;
                }
                (node, seen)
            }));
        }
    }

    fn take_in(&mut self, node: &Incarnation, seen: Option<Seen>) {
        let Some(Seen { node: name, messages, skipped, refused }) = seen else {
            // One that is still there is found again by the next look.
            self.nodes.remove(node);
            return;
        };
        let asked = self.nodes.entry(node.clone()).or_default();
        (asked.is_asked, asked.again) = (false, refused.is_none());
        if let Some(why) = refused {
            if !std::mem::replace(&mut asked.refuses, true) {
                self.ready.push_back(Told::Refused(name, why));
            }
            return;
        }
        let node = name;
        self.ready.extend(messages.into_iter().map(|message| Told::Message(node.clone(), Box::new(message))));
        if skipped > 0 {
            self.ready.push_back(Told::Skipped(node, skipped));
        }
    }
}
