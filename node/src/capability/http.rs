//! `wasi:http`: requests that guests make, in 0.2 and 0.3. Each is held to `grants.http`, to the turn in which it is made, and to a bound.
//!
//! Rules:
//! 1. Which turn a request belongs to is said by the function that the guest calls, as of `mesh`. Outside of any there are none.
//! 2. A request goes out when the state that its turn saw is committed, as a call does: neither can be undone.
//! 3. A guest that says nothing of the trace has its request in it. One that sends a `traceparent` of its own is left alone: it traces
//!    by itself, and knows better.

mod answer;
mod errors;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use lattice_proto::manifest::Server;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as OutgoingHandler;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttp, WasiHttpHooks, WasiHttpView, p2, p3};

use crate::client::{self, Failure, Patience, Room};
use crate::clock::boottime;
use crate::engine::{self, Guest, Home};
use crate::replica::{Body, Broken, TurnContext};
use crate::telemetry::{Span, asking, metrics};

use answer::Answer;

/// Requests that one guest may have on their way at once. Each has a connection, and buffers of some 100 KiB.
const MAX_REQUESTS: usize = 64;

/// How long a connection may take, where the guest does not say. Half the world and back takes a tenth.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a server may be silent, where the guest does not say. As long as in Wasmtime's own host, and mostly the turn ends before.
const SILENCE: Duration = Duration::from_secs(600);

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p2::bindings::http::types::add_to_linker::<_, WasiHttp>(
        linker,
        &LinkOptions::default().into(),
        Guest::http,
    )?;
    type Asked = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
    linker.instance("wasi:http/outgoing-handler@0.2.12")?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, Guest>, (request, options): Asked| {
            begin(store.as_context_mut());
            let answer = store.data_mut().http().handle(request, options);
            Ok((answer.map(Ok).or_else(|error| error.downcast().map(Err))?,))
        },
    )
}

/// The same by 0.3, whose functions are async.
pub(super) fn link_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p3::bindings::http::types::add_to_linker::<_, WasiHttp>(linker, Guest::http)?;
    linker.instance("wasi:http/client@0.3.0")?.func_wrap_concurrent(
        "send",
        |accessor: &Accessor<Guest>, (request,): (Resource<p3::Request>,)| {
            Box::pin(async move {
                // It comes to the hook before it waits for anything, so that is still in this turn.
                accessor.with(|mut access| begin(access.as_context_mut()));
                let answer = WasiHttp::send(&accessor.with_getter::<WasiHttp>(Guest::http), request).await;
                accessor.with(|mut access| access.data_mut().gave_way());
                Ok((answer.map(Ok).or_else(|error| error.downcast().map(Err))?,))
            })
        },
    )
}

/// The guest makes a request, in the turn that it is in.
fn begin(mut store: StoreContextMut<'_, Guest>) {
    let turn = engine::current_turn(store.as_context_mut());
    let guest = store.data_mut();
    // A store of one turn ends with it, also where that goes on for longer than its deadline since it answers by HTTP. One that serves
    // again does not.
    let outlives = !guest.is_alone() || guest.home.settings.reuse;
    guest.outgoing.turn = turn.map(|turn| Asking { until: outlives.then_some(turn.deadline), turn });
}

/// Who sends them.
pub(crate) struct Outgoing {
    home: Arc<Home>,
    room: Arc<Semaphore>,
    /// In which turn the next one is made.
    turn: Option<Asking>,
}

/// The turn that a request is made in.
struct Asking {
    turn: Arc<TurnContext>,
    /// When all of it has to be over.
    until: Option<Instant>,
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl Outgoing {
    /// For one guest.
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home, room: Arc::new(Semaphore::new(MAX_REQUESTS)), turn: None }
    }

    /// Checks what the guest asks for against its manifest and its turn.
    fn prepare(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Prepared, Failure> {
        let server = client::server(request.uri())?;
        let turn = self.turn.take().ok_or(Failure::Outside);
        let admitted = turn.and_then(|turn| Ok((turn, self.admit(request.method(), &server)?)));
        let (Asking { turn, until }, room) =
            admitted.inspect_err(|failure| self.home.client.failed(&server, failure))?;
        turn.call();
        let method = asking::method(request.method().as_str());
        let trace = turn.own.scope().or_else(|| turn.trace.clone());
        let span = Span::asks(trace, method, &server, request.uri().path());
        let options = options.unwrap_or_default();
        Ok(Prepared {
            home: self.home.clone(),
            request: addressed(request, &server, &span)?,
            patience: Patience {
                connect: options.connect_timeout.unwrap_or(CONNECT),
                head: options.first_byte_timeout.unwrap_or(SILENCE),
            },
            between: options.between_bytes_timeout.unwrap_or(SILENCE),
            server,
            turn,
            until,
            method,
            span,
            room,
        })
    }

    fn admit(&self, method: &Method, server: &Server) -> Result<Places, Failure> {
        if method == Method::CONNECT {
            return Err(Failure::Method);
        }
        let room = self.home.client.admit(server)?;
        let own = self.room.clone().try_acquire_owned().map_err(|_| Failure::TooMany)?;
        Ok(Places { _room: room, _own: own })
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        let prepared = self.prepare(request, options);
        Box::new(async move {
            let answer = match prepared {
                Ok(prepared) => prepared.finish().await,
                Err(failure) => Err(failure),
            };
            let answer = answer.map_err(errors::told)?;
            // Connections are driven by tasks of their own, so nobody has to do it.
            Ok((answer, Box::new(std::future::ready(Ok(()))) as Io))
        })
    }
}

