//! Components that were built for HTTP by the standard: `wasi:http/incoming-handler` (0.2) and `wasi:http/handler` (0.3).
//!
//! Rules:
//! 1. Each request has an instance to itself, so a trap or an endless loop costs that request and no other. It ends with the request, unless
//!    the manifest lets it serve others after it ([`idle`]).
//! 2. The head of the answer is due by the request's deadline. After that the body may take as long as its reader: who reads slowly
//!    slows the guest.
//! 3. When the answer was read, or nobody reads it any more, the guest may go on for [`AFTER`]. When the replica stops, requests may go on
//!    for [`LAST`].

mod flow;
mod idle;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot::Canceled;
use futures::future::poll_fn;
use http_body_util::BodyExt;
use hyper::header::CONTENT_LENGTH;
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};
use lattice_proto::{Fault, Ran};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use wasmtime::component::{Accessor, InstancePre, Resource};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy, ProxyPre};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView, p2, p3};

use flow::{Flow, Read};
use idle::{Idle, Served};

use super::guest::{Guest, Pauses};
use super::instance::{self, Unmade, explain, story};
use super::settle::settle;
use super::used::metered;
use super::{Compiled, Exit, Home};
use crate::replica::{Begun, Cause, InFlight, Request, Response, SMALL, Turn, TurnContext};
use crate::telemetry::{Cold, metrics};

/// How long a guest may go on when its answer was read.
const AFTER: Duration = Duration::from_secs(5);

/// How long requests may go on when their replica stops.
const LAST: Duration = Duration::from_secs(30);

/// How often it is looked at whether a reader stalls, and whether the replica stops.
const LOOK: Duration = Duration::from_secs(1);

/// Whether this is an export by which a component is entered for HTTP.
pub(super) fn is_handler(export: &str) -> bool {
    ["wasi:http/incoming-handler@0.2.", "wasi:http/handler@0.3."]
        .iter()
        .any(|known| export.starts_with(known))
}

/// The entry by one of them.
pub(super) fn entry(pre: InstancePre<Guest>, export: &str) -> wasmtime::Result<ProxyPre<Guest>> {
    Ok(match export.starts_with("wasi:http/incoming-handler") {
        true => ProxyPre::P2(p2::bindings::ProxyPre::new(pre)?),
        false => ProxyPre::P3(p3::bindings::ServicePre::new(pre)?),
    })
}

/// What serves requests: it makes an instance for each.
pub struct HttpInstance {
    compiled: Compiled,
    home: Arc<Home>,
}

impl HttpInstance {
    /// One that was tried: an instance was made, and asked its own check where it has one.
    pub(super) async fn make(compiled: &Compiled, home: &Arc<Home>) -> Result<Self, Unmade> {
        drop(compiled.make(home, home.actor.clone()).await?);
        Ok(Self { compiled: compiled.clone(), home: home.clone() })
    }

    /// Serves until the mailbox is closed, and then what was in it.
    pub(super) async fn serve(
        self,
        mailbox: &mut mpsc::Receiver<Turn>,
        in_flight: &Arc<InFlight>,
        cold: Option<Cold>,
    ) -> Exit {
        let room = Arc::new(Semaphore::new(self.home.settings.concurrency as usize));
        let idle = Arc::new(Idle::new(self.home.settings.reuse));
        let mut running = JoinSet::new();
        let mut last = None;
        // Not made anew for each request, or it would never come to an end of its pause.
        let mut dismiss = std::pin::pin!(idle.dismiss());
        loop {
            let free = tokio::time::timeout(LOOK, room.clone().acquire_owned()).await;
            if mailbox.is_closed() && *last.get_or_insert_with(Instant::now) + LAST < Instant::now() {
                break;
            }
            let Ok(Ok(room)) = free else { continue };
            let turn = tokio::select! {
                biased;
                turn = mailbox.recv() => turn,
                never = &mut dismiss => match never {},
            };
            let Some(turn) = turn else { break };
            // Those that have ended are let go of.
            while running.try_join_next().is_some() {}
            let Some(turn) = instance::begin(turn, cold, &self.home) else { continue };
            let (compiled, home, in_flight) = (self.compiled.clone(), self.home.clone(), in_flight.clone());
            let idle = idle.clone();
            running.spawn(async move {
                in_flight.begins();
                let answered = run(&compiled, &home, &idle, turn, room).await;
                in_flight.ends(answered);
            });
        }
        let all = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_err() {
            running.shutdown().await;
        }
        Exit::Closed
    }
}

