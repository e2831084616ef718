//! The methods of `lattice.admin.v1.Admin`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::{Stream, StreamExt};
use lattice_proto::admin::*;
use lattice_proto::envelope::{Aim, ContentType, TraceContext};
use lattice_proto::manifest::Label;
use lattice_proto::record::{NodeState, Running, Target};
use lattice_proto::{ActorId, ActorName, AppName, Digest, Fault, Operation as OperationName};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status, Streaming};

use super::access::Holder;
use super::page::Page;
use super::{
    Parts, drain, error, events, history, keys, letters, logs, nodes, operation, pictures, taps, topics,
};
use crate::artifact;
use crate::controller::{DeclareError, Declared, Terms};
use crate::router::Ask;
use crate::telemetry::Span;
use crate::telemetry::metrics::{self, Edges};

/// What a caller gets that does not say how long it waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Calls through this node's admin API at once; more are told `Overloaded` at once.
const CALLS_AT_ONCE: usize = 4096;

/// Artifacts of up to 64 MiB that may be on their way into memory at once.
const UPLOADS_AT_ONCE: usize = 4;

/// Clients that watch an operation at once; each has a consumer in the NATS server.
const WATCHERS_AT_ONCE: usize = 256;

/// How long an upload may stand still before it gives its place to another.
const UPLOAD_PAUSE: Duration = Duration::from_secs(10);

type Answer<T> = Result<Response<T>, Status>;

pub(super) struct Service {
    parts: Arc<Parts>,
    calls: Semaphore,
    uploads: Semaphore,
    readers: Arc<Semaphore>,
    log_readers: Arc<Semaphore>,
    tappers: Arc<Semaphore>,
    taps_begun: taps::Rate,
    picture_watchers: Arc<Semaphore>,
    /// Calls that come in here.
    edges: Arc<Edges>,
    watchers: Arc<Semaphore>,
}

impl Service {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            calls: Semaphore::new(CALLS_AT_ONCE),
            uploads: Semaphore::new(UPLOADS_AT_ONCE),
            readers: Arc::new(Semaphore::new(events::READERS_AT_ONCE)),
            log_readers: Arc::new(Semaphore::new(logs::READERS_AT_ONCE)),
            tappers: Arc::new(Semaphore::new(taps::READERS_AT_ONCE)),
            taps_begun: taps::Rate::default(),
            picture_watchers: Arc::new(Semaphore::new(pictures::WATCHERS_AT_ONCE)),
            edges: metrics::edges(None),
            watchers: Arc::new(Semaphore::new(WATCHERS_AT_ONCE)),
        }
    }

    /// Counts a request that could not be understood, and says so.
    fn invalid(&self, message: impl ToString) -> Status {
        self.parts.counters.malformed_requests();
        error::invalid(message)
    }

    /// A place among the calls, for as long as it is held.
    fn room(&self) -> Result<SemaphorePermit<'_>, Status> {
        let overloaded = |_| error::from_fault(&Fault::Overloaded("the node".to_owned()));
        self.calls.try_acquire().map_err(overloaded)
    }

    fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(&self, text: &str) -> Result<T, Status> {
        text.parse().map_err(|error: T::Err| self.invalid(error))
    }

    fn of_trial(&self, request: TrialRequest) -> Result<(AppName, Terms), Status> {
        let TrialRequest { app, request_id: id, if_revision } = request;
        Ok((self.parse(&app)?, Terms { request_id: request_id(&id), if_revision, dry_run: false }))
    }

    async fn watch(&self, id: &str) -> Result<operation::Watched, Status> {
        let id: operation::Id = self.parse(id)?;
        let shown = id.to_string();
        let watched = operation::Watched::start(&self.parts.observer, id)
            .await
            .map_err(|error| error::from_bus(&error))?;
        watched.ok_or_else(|| error::missing(format!("there is no operation `{shown}`")))
    }
}

/// How long what a client asks for may take.
pub(super) fn timeout(ms: u64) -> Duration {
    match ms {
        0 => TIMEOUT,
        // An `Instant` cannot hold every number.
        ms => Duration::from_millis(ms.min(86_400_000)),
    }
}

fn request_id(given: &str) -> String {
    if given.is_empty() { uuid::Uuid::now_v7().to_string() } else { given.to_owned() }
}

/// The operation that a declaration began.
fn begun(
    kind: operation::Kind,
    declared: Result<Declared, DeclareError>,
    dry_run: bool,
) -> Answer<Operation> {
    let declared = declared.map_err(|error| error::from_declare(&error))?;
    Ok(Response::new(operation::begun(kind, &declared, dry_run)))
}

