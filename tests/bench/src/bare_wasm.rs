//! The shortest way to do on Wasmtime what a node does: two guests in two stores, each behind a mailbox, one calling
//! the other. No deadlines, no limits, no epochs, no traces, no restart: what a node adds is what is measured.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use wasmtime::component::{
    Accessor, Component, ComponentType, Instance, InstancePre, Lift, Linker, Lower, ResourceTable, TypedFunc,
};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

#[allow(dead_code, reason = "the derived `Lift` makes them by number")]
#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug)]
#[component(enum)]
#[repr(u8)]
enum Ran {
    #[component(name = "no")]
    No,
    #[component(name = "maybe")]
    Maybe,
    #[component(name = "yes")]
    Yes,
}

#[derive(ComponentType, Lift, Lower, Debug)]
#[component(record)]
struct Rejection {
    code: String,
    message: String,
    details: Option<String>,
}

#[derive(ComponentType, Lift, Lower, Debug)]
#[component(record)]
struct TooLarge {
    limit: u64,
    size: u64,
    ran: Ran,
}

#[derive(ComponentType, Lift, Lower, Debug)]
#[component(variant)]
enum Failure {
    #[component(name = "no-such-actor")]
    NoSuchActor(String),
    #[component(name = "no-such-operation")]
    NoSuchOperation(String),
    #[component(name = "no-replica")]
    NoReplica(String),
    #[component(name = "overloaded")]
    Overloaded(String),
    #[component(name = "not-here")]
    NotHere(String),
    #[component(name = "deadline")]
    Deadline(Ran),
    #[component(name = "unknown")]
    Unknown(String),
    #[component(name = "deadlock")]
    Deadlock(String),
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "trapped")]
    Trapped(String),
    #[component(name = "rejected")]
    Rejected(Rejection),
    #[component(name = "cancelled")]
    Cancelled(Ran),
    #[component(name = "too-large")]
    TooLarge(TooLarge),
    #[component(name = "malformed")]
    Malformed(String),
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Message {
    id: String,
    operation: String,
    payload: Vec<u8>,
    #[component(name = "content-type")]
    content_type: String,
    caller: Option<String>,
    #[component(name = "remaining-ms")]
    remaining_ms: u64,
    traceparent: Option<String>,
    attempt: u32,
}

#[allow(dead_code, reason = "the floor passes them on to nobody; their shape is what the guest gives")]
#[derive(ComponentType, Lift)]
#[component(record)]
struct CallOptions {
    #[component(name = "content-type")]
    content_type: String,
    #[component(name = "timeout-ms")]
    timeout_ms: Option<u64>,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "the derived `Lift` makes them by number")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

type Outcome = Result<Vec<u8>, Failure>;
type Handle = TypedFunc<(Message,), (Outcome,)>;

struct Turn {
    operation: String,
    content_type: String,
    payload: Vec<u8>,
    reply: oneshot::Sender<Outcome>,
}

struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    other: Option<mpsc::Sender<Turn>>,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A component, ready to be instantiated.
pub struct Bare {
    engine: Engine,
    pre: InstancePre<Guest>,
    component: Component,
}

impl Bare {
    /// Compiles a component.
    pub fn new(bytes: &[u8]) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, bytes)?;
        let mut linker: Linker<Guest> = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        let mut mesh = linker.instance("lattice:actor/mesh@0.1.0")?;
        mesh.func_wrap_concurrent("call", call)?;
        mesh.func_wrap("self-id", |_, (): ()| Ok(("bare".to_owned(),)))?;
        let mut log = linker.instance("lattice:actor/log@0.1.0")?;
        log.func_wrap("log", |_, (_, _, _): (Level, String, String)| Ok(()))?;
        Ok(Self { pre: linker.instantiate_pre(&component)?, engine, component })
    }

    async fn instantiate(
        &self,
        other: Option<mpsc::Sender<Turn>>,
    ) -> wasmtime::Result<(Store<Guest>, Instance)> {
        let guest = Guest { wasi: WasiCtx::builder().build(), table: ResourceTable::new(), other };
        let mut store = Store::new(&self.engine, guest);
        let instance = self.pre.instantiate_async(&mut store).await?;
        Ok((store, instance))
    }

    /// The time of one instantiation, over `n` that stay for as long as what is returned.
    pub async fn start_many(&self, n: u32) -> wasmtime::Result<(Duration, impl Sized + use<>)> {
        let mut kept = Vec::new();
        let started = Instant::now();
        for _ in 0..n {
            kept.push(self.instantiate(None).await?);
        }
        Ok((started.elapsed() / n, kept))
    }

    /// A guest behind a mailbox, in a task of its own.
    async fn actor(&self, other: Option<mpsc::Sender<Turn>>) -> wasmtime::Result<mpsc::Sender<Turn>> {
        let (mut store, instance) = self.instantiate(other).await?;
        let interface = self.component.get_export_index(None, "lattice:actor/handler@0.1.0").unwrap();
        let handle = self.component.get_export_index(Some(&interface), "handle").unwrap();
        let handle: Handle = instance.get_typed_func(&mut store, handle)?;
        let (mailbox, mut turns) = mpsc::channel::<Turn>(1024);
        tokio::spawn(async move {
            let served = store.run_concurrent(async |accessor| {
                while let Some(turn) = turns.recv().await {
                    let message = Message {
                        id: "1".to_owned(),
                        operation: turn.operation,
                        payload: turn.payload,
                        content_type: turn.content_type,
                        caller: None,
                        remaining_ms: 60_000,
                        traceparent: None,
                        attempt: 1,
                    };
                    let (outcome,) = handle.call_concurrent(accessor, (message,)).await?;
                    let _ = turn.reply.send(outcome);
                }
                wasmtime::error::Ok(())
            });
            served.await.unwrap().unwrap();
        });
        Ok(mailbox)
    }
}

type Pinned<'a, T> = Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send + 'a>>;

fn call(
    accessor: &Accessor<Guest>,
    (_, operation, payload, options): (String, String, Vec<u8>, CallOptions),
) -> Pinned<'_, (Outcome,)> {
    Box::pin(async move {
        let other = accessor.with(|mut access| access.get().other.clone()).unwrap();
        let (reply, outcome) = oneshot::channel();
        let sent = other.try_send(Turn { operation, content_type: options.content_type, payload, reply });
        assert!(sent.is_ok(), "the mailbox of the floor is full");
        Ok((outcome.await.unwrap(),))
    })
}

/// Two actors, one calling the other.
pub struct Pair {
    caller: mpsc::Sender<Turn>,
}

impl Pair {
    /// Makes both.
    pub async fn start(bare: &Arc<Bare>) -> wasmtime::Result<Self> {
        let callee = bare.actor(None).await?;
        Ok(Self { caller: bare.actor(Some(callee)).await? })
    }

    /// Asks the first to call the second; the same arguments as for an actor in a node.
    pub async fn storm(&self, arguments: &serde_json::Value) -> anyhow::Result<Duration> {
        let (reply, outcome) = oneshot::channel();
        let started = Instant::now();
        let turn = Turn {
            operation: "storm".to_owned(),
            content_type: "application/json".to_owned(),
            payload: arguments.to_string().into_bytes(),
            reply,
        };
        assert!(self.caller.try_send(turn).is_ok(), "the mailbox of the floor is full");
        outcome.await?.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        Ok(started.elapsed())
    }
}
