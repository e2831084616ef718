//! Asks all nodes for what they have kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lattice_proto::record::NodeState;
use lattice_proto::subject::Subjects;
use lattice_proto::trace::{Query, Spans};
use lattice_proto::{ActorName, NodeName};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::tree::failure;
use crate::bus::{self, Connection};
use crate::controller::Observer;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Spans of one trace that are put together.
const MOST: usize = 5_000;

/// Reads traces. A cheap handle.
#[derive(Clone)]
pub struct Reader {
    bus: Connection,
    subjects: Subjects,
    observer: Observer,
}

/// One trace, in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub trace: u128,
    /// What its first span is called.
    pub name: String,
    /// When it began: nanoseconds since 1970 by the clock of that node.
    pub began_ns: u64,
    /// How long its first span took.
    pub took_ns: u64,
    /// Why its first span failed; none where it did not.
    pub failure: Option<String>,
    /// Who keeps parts of it.
    pub nodes: BTreeSet<NodeName>,
}

/// What is kept lately, the latest first.
#[derive(Debug, Default)]
pub struct Listed {
    /// At most as many as were asked for.
    pub traces: Vec<Summary>,
    /// Nodes that did not answer.
    pub silent: Vec<NodeName>,
}

/// All that is kept of one trace.
#[derive(Debug, Default)]
pub struct Whole {
    /// In no order.
    pub spans: Vec<(NodeName, Span)>,
    /// Nodes that did not answer.
    pub silent: Vec<NodeName>,
    /// Whether some were left out.
    pub cut: bool,
}

impl Reader {
    /// Over all nodes that `observer` sees.
    pub fn new(bus: Connection, subjects: Subjects, observer: Observer) -> Self {
        Self { bus, subjects, observer }
    }

    /// What is kept lately; only what this actor is in.
    ///
    /// # Errors
    /// When it cannot be told which nodes there are.
    pub async fn list(&self, actor: Option<&ActorName>, most: usize) -> Result<Listed, bus::Error> {
        let (answers, silent) = self.ask(&Query::Firsts { actor: actor.cloned(), most }).await?;
        let mut traces = BTreeMap::<u128, (bool, Summary)>::new();
        for (node, span) in answers.into_iter().flat_map(spans) {
            let Some((trace, is_root)) = place(&span) else { continue };
            let summary = summary(trace, node.clone(), span);
            match traces.get_mut(&trace) {
                None => drop(traces.insert(trace, (is_root, summary))),
                Some((has_root, known)) => {
                    // What nothing is above stands for all of it; without that, what began first.
                    let stands = (is_root, std::cmp::Reverse(summary.began_ns))
                        > (*has_root, std::cmp::Reverse(known.began_ns));
                    known.nodes.insert(node);
                    if stands {
                        let nodes = std::mem::take(&mut known.nodes);
                        (*has_root, *known) = (is_root, Summary { nodes, ..summary });
                    }
                }
            }
        }
        let mut traces: Vec<Summary> = traces.into_values().map(|(_, summary)| summary).collect();
        traces.sort_by_key(|summary| std::cmp::Reverse(summary.began_ns));
        traces.truncate(most);
        Ok(Listed { traces, silent })
    }

    /// All that is kept of one trace.
    ///
    /// # Errors
    /// When it cannot be told which nodes there are.
    pub async fn find(&self, trace: u128) -> Result<Whole, bus::Error> {
        let (answers, silent) = self.ask(&Query::Trace(trace)).await?;
        let mut cut = answers.iter().any(|answer| answer.cut);
        let is_of = |(_, span): &(NodeName, Span)| place(span).is_some_and(|(of, _)| of == trace);
        let mut spans: Vec<_> = answers.into_iter().flat_map(spans).filter(is_of).take(MOST + 1).collect();
        cut |= spans.len() > MOST;
        spans.truncate(MOST);
        Ok(Whole { spans, silent, cut })
    }

    /// Asks every node, and says who did not answer.
    async fn ask(&self, query: &Query) -> Result<(Vec<Spans>, Vec<NodeName>), bus::Error> {
        let nodes = self.observer.nodes().await?;
        let there = nodes.iter().filter(|view| view.state != NodeState::Gone);
        let asking = there.map(|view| async {
            let subject = self.subjects.trace(&view.record.incarnation);
            let answer = self.bus.request(subject, query.encode(), PATIENCE).await.ok();
            answer.and_then(|answer| Spans::decode(answer).ok()).ok_or_else(|| view.record.name.clone())
        });
        let all: Vec<Result<Spans, NodeName>> = asking.collect::<FuturesUnordered<_>>().collect().await;
        let (mut answers, mut silent) = (Vec::new(), Vec::new());
        for answer in all {
            match answer {
                Ok(spans) => answers.push(spans),
                Err(node) => silent.push(node),
            }
        }
        silent.sort();
        Ok((answers, silent))
    }
}

/// What of an answer can be read.
fn spans(answer: Spans) -> impl Iterator<Item = (NodeName, Span)> {
    let node = answer.node;
    answer.spans.into_iter().filter_map(move |span| Some((node.clone(), Span::decode(span).ok()?)))
}

/// The trace that a span is in, and whether nothing is above it; none where its ids are none.
fn place(span: &Span) -> Option<(u128, bool)> {
    let trace = u128::from_be_bytes(span.trace_id[..].try_into().ok()?);
    let is_id = |id: &[u8]| id.len() == 8;
    let has_parent = is_id(&span.parent_span_id) && span.parent_span_id.iter().any(|byte| *byte != 0);
    is_id(&span.span_id).then_some((trace, !has_parent))
}

fn summary(trace: u128, node: NodeName, span: Span) -> Summary {
    Summary {
        trace,
        failure: failure(&span),
        began_ns: span.start_time_unix_nano,
        took_ns: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        name: span.name,
        nodes: [node].into(),
    }
}