#[tonic::async_trait]
impl admin_server::Admin for Service {
    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        let ListNodesRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse("nodes", page_size, &page_token).map_err(|error| self.invalid(error))?;
        let nodes = self.parts.observer.nodes().await.map_err(|error| error::from_bus(&error))?;
        let nodes = nodes.into_iter().map(|view| (view.record.name.clone(), view));
        let (nodes, next_page_token) = page.cut(nodes, |view| Node {
            name: view.record.name.to_string(),
            id: view.record.incarnation.to_string(),
            state: view.state.as_str().to_owned(),
            labels: view.record.labels.into_iter().collect(),
            leader: view.leader,
            replicas: match view.state {
                // What a lost node said last is no longer true.
                NodeState::Gone => 0,
                _ => view.record.actors.values().map(Running::ready).sum(),
            },
            activations: view.record.activations,
            cpus: view.record.cpus,
            memory_bytes: view.record.memory_bytes,
            version: view.record.version,
            admin: view.record.admin,
            http: view.record.http.unwrap_or_default(),
        });
        Ok(Response::new(ListNodesResponse { nodes, next_page_token }))
    }

    async fn list_actors(&self, request: Request<ListActorsRequest>) -> Answer<ListActorsResponse> {
        let ListActorsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse("actors", page_size, &page_token).map_err(|error| self.invalid(error))?;
        let actors = self.parts.observer.actors().await.map_err(|error| error::from_bus(&error))?;
        let running = |target: &Target| target.ready + target.stale;
        let actors = actors.into_iter().map(|(app, name, route)| (name.clone(), (app, name, route)));
        let (actors, next_page_token) = page.cut(actors, |(app, name, route)| {
            let targets = route.as_ref().map(|route| route.targets.as_slice()).unwrap_or_default();
            let placements = targets
                .iter()
                .map(|target| Placement { node: target.node.to_string(), replicas: running(target) });
            Actor {
                actor: name.to_string(),
                app: app.app.to_string(),
                kind: match app.actors.get(&name).and_then(|actor| actor.settings.kind.keyed()) {
                    Some(_) => "keyed".to_owned(),
                    None => "replicated".to_owned(),
                },
                desired: route.as_ref().map_or(0, |route| route.desired),
                ready: targets.iter().map(running).sum(),
                revision: app.revision,
                placements: placements.collect(),
                condition: nodes::condition(route.as_ref(), app.revision).to_owned(),
                trial: route
                    .as_ref()
                    .and_then(|route| route.canary)
                    .map(|canary| Trial { share: canary.share.0.into(), replicas: canary.replicas }),
                problems: route.as_ref().map(|route| route.problems.clone()).unwrap_or_default(),
            }
        });
        Ok(Response::new(ListActorsResponse { actors, next_page_token }))
    }

    async fn find_artifacts(&self, request: Request<FindArtifactsRequest>) -> Answer<FindArtifactsResponse> {
        let mut digests = Vec::new();
        for text in request.into_inner().digests {
            let digest: Digest = self.parse(&text)?;
            if self.parts.artifacts.has(&digest).await.map_err(|error| error::from_artifact(&error))? {
                digests.push(text);
            }
        }
        Ok(Response::new(FindArtifactsResponse { digests }))
    }

    async fn put_artifact(
        &self,
        request: Request<Streaming<PutArtifactRequest>>,
    ) -> Answer<PutArtifactResponse> {
        let overloaded = |_| error::from_fault(&Fault::Overloaded("the node".to_owned()));
        let _room = self.uploads.try_acquire().map_err(overloaded)?;
        let mut stream = request.into_inner();
        let (mut expected, mut bytes) = (None, BytesMut::new());
        loop {
            let part = tokio::time::timeout(UPLOAD_PAUSE, stream.next()).await;
            let part =
                part.map_err(|_| self.invalid("the upload stood still for too long; send it again"))?;
            let Some(part) = part else { break };
            let part = part?;
            if expected.is_none() {
                expected = Some(self.parse::<Digest>(&part.digest)?);
            }
            let size = (bytes.len() + part.chunk.len()) as u64;
            if size > artifact::LIMIT {
                return Err(error::from_artifact(&artifact::Error::TooLarge { size }));
            }
            bytes.extend_from_slice(&part.chunk);
        }
        let expected =
            expected.ok_or_else(|| self.invalid("the first message names the artifact's digest"))?;
        let size = bytes.len() as u64;
        if Digest::of(&bytes) != expected {
            return Err(
                self.invalid(format!("the {size} bytes that arrived are not {expected}; send them again"))
            );
        }
        let digest =
            self.parts.artifacts.store(bytes.freeze()).await.map_err(|error| error::from_artifact(&error))?;
        Ok(Response::new(PutArtifactResponse { digest: digest.to_string(), size }))
    }

    async fn apply(&self, request: Request<ApplyRequest>) -> Answer<Operation> {
        let request = request.into_inner();
        let file = if request.file.is_empty() { "lattice.toml" } else { &request.file };
        let mut artifacts = BTreeMap::new();
        for (actor, digest) in &request.artifacts {
            artifacts.insert(self.parse::<ActorName>(actor)?, self.parse::<Digest>(digest)?);
        }
        let ApplyRequest { manifest, dry_run, if_revision, .. } = &request;
        let terms = Terms {
            request_id: request_id(&request.request_id),
            if_revision: *if_revision,
            dry_run: *dry_run,
        };
        let declared = self.parts.declarations.apply(manifest, file, &artifacts, terms).await;
        begun(operation::Kind::Apply, declared, *dry_run)
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<Operation> {
        let DeleteRequest { app, request_id: id } = request.into_inner();
        let app = self.parse(&app)?;
        let terms = Terms { request_id: request_id(&id), ..Terms::default() };
        begun(operation::Kind::Delete, self.parts.declarations.delete(&app, terms).await, false)
    }

    async fn scale(&self, request: Request<ScaleRequest>) -> Answer<Operation> {
        let ScaleRequest { actor, replicas, request_id: id } = request.into_inner();
        let actor = self.parse(&actor)?;
        let terms = Terms { request_id: request_id(&id), ..Terms::default() };
        begun(operation::Kind::Scale, self.parts.declarations.scale(&actor, replicas, terms).await, false)
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<Operation> {
        let RollbackRequest { app, to_revision, request_id: id, if_revision, dry_run } = request.into_inner();
        let app = self.parse(&app)?;
        let terms = Terms { request_id: request_id(&id), if_revision, dry_run };
        begun(
            operation::Kind::Rollback,
            self.parts.declarations.roll_back(&app, to_revision, terms).await,
            dry_run,
        )
    }

    async fn promote(&self, request: Request<TrialRequest>) -> Answer<Operation> {
        let (app, terms) = self.of_trial(request.into_inner())?;
        let declared = self.parts.declarations.promote(&app, terms).await;
        begun(operation::Kind::Promote, declared, false)
    }

    async fn abort(&self, request: Request<TrialRequest>) -> Answer<Operation> {
        let (app, terms) = self.of_trial(request.into_inner())?;
        let declared = self.parts.declarations.abort(&app, terms).await;
        begun(operation::Kind::Abort, declared, false)
    }

    async fn get_history(&self, request: Request<GetHistoryRequest>) -> Answer<GetHistoryResponse> {
        let GetHistoryRequest { app, page_size, page_token } = request.into_inner();
        let app = self.parse(&app)?;
        let list = format!("history/{app}");
        let page = Page::parse(&list, page_size, &page_token).map_err(|error| self.invalid(error))?;
        let (revisions, head) =
            self.parts.declarations.history(&app).await.map_err(|error| error::from_declare(&error))?;
        let revisions = revisions.into_iter().map(|app| (app.revision, app));
        let (revisions, next_page_token) = page.cut(revisions, |app| history::describe(&app, &head));
        Ok(Response::new(GetHistoryResponse { revisions, next_page_token }))
    }

    async fn cordon(&self, request: Request<NodeRequest>) -> Answer<NodeResponse> {
        let node = self.parse(&request.into_inner().node)?;
        nodes::answer(&node, self.parts.nodes.cordon(&node).await)
    }

    async fn uncordon(&self, request: Request<NodeRequest>) -> Answer<NodeResponse> {
        let node = self.parse(&request.into_inner().node)?;
        nodes::answer(&node, self.parts.nodes.uncordon(&node).await)
    }

    async fn label_node(&self, request: Request<LabelNodeRequest>) -> Answer<NodeResponse> {
        let request = request.into_inner();
        let node = self.parse(&request.node)?;
        let set = request.set.iter().map(|(key, value)| self.parse::<Label>(&format!("{key}={value}")));
        let set = set.collect::<Result<Vec<_>, _>>()?;
        // A key is a label's key if any label has it.
        for key in &request.remove {
            self.parse::<Label>(&format!("{key}=x"))?;
        }
        nodes::answer(&node, self.parts.nodes.label(&node, &set, &request.remove).await)
    }

    async fn drain(&self, request: Request<NodeRequest>) -> Answer<Operation> {
        let node = self.parse(&request.into_inner().node)?;
        self.parts.nodes.drain(&node).await.map_err(|error| error::from_declare(&error))?;
        let mut drain = drain::Drain::new(&self.parts.observer, node);
        drain.now().await.map(Response::new).map_err(|error| error::from_bus(&error))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Answer<Explanation> {
        let actor: ActorName = self.parse(&request.into_inner().actor)?;
        let explained = self.parts.observer.explain(&actor).await.map_err(|error| error::from_bus(&error))?;
        let explained = explained.ok_or_else(|| {
            error::missing(format!(
                "no actor named `{actor}` is deployed in this lattice; `lattice ps` lists what is"
            ))
        })?;
        Ok(Response::new(nodes::explain(&actor, explained)))
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Answer<Operation> {
        if let Some(node) = drain::parse(&request.get_ref().id) {
            let mut drain = drain::Drain::new(&self.parts.observer, node);
            return drain.now().await.map(Response::new).map_err(|error| error::from_bus(&error));
        }
        let mut watched = self.watch(&request.into_inner().id).await?;
        watched.now().await.map(Response::new).map_err(|error| error::from_bus(&error))
    }

    type WatchOperationStream = Pin<Box<dyn Stream<Item = Result<Operation, Status>> + Send>>;

    async fn watch_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Answer<Self::WatchOperationStream> {
        let overloaded = |_| error::from_fault(&Fault::Overloaded("the node".to_owned()));
        let place = self.watchers.clone().try_acquire_owned().map_err(overloaded)?;
        if let Some(node) = drain::parse(&request.get_ref().id) {
            let drain = drain::Drain::new(&self.parts.observer, node);
            let stream = futures::stream::unfold(Some((drain, true, place)), async |state| {
                let (mut drain, first, place) = state?;
                let next = if first { drain.now().await } else { drain.next().await };
                let next = next.map_err(|error| error::from_bus(&error));
                let ended = next.as_ref().map_or(true, |operation| operation.done);
                Some((next, (!ended).then_some((drain, false, place))))
            });
            return Ok(Response::new(Box::pin(stream)));
        }
        let watched = self.watch(&request.into_inner().id).await?;
        let stream = futures::stream::unfold(Some((watched, place)), async |state| {
            let (mut watched, place) = state?;
            let next = watched.next().await.map_err(|error| error::from_bus(&error));
            let ended = next.as_ref().map_or(true, |operation| operation.done);
            Some((next, (!ended).then_some((watched, place))))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn call(&self, request: Request<CallRequest>) -> Answer<CallResponse> {
        let _room = self.room()?;
        let header = |name: &str| {
            request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let (parent, state) = (header("traceparent"), header("tracestate"));
        let request = request.into_inner();
        let parent = if request.traceparent.is_empty() { parent } else { request.traceparent };
        let target: ActorId = self.parse(&request.target)?;
        let operation: OperationName = self.parse(&request.operation)?;
        let content_type = ContentType::parse(&request.content_type).map_err(|error| self.invalid(error))?;
        let mut span = Span::request(TraceContext::parse(&parent, &state), &target, &operation);
        let trace = span.scope();
        let trace_id = trace.as_ref().map(|scope| format!("{:032x}", scope.context.parent.trace_id));
        let trace_id = trace_id.unwrap_or_default();
        let name = target.name.clone();
        let ask = Ask {
            id: None,
            target,
            operation,
            payload: request.payload,
            content_type,
            deadline: Instant::now() + timeout(request.timeout_ms),
            caller: None,
            chain: Vec::new(),
            trace,
            not_after: None,
            aim: Aim::Handle,
        };
        let outcome = self.parts.router.call(ask).await;
        self.edges.count(&name, outcome.as_ref().err());
        match outcome {
            Ok(payload) => {
                Ok(Response::new(CallResponse { payload, content_type: request.content_type, trace_id }))
            }
            Err(fault) => {
                span.fail(&fault);
                Err(error::from_fault(&fault))
            }
        }
    }

    async fn send(&self, request: Request<SendRequest>) -> Answer<SendResponse> {
        let _room = self.room()?;
        letters::send(&self.parts, request).await.map(Response::new)
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Answer<PublishResponse> {
        let _room = self.room()?;
        topics::publish(&self.parts, request).await.map(Response::new)
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Answer<ListSubscriptionsResponse> {
        topics::list(&self.parts, request.into_inner()).await.map(Response::new)
    }

    async fn inspect_key(&self, request: Request<KeyRequest>) -> Answer<KeyInfo> {
        keys::inspect(&self.parts, &request.into_inner().actor).await.map(Response::new)
    }

    async fn get_state(&self, request: Request<KeyRequest>) -> Answer<KeyState> {
        keys::get(&self.parts, &request.into_inner().actor).await.map(Response::new)
    }

    async fn put_state(&self, request: Request<PutStateRequest>) -> Answer<PutStateResponse> {
        let _room = self.room()?;
        keys::put(&self.parts, request.into_inner()).await.map(Response::new)
    }

    async fn delete_state(&self, request: Request<DeleteStateRequest>) -> Answer<PutStateResponse> {
        let _room = self.room()?;
        keys::delete(&self.parts, request.into_inner()).await.map(Response::new)
    }

    type ExportStateStream = keys::States;

    async fn export_state(&self, request: Request<ExportStateRequest>) -> Answer<Self::ExportStateStream> {
        keys::export(&self.parts, request.into_inner()).await.map(Response::new)
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Answer<ListDeadLettersResponse> {
        letters::list(&self.parts, request.into_inner()).await.map(Response::new)
    }

    async fn get_dead_letter(&self, request: Request<DeadLetterRequest>) -> Answer<DeadLetter> {
        letters::get(&self.parts, &request.into_inner().id).await.map(Response::new)
    }

    async fn retry_dead_letter(&self, request: Request<DeadLetterRequest>) -> Answer<SendResponse> {
        letters::retry(&self.parts, &request.into_inner().id).await.map(Response::new)
    }

    async fn drop_dead_letter(&self, request: Request<DeadLetterRequest>) -> Answer<DropDeadLetterResponse> {
        letters::forget(&self.parts, &request.into_inner().id).await.map(Response::new)
    }

    type WatchEventsStream = events::Events;

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let request = request.into_inner();
        let selection = events::select(&request).map_err(|error| self.invalid(error))?;
        let overloaded = |_| error::from_fault(&Fault::Overloaded("the node".to_owned()));
        let place = self.readers.clone().try_acquire_owned().map_err(overloaded)?;
        let reading = self.parts.archive.read(selection).await.map_err(|error| events::refuse(&error))?;
        Ok(Response::new(events::stream(reading, request.limit, place)))
    }

    type WatchLogsStream = logs::Logs;

    async fn watch_logs(&self, request: Request<WatchLogsRequest>) -> Answer<Self::WatchLogsStream> {
        let request = request.into_inner();
        let selection = logs::select(&request).map_err(|error| self.invalid(error))?;
        let overloaded = |_| error::from_fault(&Fault::Overloaded("the node".to_owned()));
        let place = self.log_readers.clone().try_acquire_owned().map_err(overloaded)?;
        let (lines, stop) = (&self.parts.lines, self.parts.stop.clone());
        let reading = lines.read(selection).await.map_err(|error| logs::refuse(&error))?;
        Ok(Response::new(logs::stream(reading, place, stop)))
    }

    type WatchLatticeStream = pictures::Pictures;

    async fn watch_lattice(&self, request: Request<WatchLatticeRequest>) -> Answer<Self::WatchLatticeStream> {
        let overloaded = |_| error::from_fault(&Fault::Overloaded("the node".to_owned()));
        let place = self.picture_watchers.clone().try_acquire_owned().map_err(overloaded)?;
        let (limit, stop) = (request.into_inner().limit, self.parts.stop.clone());
        Ok(Response::new(pictures::stream(&self.parts.surveyor, limit, place, stop)))
    }

    type TapStream = taps::Messages;

    async fn tap(&self, request: Request<TapRequest>) -> Answer<Self::TapStream> {
        let holder = request.extensions().get::<Holder>().map(|holder| holder.0.clone());
        let request = request.into_inner();
        let selection = taps::select(&request).map_err(|error| self.invalid(error))?;
        let overloaded = |_| error::from_fault(&Fault::Overloaded("the node".to_owned()));
        let place = self.tappers.clone().try_acquire_owned().map_err(overloaded)?;
        self.taps_begun.admit()?;
        let audit = taps::Audit::new(self.parts.events.clone(), &selection, holder);
        let reading = self.parts.taps.watch(selection).await.map_err(|error| taps::refuse(&error))?;
        Ok(Response::new(taps::stream(reading, audit.begin()?, place, self.parts.stop.clone())))
    }

    async fn get_counters(&self, _: Request<GetCountersRequest>) -> Answer<GetCountersResponse> {
        let counters = self.parts.counters.all().into_iter().collect();
        Ok(Response::new(GetCountersResponse { counters }))
    }
}
