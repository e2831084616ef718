//! Reads lines of all nodes, and puts them in order.
//!
//! Each node is asked for what comes next, one query at a time. A line is given when every node that answers has said that
//! it has none before it; so at most one answer of each node is held here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lattice_proto::log::{Level, Line, Lines, Query};
use lattice_proto::record::NodeState;
use lattice_proto::subject::Subjects;
use lattice_proto::{ActorName, Incarnation, NodeName};
use tokio::time::Instant;

use crate::bus::{self, Connection};
use crate::controller::Observer;

/// How long a node may take to answer before it is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause before a node is asked again that did not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is looked for nodes that are new.
const LOOK: Duration = Duration::from_secs(2);

/// How long a node waits for a line, for each node that is asked: few are asked often.
const WAIT_MS: u32 = 10;
const SHORTEST_MS: u32 = 100;
const LONGEST_MS: u32 = 2_000;

/// Lines that wait for other nodes. A node that has more is not asked until they are given.
const HELD: usize = 20_000;

/// What is read.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of this actor; none for what a node says of itself.
    pub actor: Option<ActorName>,
    /// Of this key only.
    pub key: Option<Arc<str>>,
    /// Of this node only.
    pub node: Option<NodeName>,
    /// Only what was written within this time.
    pub since: Option<Duration>,
    /// Only the last so many that are there.
    pub last: Option<u32>,
    /// Whether to go on.
    pub follow: bool,
    /// Only those of this level or worse.
    pub level: Level,
}

/// Reads lines. A cheap handle.
#[derive(Clone)]
pub struct Reader {
    bus: Connection,
    subjects: Subjects,
    observer: Observer,
    store: super::Store,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Which nodes there are cannot be told.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The one that is asked for is not there.
    #[error("no node named `{0}` is in this lattice; `lattice nodes` lists those that are")]
    NoSuchNode(NodeName),
}

/// One line, and the node that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Who has it.
    pub node: NodeName,
    /// The line.
    pub line: Line,
}

/// What is being read.
pub struct Reading {
    reader: Reader,
    selection: Selection,
    since_ms: u64,
    nodes: BTreeMap<Incarnation, Asked>,
    /// Nodes that are asked now.
    asking: FuturesUnordered<futures::future::BoxFuture<'static, (Incarnation, Option<Lines>)>>,
    held: BinaryHeap<Reverse<Held>>,
    ready: VecDeque<Read>,
    look: Instant,
    arrived: u64,
}

