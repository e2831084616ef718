//! Actors by HTTP: through the gateway of any node, as any HTTP client asks, and what is refused.

use std::time::Duration;

use lattice_tests::http::{self, Page};
use lattice_tests::{Lattice, cli, manifests, wait_for};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LATEST: Duration = Duration::from_secs(30);

const JSON: (&str, &str) = ("content-type", "application/json");

async fn start(nodes: usize) -> Lattice {
    Lattice::builder(nodes).label(nodes - 1, "at=last").arg("--http").arg("127.0.0.1:0").start().await
}

/// Where the gateway of a node is.
fn gateway(lattice: &Lattice, node: usize) -> String {
    lattice.nodes[node].ready().http.clone().expect("it has a gateway")
}

/// An actor that HTTP clients may call, on the last node only.
fn open_misfit() -> String {
    manifests::misfit_with("ingress = [\"http\"]\nplacement = { require = [\"at=last\"] }\nconcurrency = 8")
}

async fn call(at: &str, path: &str, body: &str) -> Page {
    http::post_with(at, path, &[JSON], body).await
}

fn error(page: &Page) -> Value {
    let said: Value = serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{page:?}"));
    said["error"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_calls_for_actors_that_opted_in() {
    let lattice = start(2).await;
    lattice.apply(&open_misfit()).await;
    lattice.apply(&manifests::ledger_with("ingress = [\"http\"]")).await;
    for node in 0..2 {
        let at = gateway(&lattice, node);
        let page = call(&at, "/actors/misfit/echo", "\"h\u{e9}llo\"").await;
        assert_eq!((page.status, page.body.as_str()), (200, "\"h\u{e9}llo\""), "{page:?}");
        assert_eq!(page.header("content-type"), "application/json");
        // A key is a part of the path, with whatever is in it written as URLs have it.
        let page = call(&at, "/actors/ledger/a%2Fb%20c/append", &node.to_string()).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page = call(&at, "/actors/ledger/a%2Fb%20c/all", "null").await;
        let there: Vec<u64> = serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{page:?}"));
        assert_eq!(there.len(), node + 1, "{page:?}");
    }
    let list = cli::lattice(&lattice.nodes[0].ready().admin, &["-o", "json", "nodes"]).await.json();
    let shown: Vec<&Value> = list.as_array().unwrap().iter().map(|node| &node["http"]).collect();
    for node in 0..2 {
        assert!(shown.contains(&&json!(gateway(&lattice, node))), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_not_served_is_told_in_one_shape() {
    let lattice = start(1).await;
    lattice.apply(&open_misfit()).await;
    lattice.apply(&manifests::greeter(1)).await;
    let at = gateway(&lattice, 0);
    let table = [
        ("/", "null", 404, "no-route"),
        ("/actors/misfit", "null", 400, "malformed"),
        ("/actors/misfit/echo/", "null", 400, "malformed"),
        ("/actors/mis.fit/echo", "null", 400, "malformed"),
        ("/actors/misfit/%FF/echo", "null", 400, "malformed"),
        ("/actors/nobody/echo", "null", 404, "no-such-actor"),
        ("/actors/misfit/ecko", "null", 404, "no-such-operation"),
        ("/actors/misfit/echo", "{{{", 400, "malformed"),
        // It did not opt in.
        ("/actors/greeter/hello", "\"Ada\"", 403, "denied"),
        ("/actors/misfit/trap", "null", 502, "trapped"),
        ("/actors/misfit/reject", "\"sold-out\"", 409, "rejected"),
    ];
    for (path, body, status, kind) in table {
        let page = call(&at, path, body).await;
        assert_eq!((page.status, &error(&page)["kind"]), (status, &json!(kind)), "{path}: {page:?}");
        assert!(error(&page)["message"].as_str().is_some_and(|message| !message.is_empty()), "{page:?}");
    }
    let page = call(&at, "/actors/misfit/reject", "\"sold-out\"").await;
    assert_eq!(
        (&error(&page)["code"], &error(&page)["ran"]),
        (&json!("sold-out"), &json!("yes")),
        "{page:?}"
    );

    let page = http::get(&at, "/actors/misfit/echo").await;
    assert_eq!((page.status, page.header("allow")), (405, "POST"), "{page:?}");
    // A form of a web page is no call.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let page = http::post_with(&at, "/actors/misfit/echo", &[("content-type", kind)], "\"x\"").await;
        assert_eq!((page.status, &error(&page)["kind"]), (415, &json!("unsupported-media-type")), "{page:?}");
    }
    let slow = [JSON, ("lattice-timeout-ms", "200")];
    let page = http::post_with(&at, "/actors/misfit/sleep", &slow, "60000").await;
    assert_eq!((page.status, &error(&page)["kind"]), (504, &json!("deadline")), "{page:?}");
    let soon = [JSON, ("lattice-timeout-ms", "soon")];
    assert_eq!(http::post_with(&at, "/actors/misfit/sleep", &soon, "1").await.status, 400);
}

/// Sends these bytes over a connection of its own, and reads until the gateway closes it or `enough` was read.
async fn raw(at: &str, bytes: &[u8], enough: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(at.trim_start_matches("http://")).await.unwrap();
    // It may have been refused before all of it was sent.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let all = async {
        let mut part = [0; 4_096];
        loop {
            match stream.read(&mut part).await {
                Ok(count) if count > 0 => read.extend_from_slice(&part[..count]),
                _ => return,
            }
            if enough(&String::from_utf8_lossy(&read)) {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(LATEST, all).await.is_ok(), "no end: {}", String::from_utf8_lossy(&read));
    String::from_utf8_lossy(&read).into_owned()
}

/// Requests that two servers in a row might take for different ones (RFC 9112, 6.3 and 11.2), and such as are none. After them comes
/// one that must never be answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_read_in_two_ways_is_refused_and_its_connection_closed() {
    let lattice = start(1).await;
    lattice.apply(&open_misfit()).await;
    let at = gateway(&lattice, 0);
    let second = "POST /actors/misfit/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n\"smuggled!\"";
    let heads = [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: 0x4",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "X: 1\r\n Content-Length: 4",
        "X\u{0}: 1\r\nContent-Length: 4",
        "X: \u{0}\r\nContent-Length: 4",
        "Content Length: 4",
        ": 1\r\nContent-Length: 4",
    ];
    for head in heads {
        let request = format!(
            "POST /actors/misfit/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n\r\nnull{second}"
        );
        let said = raw(&at, request.as_bytes(), |_| false).await;
        assert!(!said.contains("smuggled!"), "{head:?}: {said}");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{head:?}: {said}");
    }
    let chunks = [
        "-1\r\nnull\r\n0\r\n\r\n",
        "g\r\nnull\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nnull\r\n0\r\n\r\n",
        "4\r\nnullX\r\n0\r\n\r\n",
    ];
    for chunk in chunks {
        let request = format!(
            "POST /actors/misfit/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunk}{second}"
        );
        let said = raw(&at, request.as_bytes(), |_| false).await;
        assert!(!said.contains("smuggled!") && !said.starts_with("HTTP/1.1 2"), "{chunk:?}: {said}");
    }
    // Both lengths at once: what is chunked counts, and nothing may follow it on this connection (RFC 9112, 6.1).
    let both = format!(
        "POST /actors/misfit/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\
         Transfer-Encoding: chunked\r\n\r\n6\r\n\"both\"\r\n0\r\n\r\n{second}"
    );
    let said = raw(&at, both.as_bytes(), |said| said.contains("smuggled!")).await;
    assert!(!said.contains("smuggled!"), "{said}");

    for garbage in ["\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{0}", "x"] {
        let mut garbage = garbage.as_bytes().to_vec();
        garbage.extend_from_slice(&[b'x'; 70_000]);
        let said = raw(&at, &garbage, |_| false).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let said = raw(&at, large.as_bytes(), |_| false).await;
    assert!(said.starts_with("HTTP/1.1 431") || said.starts_with("HTTP/1.1 414"), "{said}");
    assert_eq!(call(&at, "/actors/misfit/echo", "\"still here\"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded_in_size_and_time() {
    let lattice = start(2).await;
    lattice
        .apply(&manifests::misfit_with(
            "ingress = [\"http\"]\nplacement = { require = [\"at=last\"] }\nlimits = { payload = \"100KiB\" }",
        ))
        .await;
    let said = format!("\"{}\"", "x".repeat(200 << 10));
    let page = call(&gateway(&lattice, 1), "/actors/misfit/echo", &said).await;
    assert_eq!((page.status, &error(&page)["kind"]), (413, &json!("too-large")), "{page:?}");
    // This node only learns it from the other.
    let page = call(&gateway(&lattice, 0), "/actors/misfit/echo", &said).await;
    assert_eq!((page.status, &error(&page)["kind"]), (413, &json!("too-large")), "{page:?}");
    // One that does not say how long it is is read until it is too long.
    let at = gateway(&lattice, 1);
    let head = "POST /actors/misfit/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    let said =
        raw(&at, format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}").as_bytes(), |_| false)
            .await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    // One that is announced and never comes.
    let slow = format!("{head}Lattice-Timeout-Ms: 300\r\nContent-Length: 10\r\n\r\n\"x");
    let said = raw(&at, slow.as_bytes(), |_| false).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert_eq!(call(&at, "/actors/misfit/echo", "\"still here\"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_answers_what_it_has_and_takes_no_more() {
    let mut lattice = start(2).await;
    lattice.apply(&open_misfit()).await;
    let at = gateway(&lattice, 0);
    let running = tokio::spawn({
        let at = at.clone();
        async move { call(&at, "/actors/misfit/sleep", "1500").await }
    });
    let asked = async || {
        let picture =
            cli::lattice(&lattice.nodes[1].ready().admin, &["-o", "json", "top", "misfit"]).await.json();
        picture["actors"][0]["in_flight"].as_u64().unwrap_or(0)
    };
    wait_for("the call runs", LATEST, asked, |running| *running > 0).await;
    let status = lattice.nodes[0].terminate().await;
    assert!(status.success(), "{status}");
    let page = running.await.unwrap();
    assert_eq!((page.status, page.body.as_str()), (200, "1500"), "{page:?}");
    assert!(TcpStream::connect(at.trim_start_matches("http://")).await.is_err(), "the port is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_log_has_a_line_for_each_request() {
    let lattice = Lattice::builder(1)
        .label(0, "at=last")
        .arg("--http")
        .arg("127.0.0.1:0")
        .arg("--http-access-log")
        .start()
        .await;
    lattice.apply(&open_misfit()).await;
    let at = gateway(&lattice, 0);
    assert_eq!(call(&at, "/actors/misfit/echo", "\"x\"").await.status, 200);
    assert_eq!(http::get(&at, "/nothing/here%0A").await.status, 404);
    let lines = async || {
        lattice.nodes[0]
            .output()
            .lines()
            .filter(|line| line.contains("access:"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines = wait_for("two lines", LATEST, lines, |lines| lines.len() == 2).await;
    assert!(lines[0].contains("method=POST path=/actors/misfit/echo status=200"), "{lines:?}");
    assert!(lines[1].contains("method=GET path=/nothing/here%0A status=404"), "{lines:?}");
}
