//! `lattice bench` tells what callers would feel, also when the actor cannot keep up.

use lattice_tests::{Lattice, cli, manifests, say};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_rate_is_kept_and_measured() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    let admin = lattice.nodes[0].ready().admin.clone();
    let words =
        ["bench", "greeter", "hello", "\"Ada\"", "--rate", "200", "--duration", "2s", "--warmup", "500ms"];
    let said = cli::lattice(&admin, &words).await;
    say(&said.stdout);
    assert_eq!(said.code, 0, "{said:?}");
    let said = cli::lattice(&admin, &[&["-o", "json"][..], &words].concat()).await;
    let report = said.json();
    assert_eq!((&report["calls"], &report["answered"]), (&json!(400), &json!(400)), "{report}");
    assert!(report["latency_us"]["p99"].as_u64().unwrap() > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_counts_from_when_a_call_was_due() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("")).await;
    let admin = lattice.nodes[0].ready().admin.clone();
    // One replica, one turn at a time, 100 ms each: half of what is asked of it.
    let words = [
        "-o",
        "json",
        "bench",
        "misfit",
        "sleep",
        "100",
        "--rate",
        "20",
        "--duration",
        "2s",
        "--warmup",
        "1ms",
    ];
    let report = cli::lattice(&admin, &words).await.json();
    assert_eq!(report["answered"], json!(40), "{report}");
    // The last one was due at two seconds and ends at four.
    let max = report["latency_us"]["max"].as_u64().unwrap();
    assert!(max > 1_500_000, "a polite tester would have measured 100 ms: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_counted_and_mistakes_refused() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("")).await;
    lattice.apply(&manifests::bank_with("")).await;
    let admin = lattice.nodes[0].ready().admin.clone();
    let quick = ["--rate", "50", "--duration", "500ms", "--warmup", "1ms"];
    let run = async |words: &[&str]| {
        cli::lattice(&admin, &[&["-o", "json", "bench"][..], words, &quick].concat()).await
    };
    let report = run(&["misfit", "reject", "\"no\""]).await.json();
    assert_eq!(report["failed"], json!({ "rejected": 25 }), "{report}");
    let report = run(&["account", "deposit", "1", "--keys", "5"]).await.json();
    assert_eq!(report["answered"], json!(25), "{report}");
    assert_eq!(lattice.call(0, "account/k4", "balance", json!(null)).await.unwrap(), json!(5));
    for (words, kind) in [
        (&["nobody", "hello"][..], "no-such-actor"),
        (&["misfit", "dance"], "no-such-operation"),
        (&["account", "deposit", "1"], "malformed"),
    ] {
        let said = run(words).await;
        assert_eq!((said.code, said.error()["kind"].as_str()), (1, Some(kind)), "{said:?}");
    }
    let said = run(&["account/ada", "deposit", "1", "--keys", "5"]).await;
    assert_eq!(said.code, 2, "{said:?}");
}
