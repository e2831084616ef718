//! The shortest way to serve a component by HTTP on Wasmtime: an instance for each request, from a pool. No deadlines, no limits, no epochs,
//! no traces, no routes: what a node adds is what is measured.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
}

/// Requests that guests make are refused, as on a node.
struct Hooks;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        _: hyper::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(hyper::Response<WasiBody>, Io), Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Serves until it is killed; if it is to be plain, without what Wasmtime keeps for async functions, as a node does.
pub async fn serve(component: &Path, plain: bool) -> anyhow::Result<()> {
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new()));
    config.concurrency_support(!plain);
    let engine = Engine::new(&config)?;
    let component = Component::from_file(&engine, component)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let proxy = Arc::new(ProxyPre::new(linker.instantiate_pre(&component)?)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    // In a task, as everything in a node.
    let serving = tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            let proxy = proxy.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| handle(proxy.clone(), request));
                http1::Builder::new().serve_connection(TokioIo::new(client), service).await
            });
        }
        #[allow(unreachable_code, reason = "it says of what kind the error is")]
        anyhow::Ok(())
    });
    serving.await?
}

async fn handle(
    proxy: Arc<ProxyPre<Guest>>,
    request: Request<Incoming>,
) -> wasmtime::Result<Response<HyperOutgoingBody>> {
    let guest = Guest {
        wasi: WasiCtx::builder().build(),
        http: WasiHttpCtx::new(),
        hooks: Hooks,
        table: ResourceTable::new(),
    };
    let mut store = Store::new(proxy.engine(), guest);
    let (sender, answer) = oneshot::channel();
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let out = store.data_mut().http().new_response_outparam(sender)?;
    let running = tokio::spawn(async move {
        let instance = proxy.instantiate_async(&mut store).await?;
        instance.wasi_http_incoming_handler().call_handle(store, request, out).await
    });
    match answer.await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            running.await.map_err(wasmtime::Error::new)??;
            wasmtime::bail!("it ended without an answer")
        }
    }
}

/// The process of the floor.
pub struct Floor {
    _server: Child,
    /// Where it serves.
    pub url: String,
}

impl Floor {
    /// Starts it; it ends when this is dropped.
    pub async fn start(component: &Path, plain: bool) -> anyhow::Result<Self> {
        let mut server = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(component)
            .args(plain.then_some("--plain"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(server.stdout.take().context("no output")?).lines();
        let url = lines.next_line().await?.context("the bare server did not start")?;
        Ok(Self { _server: server, url })
    }
}