/// What is known of one node.
#[derive(Debug)]
struct Asked {
    name: NodeName,
    /// How many lines are asked for until it has answered, if not all.
    last: Option<u32>,
    next: Option<u64>,
    /// All before it has come; none while it does not answer.
    until_ms: Option<u64>,
    /// Whether all that it has has come.
    complete: bool,
    is_asked: bool,
    /// Whether it did not answer the last time.
    silent: bool,
    gone: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    at_ms: u64,
    /// Lines of one node and one moment stay in their order.
    arrived: u64,
    read: Box<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry(Read);

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    // Never asked: no two lines arrive as the same one.
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Reader {
    /// Over all nodes that `observer` sees.
    pub fn new(bus: Connection, subjects: Subjects, observer: Observer, store: super::Store) -> Self {
        Self { bus, subjects, observer, store }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// When it cannot be told which nodes there are, and when the one that is asked for is not among them.
    pub async fn read(&self, selection: Selection) -> Result<Reading, Error> {
        let now = self.store.now_ms();
        let ms = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let since_ms = selection.since.map_or(0, |since| now.saturating_sub(ms(since)));
        let mut reading = Reading {
            reader: self.clone(),
            selection,
            since_ms,
            nodes: BTreeMap::new(),
            asking: FuturesUnordered::new(),
            held: BinaryHeap::new(),
            ready: VecDeque::new(),
            look: Instant::now(),
            arrived: 0,
        };
        reading.look_for_nodes(None).await?;
        match (&reading.selection.node, reading.nodes.is_empty()) {
            (Some(node), true) => Err(Error::NoSuchNode(node.clone())),
            _ => Ok(reading),
        }
    }
}

impl Reading {
    /// The next line; none when all that is there was given, and nothing is to be followed. Cancel safe.
    pub async fn next(&mut self) -> Option<Read> {
        loop {
            if let Some(read) = self.ready.pop_front() {
                return Some(read);
            }
            if self.release() {
                continue;
            }
            if self.is_over() {
                return None;
            }
            if self.selection.follow && Instant::now() >= self.look {
                self.look = Instant::now() + LOOK;
                // What is new there shows up the next time, where this does not succeed.
                let _ = self.look_for_nodes(Some(self.reader.store.now_ms())).await;
            }
            self.ask();
            tokio::select! {
                Some((node, lines)) = self.asking.next() => self.take_in(&node, lines),
                () = tokio::time::sleep_until(self.look), if self.selection.follow => {}
                else => return None,
            }
        }
    }

    fn is_over(&self) -> bool {
        let ended = |asked: &Asked| asked.complete || asked.silent || asked.gone;
        !self.selection.follow && self.held.is_empty() && self.nodes.values().all(ended)
    }

    /// Nodes that are there now. Of one that comes while it is followed, all is new.
    async fn look_for_nodes(&mut self, new_since: Option<u64>) -> Result<(), bus::Error> {
        let views = self.reader.observer.nodes().await?;
        let there: Vec<(Incarnation, NodeName)> = views
            .into_iter()
            .filter(|view| view.state != NodeState::Gone)
            .filter(|view| self.selection.node.as_ref().is_none_or(|node| *node == view.record.name))
            .map(|view| (view.record.incarnation, view.record.name))
            .collect();
        for (incarnation, asked) in &mut self.nodes {
            asked.gone = !there.iter().any(|(there, _)| there == incarnation);
        }
        // One that does not answer and is not there any more is not asked again.
        self.nodes.retain(|_, asked| !asked.gone || asked.is_asked);
        for (incarnation, name) in there {
            self.nodes.entry(incarnation).or_insert(Asked {
                name,
                // Only of those that were there when it began.
                last: self.selection.last.filter(|_| new_since.is_none()),
                next: None,
                until_ms: new_since,
                complete: false,
                is_asked: false,
                silent: false,
                gone: false,
            });
        }
        Ok(())
    }

    /// Asks every node that is to be asked.
    fn ask(&mut self) {
        if self.held.len() >= HELD {
            // Those that are behind are asked, or nothing would ever be given.
            let follow = self.selection.follow;
            let open = |asked: &&Asked| !asked.gone && !asked.silent && (follow || !asked.complete);
            let first = self.nodes.values().filter(open).filter_map(|asked| asked.until_ms).min();
            return self.ask_those(|asked| asked.until_ms.is_none() || asked.until_ms == first);
        }
        self.ask_those(|_| true);
    }

    fn ask_those(&mut self, which: impl Fn(&Asked) -> bool) {
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let follow = self.selection.follow;
        for (incarnation, asked) in &mut self.nodes {
            if asked.is_asked || asked.gone || !which(asked) || (!follow && (asked.complete || asked.silent))
            {
                continue;
            }
            asked.is_asked = true;
            let wait_ms = match follow && asked.complete {
                true => count.saturating_mul(WAIT_MS).clamp(SHORTEST_MS, LONGEST_MS),
                false => 0,
            };
            let query = Query {
                actor: self.selection.actor.clone(),
                key: self.selection.key.clone(),
                after: asked.next,
                since_ms: self.since_ms,
                last: asked.last,
                wait_ms,
                level: self.selection.level,
            };
            let subject = self.reader.subjects.log(incarnation);
            let (bus, node, silent) = (self.reader.bus.clone(), incarnation.clone(), asked.silent);
            let patience = PATIENCE + Duration::from_millis(u64::from(wait_ms));
            self.asking.push(Box::pin(async move {
                if silent {
                    tokio::time::sleep(AGAIN).await;
                }
                let answer = bus.request(subject, query.encode(), patience).await;
                let lines = answer.ok().and_then(|answer| Lines::decode(answer).ok());
                (node, lines)
            }));
        }
    }

    fn take_in(&mut self, node: &Incarnation, lines: Option<Lines>) {
        let Some(asked) = self.nodes.get_mut(node) else { return };
        asked.is_asked = false;
        let Some(Lines { node, lines, next, more, lost, until_ms }) = lines else {
            // The others are not held up by it.
            asked.until_ms = None;
            if !std::mem::replace(&mut asked.silent, true) && !asked.gone {
                let name = asked.name.clone();
                let text = format!("{name} does not answer; what it has is missing here");
                let missing = self.of_its_own(self.reader.store.now_ms(), text);
                self.hold(name, missing);
            }
            return;
        };
        (asked.silent, asked.last) = (false, None);
        asked.complete = !more;
        // A node that has nothing says 0, and is asked for everything again.
        asked.next = Some(next).filter(|next| *next > 0).or(asked.next);
        let last_ms = lines.last().map(|line| line.at_ms);
        asked.until_ms = if more { last_ms.or(asked.until_ms) } else { Some(until_ms) };
        if lost > 0 {
            let at_ms = lines.first().map_or(until_ms, |line| line.at_ms);
            let text =
                "lines were written here faster than they were read, and are not kept any more".to_owned();
            let missing = self.of_its_own(at_ms, text);
            self.hold(node.clone(), missing);
        }
        for line in lines {
            self.hold(node.clone(), line);
        }
    }

    /// What is to be said of the reading itself.
    fn of_its_own(&self, at_ms: u64, text: String) -> Line {
        Line {
            at_ms,
            level: Level::Warn,
            actor: self.selection.actor.clone(),
            key: self.selection.key.clone(),
            target: "lattice".to_owned(),
            text,
            by_node: true,
            ..Line::default()
        }
    }

    fn hold(&mut self, node: NodeName, line: Line) {
        // Of all of them together only the last are wanted.
        if self.selection.last.is_some_and(|last| self.held.len() >= last as usize) {
            if self.held.peek().is_some_and(|Reverse(first)| first.at_ms > line.at_ms) {
                return;
            }
            self.held.pop();
        }
        self.arrived += 1;
        let (at_ms, arrived) = (line.at_ms, self.arrived);
        self.held.push(Reverse(Held { at_ms, arrived, read: Box::new(Entry(Read { node, line })) }));
    }

    /// Gives what no node has anything before; whether there was any.
    fn release(&mut self) -> bool {
        let is_there = |asked: &Asked| asked.complete || asked.silent || asked.gone;
        let all_there = self.nodes.values().all(is_there);
        if !all_there && self.selection.last.is_some() {
            // Which of them are the last is known when all of them are there.
            return false;
        }
        let until = match all_there && !self.selection.follow {
            true => u64::MAX,
            false => {
                let answering = self.nodes.values().filter(|asked| !asked.gone && !asked.silent);
                answering.map(|asked| asked.until_ms.unwrap_or(0)).min().unwrap_or(u64::MAX)
            }
        };
        let mut released = Vec::new();
        while self.held.peek().is_some_and(|Reverse(held)| held.at_ms < until) {
            if let Some(Reverse(held)) = self.held.pop() {
                released.push(held.read.0);
            }
        }
        // Each node gave its last lines; of all of them together so many are the last.
        let first = self.selection.last.take().map_or(0, |last| released.len().saturating_sub(last as usize));
        self.ready.extend(released.into_iter().skip(first));
        !self.ready.is_empty()
    }
}