/// Runs one request to its end, and tells whether the guest answered it.
async fn run(
    compiled: &Compiled,
    home: &Arc<Home>,
    idle: &Idle,
    turn: Turn,
    room: OwnedSemaphorePermit,
) -> bool {
    let Turn { context, message, mut waiting } = turn;
    let Cause::Http(exchange) = &message.cause else {
        let reason = format!("{} (it serves HTTP, and takes no messages)", message.operation);
        waiting.answer(Err(Fault::NoSuchOperation(reason)));
        return true;
    };
    let Some((request, respond)) = exchange.take() else {
        waiting.answer(Err(Fault::Cancelled(Ran::No)));
        return true;
    };
    let ended = serve_one(compiled, home, idle, &context, (request, respond), room).await;
    context.own.finish();
    let (reason, detail) = match ended {
        Ok(()) => {
            waiting.answer(Ok(Bytes::new()));
            return true;
        }
        Err(Ended::Failed(fault)) => {
            // Whoever gave up says nothing of the guest; all else does.
            let fails = !matches!(fault, Fault::Cancelled(_) | Fault::Deadline(Ran::No));
            home.tally.ended(0, 0, fails);
            waiting.answer(Err(fault));
            return !fails;
        }
        Err(Ended::Trapped { reason, detail }) => (reason, detail),
    };
    let name = &home.actor.name;
    metrics::trapped(name.as_str());
    let trace = context.trace.as_ref().map(|scope| tracing::field::display(scope.context.parent));
    tracing::warn!(actor = %home.actor, version = home.version, trace, reason, detail, "a request ended in a trap");
    home.events.crashed(name, &reason);
    home.tally.ended(0, 0, true);
    waiting.trapped(&reason, &detail);
    waiting.answer(Err(Fault::Trapped(reason)));
    false
}

/// How a request ended that was not served.
enum Ended {
    Failed(Fault),
    Trapped { reason: String, detail: String },
}

/// The same, before its store was asked what an error of the guest means.
enum Why {
    Fault(Fault),
    Guest(wasmtime::Error),
}

impl From<Fault> for Why {
    fn from(fault: Fault) -> Self {
        Why::Fault(fault)
    }
}

impl From<wasmtime::Error> for Why {
    fn from(error: wasmtime::Error) -> Self {
        Why::Guest(error)
    }
}

impl Why {
    fn explained(self, store: &Store<Guest>) -> Ended {
        let error = match self {
            Why::Fault(fault) => return Ended::Failed(fault),
            Why::Guest(error) => error,
        };
        let code =
            error.downcast_ref::<p2::bindings::http::types::ErrorCode>().map(|code| format!("{code:?}"));
        let code = code.or_else(|| {
            error.downcast_ref::<p3::bindings::http::types::ErrorCode>().map(|code| format!("{code:?}"))
        });
        match code {
            Some(code) => Ended::Failed(Fault::Trapped(format!("it answered with the error {code}"))),
            None => {
                let reason = explain(&error, store);
                Ended::Trapped { reason, detail: story(&error) }
            }
        }
    }
}