/// The same request as it goes to the server: with one spelling of where that is, and in its trace.
fn addressed(request: Request<WasiBody>, server: &Server, span: &Span) -> Result<Request<Body>, Failure> {
    let (mut head, body) = request.into_parts();
    let (authority, path) = (server.authority(), head.uri.path_and_query());
    let host = HeaderValue::from_str(&authority);
    let uri = Uri::builder()
        .scheme(server.scheme.as_str())
        .authority(authority)
        .path_and_query(path.map_or("/", |path| path.as_str()))
        .build();
    let (Ok(uri), Ok(host)) = (uri, host) else {
        return Err(Failure::Malformed("it cannot be put together"));
    };
    head.uri = uri;
    head.headers.insert(HOST, host);
    trace(&mut head.headers, span);
    let body = body.map_err(|error| Broken(error.to_string())).boxed_unsync();
    Ok(Request::from_parts(head, body))
}

/// Has the trace go on, where the guest does not see to it itself.
fn trace(headers: &mut HeaderMap, span: &Span) {
    const PARENT: HeaderName = HeaderName::from_static("traceparent");
    const STATE: HeaderName = HeaderName::from_static("tracestate");
    let Some(context) = span.scope().map(|scope| scope.context).filter(|_| !headers.contains_key(PARENT))
    else {
        return;
    };
    if let Ok(parent) = HeaderValue::from_str(&context.parent.to_string()) {
        headers.insert(PARENT, parent);
        headers.remove(STATE);
        if let Some(Ok(state)) = context.state.as_deref().map(HeaderValue::from_str) {
            headers.insert(STATE, state);
        }
    }
}

/// What a request takes of what there is, until its answer was read.
#[derive(Debug)]
struct Places {
    _room: Room,
    /// One of those that this guest may have on their way.
    _own: OwnedSemaphorePermit,
}

/// A request that may be made, with what ends it early.
struct Prepared {
    home: Arc<Home>,
    server: Server,
    request: Request<Body>,
    patience: Patience,
    /// How long the server may be silent in the middle of its answer.
    between: Duration,
    turn: Arc<TurnContext>,
    until: Option<Instant>,
    method: &'static str,
    span: Span,
    room: Places,
}

impl Prepared {
    /// Makes the request, and waits for the head of the answer.
    async fn finish(mut self) -> Result<Response<WasiBody>, Failure> {
        let began = Instant::now();
        let (turn, client) = (&self.turn, &self.home.client);
        let sent = async {
            let_out(turn).await?;
            client.send(self.request, self.patience).await
        };
        let in_time = async {
            match self.until {
                Some(until) => {
                    tokio::time::timeout_at(until.into(), sent).await.unwrap_or(Err(Failure::ReadTimeout))
                }
                None => sent.await,
            }
        };
        let outcome = turn.cancelled.run_until_cancelled(in_time).await.unwrap_or(Err(Failure::Terminated));
        let status = outcome.as_ref().map(|response| response.status().as_u16());
        metrics::asked(
            self.home.actor.name.as_str(),
            self.method,
            began.elapsed(),
            status.map_err(Failure::kind),
        );
        match outcome {
            Ok(response) => {
                self.span.is_answered(response.status().as_u16());
                let wait = (self.between, self.until);
                Ok(response.map(|body| Answer::new(body, wait, self.span, self.room).boxed_unsync()))
            }
            Err(failure) => {
                client.failed(&self.server, &failure);
                self.span.breaks(failure.kind(), failure.to_string());
                Err(failure)
            }
        }
    }
}

/// Waits until what a turn saw cannot be undone any more, and no other owner of its key can have begun.
async fn let_out(turn: &TurnContext) -> Result<(), Failure> {
    if let Some(gate) = turn.gate() {
        gate.open().await.map_err(|_| Failure::Terminated)?;
    }
    let may = turn
        .tenure()
        .is_none_or(|(tenure, number)| tenure.until(number).is_some_and(|until| boottime() < until));
    if may { Ok(()) } else { Err(Failure::Terminated) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_traces_by_itself_is_left_alone() {
        let mut headers = HeaderMap::new();
        let own = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
        headers.insert("traceparent", own.clone());
        let parent = "00-11111111111111111111111111111111-2222222222222222-01";
        let turn = lattice_proto::envelope::TraceContext::parse(parent, "vendor=1").unwrap();
        let server = Server::new("http".parse().unwrap(), "a.example").unwrap();
        let span = Span::asks(Some(turn.into()), "GET", &server, "/");
        trace(&mut headers, &span);
        assert_eq!(headers["traceparent"], own);
        assert!(!headers.contains_key("tracestate"));
        let mut headers = HeaderMap::new();
        trace(&mut headers, &span);
        // Spans are not recorded here, so the turn's own context goes on.
        assert_eq!(headers["traceparent"], parent);
        assert_eq!(headers["tracestate"], "vendor=1");
    }
}
