//! Components that were built for the standard's HTTP by people who never heard of Lattice: they run as they are, in replicas, traced.

use std::time::{Duration, Instant};

use lattice_tests::http::{self, Page};
use lattice_tests::{Lattice, otlp::Receiver, published, wait_for};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const LATEST: Duration = Duration::from_secs(30);

/// The app of one published component, with these lines in its table.
pub(crate) fn app(name: &str, digest: &str, lines: &str) -> String {
    format!("[app]\nname = \"{name}\"\n\n[actors.{name}]\nartifact = \"{digest}\"\n{lines}\n")
}

pub(crate) fn gateway(lattice: &Lattice, node: usize) -> String {
    lattice.nodes[node].ready().http.clone().expect("it has a gateway")
}

/// Asks until the gateway knows its routes.
pub(crate) async fn get(at: &str, path: &str, headers: &[(&str, &str)]) -> Page {
    let ask = async || http::get_with(at, path, headers).await;
    wait_for("its route", LATEST, ask, |page| {
        !page.body.contains("no-route") && !page.body.contains("unavailable")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_component_answers_and_is_seen_in_one_trace() {
    let Some(components) = published::components("a_published_component_answers").await else { return };
    let receiver = Receiver::start().await;
    let mut builder = Lattice::builder(1).arg("--http").arg("127.0.0.1:0");
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let lattice = builder.start().await;
    let hello = published::put(&mut lattice.admin(0), &components, "http_hello.wasm").await;
    lattice.apply(&app("hello", &hello, "http = {}\nreplicas = 2")).await;
    let at = gateway(&lattice, 0);
    let page = get(&at, "/any/path?and=query", &[]).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("Hello"), "{page:?}");
    // Many at once, each in an instance of its own.
    let many = futures::future::join_all((0..64).map(|_| get(&at, "/", &[]))).await;
    assert!(many.iter().all(|other| other.status == 200 && other.body == page.body));

    let parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    assert_eq!(get(&at, "/traced", &[("traceparent", parent)]).await.status, 200);
    let spans = async || {
        let mut spans = receiver.spans();
        spans.retain(|span| span.trace_id == "0af7651916cd43dd8448eb211c80319c");
        spans
    };
    let spans = wait_for("its spans", LATEST, spans, |spans| {
        ["hello/get", "attempt", "queue", "turn"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name))
    })
    .await;
    let outer = spans
        .iter()
        .find(|span| span.parent_span_id == "00f067aa0ba902b7")
        .unwrap_or_else(|| panic!("{spans:?}"));
    assert_eq!(outer.name, "hello/get", "{spans:?}");
    for span in spans.iter().filter(|span| span.span_id != outer.span_id) {
        assert!(
            spans.iter().any(|other| other.span_id == span.parent_span_id),
            "an orphan: {span:?} in {spans:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_say_whose_a_request_is_and_two_apps_share_none() {
    let lattice = Lattice::builder(1).arg("--http").arg("127.0.0.1:0").start().await;
    let route = "http = { host = \"shop.example\", path = \"/api\", methods = [\"GET\"] }";
    lattice.apply(&app("shop", "web.wasm", route)).await;
    let at = gateway(&lattice, 0);
    let shop = [("host", "Shop.Example:8080")];
    assert_eq!(get(&at, "/api/v1", &shop).await.status, 200);
    assert_eq!(http::get_with(&at, "/apis", &shop).await.status, 404);
    assert_eq!(http::get(&at, "/api").await.status, 404, "of another host");
    let page = http::post_with(&at, "/api", &shop, "").await;
    assert_eq!((page.status, page.header("allow")), (405, "GET"), "{page:?}");

    let fault = lattice
        .try_apply(0, &app("other", "web.wasm", &route.replace("GET", "GET\", \"PUT")))
        .await
        .unwrap_err();
    assert!(fault.message.contains("`shop` answers requests at"), "{fault}");
    for (lines, wanted) in
        [("", "routes no requests"), ("ingress = [\"http\"]\nhttp = {}", "remove `ingress`")]
    {
        let fault = lattice.try_apply(0, &app("other", "web.wasm", lines)).await.unwrap_err();
        assert!(fault.message.contains(wanted), "{fault}");
    }
    let typed = lattice_tests::manifests::greeter_with("http = {}");
    let fault = lattice.try_apply(0, &typed).await.unwrap_err();
    assert!(fault.message.contains("not built for HTTP"), "{fault}");
    let said = lattice.call(0, "shop", "get", json!(null)).await.unwrap_err();
    assert_eq!(said.kind(), "no-such-operation", "{said}");

    lattice.apply(&app("other", "web.wasm", &route.replace("GET", "PUT"))).await;
    let put = async || http::ask(&at, "PUT", "/api", &shop, "").await.status;
    wait_for("the second route", LATEST, put, |status| *status == 200).await;
    // What is deleted answers no more.
    let mut admin = lattice.admin(0);
    let request = lattice_proto::admin::DeleteRequest { app: "shop".to_owned(), ..Default::default() };
    admin.delete(request).await.unwrap();
    let gone = async || http::get_with(&at, "/api", &shop).await.status;
    wait_for("it is gone", LATEST, gone, |status| *status == 405).await;
}

/// Nodes of which the last has the component that does what its path says, and their gateways.
async fn web(nodes: usize, lines: &str) -> (Lattice, Vec<String>) {
    let builder = Lattice::builder(nodes).label(nodes - 1, "at=last");
    let lattice = builder.arg("--http").arg("127.0.0.1:0").start().await;
    let lines = format!("http = {{}}\nplacement = {{ require = [\"at=last\"] }}\n{lines}");
    lattice.apply(&app("web", "web.wasm", &lines)).await;
    let gateways: Vec<String> = (0..nodes).map(|node| gateway(&lattice, node)).collect();
    for at in &gateways {
        assert_eq!(get(at, "/nothing", &[]).await.status, 404);
    }
    (lattice, gateways)
}

/// Through the gateway of the node that serves it, and through that of another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_goes_wrong_costs_no_other() {
    let (lattice, gateways) =
        web(2, "limits = { turn = \"500ms\", memory = \"16MiB\" }\ngrants = { log = true }").await;
    for at in &gateways {
        let asleep = tokio::spawn({
            let at = at.clone();
            async move { http::get(&at, "/sleep?3000").await }
        });
        for path in ["/trap", "/silent", "/spin", "/hoard"] {
            let page = http::get(at, path).await;
            let said: Value = serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{path}: {page:?}"));
            assert_eq!((page.status, &said["error"]["kind"]), (502, &json!("trapped")), "{path}: {page:?}");
        }
        for path in ["/endless-half", "/leak"] {
            let said = raw(at, path).await;
            assert!(!said.contains("\r\n0\r\n"), "nobody is to take {path} for all: {said}");
        }
        for path in ["/half", "/short", "/leak?10"] {
            let said = raw(at, path).await;
            // The head may have been on its way, but nobody takes this for an answer.
            let (head, body) = said.split_once("\r\n\r\n").unwrap_or_default();
            let is_short = head.contains("content-length: 10") && body.len() < 10;
            assert!(said.is_empty() || is_short || head.starts_with("HTTP/1.1 502"), "{path}: {said}");
        }
        assert_eq!(get(at, "/echo", &[]).await.status, 200);
        let page = asleep.await.unwrap();
        assert_eq!((page.status, page.body.as_str()), (200, "awake"), "{page:?}");
    }
    let admin = &lattice.nodes[0].ready().admin;
    let said = lattice_tests::cli::lattice(admin, &["logs", "web"]).await;
    assert!(said.stdout.contains("it was asked to") && said.stdout.contains("half an answer"), "{said:?}");
    // The traps of `/trap`, `/spin`, `/hoard` and the two halves, and no others: an answer that is missing or too short is none.
    let traps = async || {
        let picture = lattice_tests::cli::lattice(admin, &["-o", "json", "top", "web"]).await.json();
        picture["actors"][0]["traps"].as_u64()
    };
    wait_for("its traps", LATEST, traps, |traps| *traps == Some(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_serve_again_only_where_the_manifest_says_so_and_never_after_a_trap() {
    let count = async |at: &str| -> u32 { get(at, "/count", &[]).await.body.parse().unwrap() };
    let (lattice, gateways) = web(1, "").await;
    let at = &gateways[0];
    for _ in 0..3 {
        assert_eq!(count(at).await, 1, "one for each request");
    }
    let lines = "http = {}\nplacement = { require = [\"at=last\"] }\nreuse = true";
    lattice.apply(&app("web", "web.wasm", lines)).await;
    // The next one may begin before the last one was put away.
    let counts = async || count(at).await;
    wait_for("an instance serves again", LATEST, counts, |count| *count >= 3).await;
    // Those that trap are gone with what they knew, whichever of them it was.
    let fresh = async || {
        assert_eq!(http::get(at, "/trap").await.status, 502);
        count(at).await
    };
    wait_for("a fresh one", LATEST, fresh, |count| *count == 1).await;
    // One that serves is never given a second request meanwhile.
    let both = futures::future::join_all((0..16).map(|_| http::get(at, "/sleep?50"))).await;
    assert!(both.iter().all(|page| page.body == "awake"), "{both:?}");
}

/// The HTTP of WASI 0.3, whose guests go on in tasks of their own: on the node that serves it, and through another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_for_wasi_0_3_answers_and_goes_on_when_its_head_is_told() {
    let lattice = Lattice::builder(2).label(1, "at=last").arg("--http").arg("127.0.0.1:0").start().await;
    for (name, reuse) in [("once", false), ("again", true)] {
        let lines = format!(
            "http = {{ host = \"{name}\" }}\nplacement = {{ require = [\"at=last\"] }}\nreuse = {reuse}\ngrants = {{ log = true }}"
        );
        lattice.apply(&app(name, "service.wasm", &lines)).await;
    }
    let large = "0123456789abcdef".repeat(256 << 10);
    for name in ["once", "again"] {
        for node in 0..2 {
            let (at, host) = (gateway(&lattice, node), [("host", name)]);
            assert_eq!(get(&at, "/nothing", &host).await.status, 404);
            let page = http::get_with(&at, "/late", &host).await;
            assert_eq!((page.status, page.body.as_str()), (200, "first second"), "{page:?}");
            for body in ["", "hello", large.as_str()] {
                let page = http::ask(&at, "POST", "/echo", &host, body).await;
                assert_eq!((page.status, page.body.len()), (200, body.len()));
                assert!(page.body == body);
            }
            for path in ["/trap", "/error"] {
                let page = http::get_with(&at, path, &host).await;
                let said: Value =
                    serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{path}: {page:?}"));
                assert_eq!(
                    (page.status, &said["error"]["kind"]),
                    (502, &json!("trapped")),
                    "{path}: {page:?}"
                );
            }
            let said = raw_of(&at, "/half", name).await;
            assert!(!said.contains("\r\n0\r\n"), "nobody is to take it for all: {said}");
        }
    }
}

/// Reads whatever comes until the connection ends.
async fn raw(at: &str, path: &str) -> String {
    raw_of(at, path, "x").await
}

async fn raw_of(at: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(at.trim_start_matches("http://")).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut read = Vec::new();
    // A body that breaks off may end in a reset.
    let _ = tokio::time::timeout(LATEST, stream.read_to_end(&mut read)).await.expect("it ends");
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways_and_a_slow_reader_slows_the_guest() {
    const SIZE: usize = 64 << 20;
    /// After which a node gives a reader up.
    const STALL: Duration = Duration::from_secs(60);
    /// What a guest may compute without giving way.
    const TURN: Duration = Duration::from_millis(500);
    let (lattice, gateways) = web(1, "limits = { turn = \"500ms\" }").await;
    let (node, at) = (&lattice.nodes[0], &gateways[0]);
    let before = node.resident_bytes();
    let address = at.trim_start_matches("http://");

    // What is sent comes back while it is sent.
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        let part = [b'e'; 64 << 10];
        for _ in 0..SIZE / part.len() {
            write.write_all(&part).await.unwrap();
        }
        write
    });
    let (mut count, mut part, mut most) = (0, vec![0; 64 << 10], 0);
    loop {
        let got = read.read(&mut part).await.unwrap();
        if got == 0 {
            break;
        }
        count += part[..got].iter().filter(|byte| **byte == b'e').count();
        most = most.max(node.resident_bytes());
    }
    drop(sending.await.unwrap());
    // A few more are in the head.
    assert!((SIZE..SIZE + 100).contains(&count), "{count} of {SIZE}");
    let grown = most.saturating_sub(before) >> 20;
    lattice_tests::say(&format!("measured: 64 MiB there and back, the node grew by {grown} MiB"));
    assert!(grown < 64, "it grew by {grown} MiB");

    // Nobody reads, so the guest stands still.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(format!("GET /flood?{} HTTP/1.1\r\nHost: x\r\n\r\n", u32::MAX).as_bytes()).await.unwrap();
    let mut first = [0; 1];
    slow.read_exact(&mut first).await.unwrap();
    let memory = async || node.resident_bytes();
    // It is the same for some looks in a row.
    let (mut last, mut same) = (memory().await, 0);
    let still = async || {
        let now = memory().await;
        same = if now <= last { same + 1 } else { 0 };
        last = now;
        same
    };
    wait_for("it stands still", LATEST, still, |same| *same >= 10).await;
    let grown = memory().await.saturating_sub(before) >> 20;
    assert!(grown < 64, "it grew by {grown} MiB");
    // Then it reads for longer than a guest may compute without giving way, and the guest goes on.
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < TURN * 3 {
        count += slow.read(&mut part).await.unwrap();
    }
    assert!(slow.read(&mut part).await.unwrap() > 0, "it ended after {count} bytes");
    // A reader that asks for nothing more is given up, though its connection stays.
    let awake = async || {
        let picture =
            lattice_tests::cli::lattice(&node.ready().admin, &["-o", "json", "top", "web"]).await.json();
        picture["actors"][0]["in_flight"].as_u64()
    };
    wait_for("the guest has ended", STALL + LATEST, awake, |running| *running == Some(0)).await;
    drop(slow);
    // And whose client goes ends at once.
    let mut gone = TcpStream::connect(address).await.unwrap();
    gone.write_all(format!("GET /flood?{} HTTP/1.1\r\nHost: x\r\n\r\n", u32::MAX).as_bytes()).await.unwrap();
    gone.read_exact(&mut first).await.unwrap();
    drop(gone);
    wait_for("the guest has ended", LATEST, awake, |running| *running == Some(0)).await;
}