/// Serves one request. The store goes as soon as it is of no more use.
async fn serve_one(
    compiled: &Compiled,
    home: &Arc<Home>,
    idle: &Idle,
    context: &Arc<TurnContext>,
    (request, respond): (Request, oneshot::Sender<Response>),
    room: OwnedSemaphorePermit,
) -> Result<(), Ended> {
    let used = match idle.take() {
        Some(used) => used,
        None => match tokio::time::timeout_at(context.deadline.into(), compiled.make_http(home)).await {
            Ok(Ok((store, proxy))) => Served::new(store, proxy),
            Ok(Err(unmade)) => return Err(Ended::Failed(Fault::NoReplica(unmade.into_reason()))),
            Err(_) => return Err(Ended::Failed(Fault::Deadline(Ran::No))),
        },
    };
    let Served { mut store, proxy, requests } = used;
    store.data_mut().enter_alone(context.clone());
    let long = store.data().long.clone();
    let (sender, said) = futures::channel::oneshot::channel();
    let method = request.method().clone();
    let request: hyper::Request<WasiBody> =
        request.map(|body| body.map_err(|broken| Error::InternalError(Some(broken.0))).boxed_unsync());
    let flow = Flow::default();
    let pauses = store.data().pauses.clone();
    let served = {
        let entered: Entered<'_> = match &proxy {
            Proxy::P2(guest) if compiled.is_plain() => {
                Box::pin(Paused::new(pauses, call(&mut store, guest, request, sender)))
            }
            proxy => {
                let entered =
                    store.run_concurrent(async |access| enter(access, proxy, request, sender).await);
                Box::pin(settle(Paused::new(pauses, entered)).map(wasmtime::Result::flatten))
            }
        };
        let mut running =
            Running { future: metered(entered, home.clone(), long), over: false, trapped: None };
        let served = async {
            let (response, read) = running.answer(said, context, &method, &flow).await?;
            respond.send(response).map_err(|_| Fault::Cancelled(Ran::Maybe))?;
            running.end(read, &flow).await
        };
        served.await
    };
    let (over, mut read) = served.map_err(|why: Why| {
        // Before the store goes, and with it the guest's end of the body.
        flow.breaks_off();
        why.explained(&store)
    })?;
    // Nothing more comes of a body that a guest has left open at its end, and what it looks like without the guest is an end.
    match over && !store.data_mut().holds_body() {
        true => flow.is_whole(),
        false => flow.breaks_off(),
    }
    // One that did not come to an end is of no more use to anybody. It has its place for as long as it is there.
    let mut used = (over && idle.reuses()).then(|| (Served { store, proxy, requests: requests + 1 }, room));
    // Of a 0.2 component what it has written may wait for its reader still.
    let mut after = std::pin::pin!(tokio::time::sleep(AFTER));
    let mut look = tokio::time::interval(LOOK);
    let was_read = loop {
        tokio::select! {
            biased;
            _ = &mut read => break true,
            _ = look.tick() => if flow.stalls() {
                break false;
            },
            () = &mut after, if used.is_some() => used = None,
        }
    };
    if let Some((served, _room)) = used.filter(|_| was_read) {
        idle.put(served);
    }
    Ok(())
}

/// A guest that serves a request.
struct Running<F> {
    future: F,
    /// It has nothing more to do.
    over: bool,
    /// Why, where that is a trap that nobody was told of.
    trapped: Option<wasmtime::Error>,
}

impl<F: Future<Output = wasmtime::Result<()>> + Unpin> Running<F> {
    /// Runs it until it has nothing more to do, once. An error is a trap.
    async fn runs(&mut self) -> wasmtime::Result<()> {
        if self.over {
            return std::future::pending().await;
        }
        (&mut self.future).await?;
        self.over = true;
        Ok(())
    }

    /// Runs it until its answer is there, as far as that goes in one piece.
    async fn answer(
        &mut self,
        mut said: futures::channel::oneshot::Receiver<wasmtime::Result<hyper::Response<WasiBody>>>,
        context: &TurnContext,
        method: &Method,
        flow: &Flow,
    ) -> Result<(Response, Read), Why> {
        let head = tokio::select! {
            biased;
            head = &mut said => head,
            ended = self.runs() => {
                ended?;
                // Whatever it said is there by now.
                said.try_recv().ok().flatten().ok_or(Canceled)
            }
            () = context.cancelled.cancelled() => return Err(Fault::Cancelled(Ran::Maybe).into()),
            () = tokio::time::sleep_until(context.deadline.into()) => {
                return Err(Fault::Deadline(Ran::Maybe).into());
            }
        };
        let head = head.map_err(|Canceled| Fault::Trapped("it ended without an answer".to_owned()))??;
        let (head, body) = head.into_parts();
        let (body, read) = flow.of(body, length(method, &head));
        let mut body = std::pin::pin!(Begun::read(body, SMALL));
        let body = loop {
            tokio::select! {
                biased;
                // What it said before it trapped may be all of it.
                ended = self.runs() => if let Err(trap) = ended {
                    (self.over, self.trapped) = (true, Some(trap));
                },
                begun = &mut body => break begun.map_err(|broken| Fault::Trapped(broken.0))?,
            }
        };
        if !body.is_whole() {
            if let Some(trap) = self.trapped.take() {
                return Err(trap.into());
            }
            flow.is_handed_over();
        }
        Ok((Response::from_parts(head, body), read))
    }

