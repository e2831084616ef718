//! Guests ask servers by HTTP that their manifest grants, by addresses that it grants, and no others: bounded, in their trace.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_tests::http::{self, Page};
use lattice_tests::otlp::Receiver;
use lattice_tests::upstream::Upstream;
use lattice_tests::{Lattice, manifests, say, wait_for};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

const LATEST: Duration = Duration::from_secs(30);

/// An app whose actors ask, each at a host of its own name, with these in `grants.http`.
fn app(actors: &[(&str, &str)]) -> String {
    let mut manifest = "[app]\nname = \"asking\"\n".to_owned();
    for (name, grants) in actors {
        manifest.push_str(&format!(
            "\n[actors.{name}]\nartifact = \"web.wasm\"\nhttp = {{ host = \"{name}.example\" }}\ngrants = {{ http = [{grants}] }}\n"
        ));
    }
    manifest
}

/// A node with such actors, once they are there.
async fn start(builder: lattice_tests::Builder, actors: &[(&str, &str)]) -> (Lattice, String) {
    let lattice = builder.arg("--http").arg("127.0.0.1:0").start().await;
    lattice.apply(&app(actors)).await;
    let at = lattice.nodes[0].ready().http.clone().expect("it has a gateway");
    for (name, _) in actors {
        let host = format!("{name}.example");
        let there = async || http::get_with(&at, "/echo", &[("host", &host)]).await.status;
        wait_for("its route", LATEST, there, |status| *status == 200).await;
    }
    (lattice, at)
}

/// Has an actor ask.
async fn ask(at: &str, actor: &str, url: &str, headers: &[(&str, &str)]) -> Page {
    let host = format!("{actor}.example");
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("host", host.as_str())]).collect();
    http::get_with(at, &format!("/ask?{url}"), &headers).await
}

