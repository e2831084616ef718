//! A collector that is not there, hangs, refuses, or speaks another language costs nothing but what it is not told.

use std::time::Duration;

use lattice_tests::load::Plan;
use lattice_tests::otlp::{Receiver, environment};
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;
use tokio::net::TcpListener;

const LATEST: Duration = Duration::from_secs(30);

/// A lattice of one node that exports there.
async fn exporting(variables: &[(&str, String)]) -> Lattice {
    let mut builder = Lattice::builder(1);
    for (key, value) in variables {
        builder = builder.env(key, value);
    }
    builder.start().await
}

/// A port on which connections are taken and nothing is ever said.
async fn hanging() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_whatever_the_collector_does() {
    // Taken and given back, so that nobody listens there.
    let refusing = hanging().await.1;
    let (listener, hangs) = hanging().await;
    let silent = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            taken.push(connection);
        }
    });
    let receiver = Receiver::start().await;
    let plain = receiver.address().to_string();
    let mut wrong_tls = environment(&plain).to_vec();
    wrong_tls[0].1 = format!("https://{plain}");
    let nonsense = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url at all".to_owned())];
    let mut no_file = environment(&plain).to_vec();
    no_file.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file".to_owned()));
    let table = [
        ("refuses", environment(&refusing).to_vec()),
        ("hangs", environment(&hangs).to_vec()),
        ("speaks no TLS", wrong_tls),
        ("is no address", nonsense),
        ("has an authority that is not there", no_file),
    ];
    for (what, variables) in table {
        let mut lattice = exporting(&variables).await;
        lattice.apply(&manifests::greeter(2)).await;
        let report = lattice.load(&Plan::greet(200, Duration::from_secs(2), &[0])).finish().await;
        say(&format!("a collector that {what}: {report}"));
        assert_eq!(report.kinds(), [].into(), "a collector that {what}: {report}");
        lattice.call(0, "greeter", "hello", json!("Ada")).await.unwrap();
        let began = std::time::Instant::now();
        assert!(lattice.nodes[0].terminate().await.success(), "a collector that {what}");
        say(&format!("measured: a node whose collector {what} stopped after {:?}", began.elapsed()));
        assert!(began.elapsed() < LATEST, "a collector that {what} keeps the node from stopping");
    }
    silent.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_what_a_collector_does_not_take() {
    let refusing = hanging().await.1;
    // Small queues, so that ten times as much is soon there.
    let mut variables = environment(&refusing).to_vec();
    variables.push(("OTEL_BSP_MAX_QUEUE_SIZE", "2048".to_owned()));
    let lattice = exporting(&variables).await;
    lattice.apply(&manifests::greeter(2)).await;
    // Every call has six spans: five thousand calls are more than ten times the queue.
    let burst = async || lattice.load(&Plan::greet(2_500, Duration::from_secs(2), &[0])).finish().await;
    let first = burst().await;
    assert_eq!(first.kinds(), [].into(), "{first}");
    let before = lattice.nodes[0].resident_bytes();
    for _ in 0..3 {
        let report = burst().await;
        assert_eq!(report.kinds(), [].into(), "{report}");
    }
    let after = lattice.nodes[0].resident_bytes();
    let grown = after.saturating_sub(before) >> 20;
    say(&format!(
        "measured: {} MiB after the first burst, {grown} MiB more after three others",
        before >> 20
    ));
    // What the allocator keeps for itself; three bursts of spans would be more than that.
    assert!(grown < 24, "{grown} MiB more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measures_and_lines_are_exported_as_well() {
    let receiver = Receiver::start().await;
    let lattice = exporting(&receiver.env()).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    let (_, trace) = lattice.call_traced(0, "misfit", "log", json!("a line for the collector")).await;

    let found = async || {
        let records = receiver.records();
        records.into_iter().find(|record| record.body == "a line for the collector")
    };
    let record = lattice_tests::wait_for("the line", LATEST, found, Option::is_some).await.unwrap();
    assert_eq!((record.trace_id.as_str(), record.severity.as_str()), (trace.as_str(), "INFO"));
    assert_eq!(record.attributes["lattice.actor"], json!("misfit"));
    assert_eq!(record.attributes["lattice.actor.version"], json!(1));

    let wanted = [
        ("rpc.server.call.duration", "exponential histogram"),
        ("lattice.queue.duration", "exponential histogram"),
        ("lattice.actor.replicas", "gauge"),
        ("lattice.actor.cpu.time", "sum"),
        ("lattice.lease.margin", "gauge"),
        ("lattice.spec.replicas", "gauge"),
        ("lattice.node.calls", "sum"),
    ];
    let all = |seen: &std::collections::BTreeMap<String, &str>| {
        wanted.iter().all(|(name, kind)| seen.get(*name) == Some(kind))
    };
    wait_until("all metrics", LATEST, async || receiver.metrics(), all).await;
}