    /// Runs it on while somebody reads its answer, and for a while after that. Tells whether it came to its end.
    async fn end(&mut self, mut read: Read, flow: &Flow) -> Result<(bool, Read), Why> {
        let mut stalled = tokio::time::interval(LOOK);
        let mut after = std::pin::pin!(tokio::time::sleep(AFTER));
        let mut was_read = false;
        while !self.over {
            tokio::select! {
                ended = self.runs() => ended?,
                _ = stalled.tick() => if flow.stalls() {
                    return Err(Fault::Cancelled(Ran::Yes).into());
                },
                // Whether it was read to its end or left, the guest has nobody to speak to any more.
                _ = &mut read, if !was_read => {
                    was_read = true;
                    after.as_mut().reset(tokio::time::Instant::now() + AFTER);
                }
                () = &mut after, if was_read => break,
            }
        }
        match self.trapped.take() {
            Some(trap) => Err(trap.into()),
            None => Ok((self.over, read)),
        }
    }
}

/// How long a body is that its head announces, where that is more than a word about what another request would get (RFC 9110, 8.6).
fn length(method: &Method, head: &Parts) -> Option<u64> {
    let has_none = method == Method::HEAD
        || head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = head.headers.get(CONTENT_LENGTH).filter(|_| !has_none)?;
    length.to_str().ok()?.parse().ok()
}

/// Tells whether a guest stands still because it waits: for a body, or for time. That is no computing, however short it is.
struct Paused<F> {
    pauses: Arc<Pauses>,
    future: Pin<Box<F>>,
}

impl<F> Paused<F> {
    fn new(pauses: Arc<Pauses>, future: F) -> Self {
        Self { pauses, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Paused<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(task);
        if polled.is_pending() {
            self.pauses.pauses();
        }
        polled
    }
}

/// Enters the guest with a request, and returns when it has nothing more to do. An error is a trap.
async fn enter(
    accessor: &Accessor<Guest>,
    proxy: &Proxy,
    request: hyper::Request<WasiBody>,
    sender: Sender,
) -> wasmtime::Result<()> {
    match proxy {
        Proxy::P2(guest) => {
            let handle = guest.wasi_http_incoming_handler().func_handle();
            let call = accessor.with(|mut access| {
                let handed = handed(access.data_mut(), request, sender)?;
                handle.start_call_concurrent(access.as_context_mut(), handed)
            })?;
            // Not as Wasmtime's own server has it, which hears of no trap once there is a head.
            handle.finish_call_concurrent(accessor, call).await?;
        }
        Proxy::P3(_) => {
            let prepared = accessor.with(|mut access| {
                Prepared::new(access.as_context_mut(), proxy, request, Guest::http, sender)
            })?;
            prepared.run(accessor, std::future::pending()).await?;
        }
    }
    // The guest of a 0.3 component goes on with the body in tasks of its own.
    poll_fn(|task| accessor.poll_no_interesting_tasks(task)).await;
    Ok(())
}

/// Enters the guest with a request where it has its store to itself, and returns when it has nothing more to do. An error is a trap.
async fn call(
    store: &mut Store<Guest>,
    guest: &p2::bindings::Proxy,
    request: hyper::Request<WasiBody>,
    sender: Sender,
) -> wasmtime::Result<()> {
    let (request, out) = handed(store.data_mut(), request, sender)?;
    guest.wasi_http_incoming_handler().call_handle(store, request, out).await
}

/// What a guest is entered with by WASI 0.2.
fn handed(
    guest: &mut Guest,
    request: hyper::Request<WasiBody>,
    sender: Sender,
) -> wasmtime::Result<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>)> {
    let mut http = guest.http();
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let request = http.new_incoming_request(scheme, request)?;
    let tell = Mutex::new(sender);
    let out = http.new_response_outparam_from_callback(move |said| {
        let sender = tell.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads it who has given up.
        let _ = sender.send(said.map_err(Into::into));
    })?;
    Ok((request, out))
}

/// A guest on its way through a request. An error is a trap.
type Entered<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

/// Where the head of an answer goes, or why there is none.
type Sender = futures::channel::oneshot::Sender<wasmtime::Result<hyper::Response<WasiBody>>>;