/// What a node counts in rows that begin with this name and have all of these labels.
async fn counted(lattice: &Lattice, name: &str, labels: &[String]) -> f64 {
    let page = http::get(&lattice.nodes[0].ready().admin, "/metrics").await.body;
    let is = |line: &&str| {
        line.split('{').next() == Some(name) && labels.iter().all(|label| line.contains(label.as_str()))
    };
    let rows = page.lines().filter(is);
    rows.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_asked_that_are_granted_and_no_others() {
    let upstream = Upstream::start().await;
    let port = upstream.port();
    let by_address = format!("\"http://127.0.0.1:{port}\"");
    let by_name = format!("{{ url = \"http://localhost:{port}\", private = true }}");
    let actors = [
        ("address", by_address.as_str()),
        ("name", by_name.as_str()),
        ("wide", "\"http://*:*\", \"https://*:*\""),
        ("nothing", ""),
    ];
    let (lattice, at) = start(Lattice::builder(1), &actors).await;

    let page = ask(&at, "address", &format!("http://127.0.0.1:{port}/hello"), &[]).await;
    assert_eq!((page.status, page.body.as_str()), (200, "hello"), "{page:?}");
    let page = ask(&at, "name", &format!("http://LocalHost.:{port}/status?418"), &[]).await;
    assert_eq!(page.status, 418, "{page:?}");
    let seen = upstream.seen();
    let host = format!("localhost:{port}");
    assert_eq!(seen.last().unwrap().headers["host"], host.as_str(), "there is one spelling: {seen:?}");
    // Where that leads is for the guest to see, and to ask again.
    let page = ask(&at, "name", &format!("http://localhost:{port}/redirect"), &[]).await;
    assert_eq!((page.status, page.header("location")), (302, "/hello"), "{page:?}");
    let before = upstream.connections();

    let denied = "ErrorCode::HttpRequestDenied";
    let prohibited = "ErrorCode::DestinationIpProhibited";
    let malformed = "ErrorCode::HttpRequestUriInvalid";
    let table = [
        ("nothing", format!("http://127.0.0.1:{port}/hello"), denied),
        ("address", format!("http://localhost:{port}/hello"), denied),
        ("address", format!("https://127.0.0.1:{port}/hello"), denied),
        ("address", "http://127.0.0.1:1/hello".to_owned(), denied),
        ("name", format!("http://127.0.0.1:{port}/hello"), denied),
        ("name", format!("http://localhost.evil.example:{port}/hello"), denied),
        // Whoever may ask all the world may not ask what is private, by whatever name or spelling.
        ("wide", format!("http://localhost:{port}/hello"), prohibited),
        ("wide", format!("http://localhost.:{port}/hello"), prohibited),
        ("wide", format!("https://localhost:{port}/hello"), prohibited),
        ("wide", format!("http://127.0.0.1:{port}/hello"), prohibited),
        ("wide", format!("http://127.0.0.1.:{port}/hello"), prohibited),
        ("wide", format!("http://[::ffff:127.0.0.1]:{port}/hello"), prohibited),
        ("wide", format!("http://[::1]:{port}/hello"), prohibited),
        ("wide", "http://169.254.169.254/latest".to_owned(), prohibited),
        ("wide", format!("http://0x7f.1:{port}/hello"), malformed),
        ("wide", format!("http://2130706433:{port}/hello"), malformed),
        ("wide", format!("http://user@127.0.0.1:{port}/hello"), malformed),
    ];
    for (actor, url, code) in &table {
        let page = ask(&at, actor, url, &[]).await;
        assert_eq!((page.status, page.body.as_str()), (502, *code), "{actor} {url}: {page:?}");
    }
    assert_eq!(upstream.connections(), before, "nobody came");

    // What was refused is counted each time, and told once with what to do.
    let again = ask(&at, "nothing", &table[0].1, &[]).await;
    assert_eq!(again.status, 502, "{again:?}");
    let of = |actor: &str| table.iter().filter(|(who, _, code)| *who == actor && *code != malformed).count();
    for (actor, count) in [("nothing", of("nothing") + 1), ("address", of("address")), ("wide", of("wide"))] {
        #[allow(clippy::cast_precision_loss, reason = "it is small")]
        let count = count as f64;
        let labels = [format!("lattice_actor=\"{actor}\"")];
        assert_eq!(counted(&lattice, "lattice_http_refused_total", &labels).await, count, "{actor}");
    }
    let labels = [
        "lattice_actor=\"name\"".to_owned(),
        "http_request_method=\"GET\"".to_owned(),
        "http_response_status_code=\"418\"".to_owned(),
    ];
    let asked = counted(&lattice, "http_client_request_duration_seconds_count", &labels).await;
    assert_eq!(asked, 1.0);
    let output = lattice.nodes[0].output();
    let lines = |text: &str| output.lines().filter(|line| line.contains(text)).count();
    let line = format!(
        "`nothing` may not ask http://127.0.0.1:{port}; if it should, add \"http://127.0.0.1:{port}\" to `grants.http` of `nothing`"
    );
    assert_eq!(lines(&line), 1, "{output}");
    // Which of the addresses of `localhost` is told is the system's affair.
    assert_eq!(lines(&format!("`wide` may ask http://localhost:{port}, but not at ")), 1, "{output}");
    assert_eq!(lines(&format!("add {{ url = \"http://localhost:{port}\", private = true }}")), 1, "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_goes_on_unless_the_guest_sees_to_it_itself() {
    let receiver = Receiver::start().await;
    let upstream = Upstream::start().await;
    let port = upstream.port();
    let mut builder = Lattice::builder(1);
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let grant = format!("\"http://127.0.0.1:{port}\"");
    let (_lattice, at) = start(builder, &[("web", &grant)]).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let url = format!("http://127.0.0.1:{port}/status?404&secret=1");
    let page = ask(&at, "web", &url, &[("traceparent", &parent)]).await;
    assert_eq!(page.status, 404, "{page:?}");
    let spans = async || {
        let mut spans = receiver.spans();
        spans.retain(|span| span.trace_id == trace);
        spans
    };
    let is_asked = |span: &lattice_tests::otlp::Span| span.name == "GET" && span.kind == "client";
    let spans = wait_for("its spans", LATEST, spans, |spans| {
        spans.iter().any(is_asked) && spans.iter().any(|span| span.name == "turn")
    })
    .await;
    let asked = spans.iter().find(|span| is_asked(span)).unwrap();
    let turn = spans.iter().find(|span| span.name == "turn").unwrap();
    assert_eq!(asked.parent_span_id, turn.span_id, "{spans:?}");
    let told = upstream.seen().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(told, format!("00-{trace}-{}-01", asked.span_id));
    let said = |key: &str| asked.attributes.get(key).cloned().unwrap_or_default();
    assert_eq!(said("url.full"), json!(format!("http://127.0.0.1:{port}/status")), "{asked:?}");
    assert_eq!(said("http.request.method"), json!("GET"));
    assert_eq!(said("http.response.status_code"), json!(404));
    assert_eq!(said("server.address"), json!("127.0.0.1"));
    assert_eq!(said("server.port"), json!(port));
    assert_eq!(said("error.type"), json!("404"));

    let own = "00-11111111111111111111111111111111-2222222222222222-01";
    let url = format!("http://127.0.0.1:{port}/hello");
    assert_eq!(ask(&at, "web", &url, &[("x-traceparent", own)]).await.status, 200);
    assert_eq!(upstream.seen().last().unwrap().headers["traceparent"], own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_that_take_messages_ask_as_well_each_in_the_turn_that_it_is_in() {
    let upstream = Upstream::start().await;
    let (lattice, authority) = (Lattice::start(1).await, upstream.address.to_string());
    let grants = format!("grants = {{ http = [\"http://{authority}\"] }}\nconcurrency = 4");
    lattice.apply(&manifests::misfit_with(&grants)).await;
    let to = |path: &str| json!({ "authority": authority, "path": path });
    // By HTTP of 0.2, and of 0.3.
    for operation in ["ask", "ask_async"] {
        let (status, trace) = lattice.call_traced(0, "misfit", operation, to("/hello")).await;
        assert_eq!(status, json!("200"), "{operation}");
        let told = upstream.seen().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
        assert!(told.starts_with(&format!("00-{trace}-")), "{operation}: {told} is not of {trace}");
        let nowhere = json!({ "authority": "127.0.0.1:1", "path": "/" });
        let denied = lattice.call(0, "misfit", operation, nowhere).await.unwrap();
        assert_eq!(denied, json!("ErrorCode::HttpRequestDenied"), "{operation}");
    }
    // Turns side by side in one instance, each in a trace of its own.
    let waiting: Vec<_> = (0..3)
        .map(|_| lattice.call_within(0, "misfit", "ask_async", to("/never"), Duration::from_secs(2)))
        .collect();
    let waiting = futures::future::join_all(waiting);
    let there = async || upstream.seen().iter().filter(|seen| seen.path == "/never").count();
    let all_there = wait_for("all three ask", LATEST, there, |count| *count == 3);
    let (late, _) = tokio::join!(waiting, all_there);
    // At the deadline the guest is told, and so is the caller: whichever is first. The same instance serves on.
    for late in late {
        let told = late.unwrap_or_else(|fault| json!(fault.kind()));
        assert!(told == "deadline" || told == "ErrorCode::ConnectionReadTimeout", "{told}");
    }
    let traces: BTreeSet<_> = upstream
        .seen()
        .into_iter()
        .filter(|seen| seen.path == "/never")
        .map(|seen| seen.headers["traceparent"].to_str().unwrap()[3..35].to_owned())
        .collect();
    assert_eq!(traces.len(), 3, "{traces:?}");
    assert_eq!(lattice.call(0, "misfit", "ask", to("/hello")).await.unwrap(), json!("200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_for_the_actor_that_made_them() {
    let upstream = Upstream::start().await;
    let url = format!("http://127.0.0.1:{}/hello", upstream.port());
    let grant = format!("\"http://127.0.0.1:{}\"", upstream.port());
    let (_lattice, at) = start(Lattice::builder(1), &[("one", &grant), ("other", &grant)]).await;
    for _ in 0..10 {
        assert_eq!(ask(&at, "one", &url, &[]).await.status, 200);
    }
    // A request that comes before the last connection is back has another one.
    let connections = upstream.connections();
    assert!(connections < 4, "{connections} connections for 10 requests, each of an instance of its own");
    assert_eq!(ask(&at, "other", &url, &[]).await.status, 200);
    assert_eq!(upstream.connections(), connections + 1, "nobody else's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_waits_no_longer_than_it_says_and_has_no_more_under_way_than_it_may() {
    let upstream = Upstream::start().await;
    let port = upstream.port();
    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silence = silent.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let grants = format!(
        "\"http://127.0.0.1:{port}\", \"https://127.0.0.1:{silence}\", \"http://127.0.0.1:{closed}\""
    );
    let (_lattice, at) = start(Lattice::builder(1), &[("web", &grants)]).await;
    let table = [
        (format!("http://127.0.0.1:{port}/never"), "60000,300,60000", "ErrorCode::ConnectionReadTimeout"),
        (format!("https://127.0.0.1:{silence}/"), "300,60000,60000", "ErrorCode::ConnectionTimeout"),
        (format!("http://127.0.0.1:{closed}/"), "60000,60000,60000", "ErrorCode::ConnectionRefused"),
    ];
    for (url, times, code) in table {
        let began = Instant::now();
        let page = ask(&at, "web", &url, &[("x-timeout-ms", times)]).await;
        assert_eq!((page.status, page.body.as_str()), (502, code), "{url}: {page:?}");
        assert!(began.elapsed() < LATEST, "{url}");
    }
    // A server that stops in the middle is not waited for, and nobody takes the half for all.
    let mut stream = TcpStream::connect(at.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "GET /ask?http://127.0.0.1:{port}/half HTTP/1.1\r\nHost: web.example\r\nX-Timeout-Ms: 60000,60000,300\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(LATEST, stream.read_to_end(&mut said)).await.expect("it ends");
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("half") && !said.ends_with("0\r\n\r\n"), "{said}");

    // What a guest leaves behind is ended with it, so that the next one has room.
    for counts in ["70,6", "65,1"] {
        let path = format!("/ask-many?{counts}&http://127.0.0.1:{port}/never");
        let page = http::get_with(&at, &path, &[("host", "web.example")]).await;
        assert_eq!(page.body, "64 wait, [ErrorCode::ConnectionLimitReached]", "{page:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream_both_ways_and_a_slow_reader_slows_the_server() {
    const SIZE: usize = 64 << 20;
    let upstream = Upstream::start().await;
    let port = upstream.port();
    let grant = format!("\"http://127.0.0.1:{port}\"");
    let (lattice, at) = start(Lattice::builder(1), &[("web", &grant)]).await;
    let (node, address) = (&lattice.nodes[0], at.trim_start_matches("http://"));
    let before = node.resident_bytes();
    let mut most = 0;

    let mut up = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /ask?http://127.0.0.1:{port}/count HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    up.write_all(head.as_bytes()).await.unwrap();
    let mut part = vec![b'u'; 64 << 10];
    for _ in 0..SIZE / part.len() {
        up.write_all(&part).await.unwrap();
        most = most.max(node.resident_bytes());
    }
    let mut said = String::new();
    up.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.contains(&SIZE.to_string()), "{said}");

    let get = |size: usize| {
        format!(
            "GET /ask?http://127.0.0.1:{port}/flood?{size} HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n"
        )
    };
    let mut down = TcpStream::connect(address).await.unwrap();
    down.write_all(get(SIZE).as_bytes()).await.unwrap();
    let mut count = 0;
    loop {
        let got = down.read(&mut part).await.unwrap();
        if got == 0 {
            break;
        }
        count += part[..got].iter().filter(|byte| **byte == b'f').count();
        most = most.max(node.resident_bytes());
    }
    // Chunks have lengths that are written with the same letter.
    assert!((SIZE..SIZE + (1 << 20)).contains(&count), "{count} of {SIZE}");

    // Nobody reads, so all stand still: the guest, and the server.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(get(1 << 40).as_bytes()).await.unwrap();
    slow.read_exact(&mut part[..1]).await.unwrap();
    let (mut last, mut same) = (node.resident_bytes(), 0);
    let still = async || {
        let now = node.resident_bytes();
        same = if now <= last { same + 1 } else { 0 };
        last = now;
        same
    };
    wait_for("it stands still", LATEST, still, |same| *same >= 10).await;
    most = most.max(node.resident_bytes());
    let grown = most.saturating_sub(before) >> 20;
    say(&format!("measured: 64 MiB to a server and 64 MiB from it, the node grew by {grown} MiB"));
    assert!(grown < 64, "it grew by {grown} MiB");
}

/// Somebody who signs certificates for `localhost`: his own, and a server's with one of them.
fn authority(file: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    std::fs::write(file, own.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let signed =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_asked_of_servers_that_are_trusted_by_the_name_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (trusted, other) = (folder.path().join("trusted.pem"), folder.path().join("other.pem"));
    let upstream = Upstream::start_secure(authority(&trusted)).await;
    let stranger = Upstream::start_secure(authority(&other)).await;
    let (port, strange) = (upstream.port(), stranger.port());
    let grants = format!(
        "{{ url = \"https://localhost:{port}\", private = true }}, {{ url = \"https://localhost:{strange}\", private = true }}, \
         \"https://127.0.0.1:{port}\""
    );
    let builder = Lattice::builder(1).env("SSL_CERT_FILE", trusted.to_str().unwrap());
    let (_lattice, at) = start(builder, &[("web", &grants)]).await;
    for _ in 0..5 {
        let page = ask(&at, "web", &format!("https://localhost:{port}/hello"), &[]).await;
        assert_eq!((page.status, page.body.as_str()), (200, "hello"), "{page:?}");
    }
    let seen = upstream.seen();
    assert_eq!(seen.last().unwrap().version, hyper::Version::HTTP_2, "{seen:?}");
    assert!(upstream.connections() < 3, "{seen:?}");
    for url in [format!("https://localhost:{strange}/hello"), format!("https://127.0.0.1:{port}/hello")] {
        let page = ask(&at, "web", &url, &[]).await;
        assert_eq!(
            (page.status, page.body.as_str()),
            (502, "ErrorCode::TlsCertificateError"),
            "{url}: {page:?}"
        );
    }
    assert!(stranger.seen().is_empty());
}
