//! B4: garbage is answered or ignored, counted, and harms nothing.

use std::time::Duration;

use lattice_tests::{Fault, Lattice, manifests, say, wait_until};
use serde_json::json;

/// Nothing, text, bytes that look like a length, and a lot.
fn garbage() -> Vec<Vec<u8>> {
    vec![Vec::new(), b"{\"not\": \"an envelope\"".to_vec(), vec![0xff; 64], vec![0x0a; 100_000]]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_subject_is_counted_and_harms_nothing() {
    let mut lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(4)).await;
    // A node watches the routes of actors that it calls, so it must have called one.
    for node in 0..2 {
        lattice.call(node, "greeter", "hello", json!("Ada")).await.unwrap();
    }

    // What the nodes listen to is asked of the server, so that no subject is forgotten.
    let listening = lattice.nats.subscriptions().await;
    let ours = format!("lat.{}.", lattice.id());
    assert!(listening.iter().any(|subject| subject.starts_with(&ours)), "{listening:?}");
    let client = lattice.nats.client().await;
    for filter in listening.iter().filter(|subject| !subject.starts_with('$')) {
        let before = malformed(&lattice).await;
        let endings =
            ["call", "reply", "cancel", "ping", "suspect", "refused.x.1.9999999999", "x", "x.y.z.w"];
        for ending in endings.into_iter().chain(["GARBAGE.star"]) {
            let subject = filter.replace('>', ending).replace('*', "x");
            for payload in garbage() {
                client.publish(subject.clone(), payload.into()).await.unwrap();
            }
        }
        client.flush().await.unwrap();
        // The client library answers for its reply inboxes, and drops what it did not ask for.
        if filter.starts_with(&ours) {
            let observe = async || malformed(&lattice).await - before;
            let counted = |counted: &u64| *counted > 0;
            wait_until(&format!("garbage on {filter} is counted"), Duration::from_secs(20), observe, counted)
                .await;
        }
    }
    say(&format!("measured: {} counted on {listening:?}", malformed(&lattice).await));

    for node in 0..2 {
        lattice.call(node, "greeter", "hello", json!("Ada")).await.unwrap();
        assert!(!lattice.nodes[node].has_ended());
        assert!(!lattice.nodes[node].output().contains("panicked"), "{}", lattice.nodes[node].output());
    }
    lattice.scale(0, "greeter", 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_hides_no_other() {
    let mut lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    let jetstream = async_nats::jetstream::new(lattice.nats.client().await);
    for (bucket, key) in [("nodes", "node.ghost"), ("nodes", "state.ghost"), ("routes", "ghost")] {
        let bucket = format!("lat_{}_{bucket}", lattice.id());
        let bucket = jetstream.get_key_value(bucket).await.unwrap();
        for record in ["{\"format\":99}", "garbage"] {
            bucket.put(key, record.into()).await.unwrap();
        }
    }
    assert_eq!(lattice.list_nodes(0).await.unwrap().len(), 2);
    assert_eq!(lattice.actor(1, "greeter").await.ready, 2);
    assert_eq!(lattice.explain(0, "greeter").await.len(), 2);
    // Who else could take over is asked of the same records.
    let load = lattice.load(&lattice_tests::load::Plan::greet(100, Duration::from_secs(60), &[0]));
    load.wait_for(100).await;
    assert_eq!(lattice.nodes[1].terminate().await.code(), Some(0));
    lattice.wait_for_spread(0, "greeter", &[2], Duration::from_secs(20)).await;
    let report = load.stop().await;
    assert_eq!(report.kinds(), [].into(), "{report}");
    assert!(lattice.nodes[1].output().contains("draining"), "{}", lattice.nodes[1].output());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_admin_requests_are_typed_errors() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    let long = "x".repeat(10_000);
    let mut faults: Vec<(&str, Fault)> = Vec::new();
    for target in ["", "No Such", "a.b", "greeter/", &long, "greeter\n", "*", ">"] {
        faults.push(("call", lattice.call(0, target, "hello", json!("Ada")).await.unwrap_err()));
    }
    for operation in ["", "he llo", "a.b", ">", &long] {
        faults.push(("operation", lattice.call(0, "greeter", operation, json!("Ada")).await.unwrap_err()));
    }
    faults.push(("scale", lattice.scale(0, "nobody", 3).await.unwrap_err()));
    faults.push(("scale", lattice.scale(0, "not a name", 3).await.unwrap_err()));
    faults.push(("scale", lattice.scale(0, "greeter", u32::MAX).await.unwrap_err()));
    faults.push(("delete", lattice.delete(0, "nothing").await.unwrap_err()));
    faults.push(("delete", lattice.delete(0, "../..").await.unwrap_err()));
    faults.push(("apply", lattice.begin_apply(0, "").await.unwrap_err()));
    faults.push(("apply", lattice.begin_apply(0, &"[".repeat(100_000)).await.unwrap_err()));
    for (what, fault) in faults {
        assert!(fault.kind.is_some(), "{what}: untyped: {fault}");
        assert!(fault.message.len() < 1_000, "{what}: repeats too much: {fault}");
    }
    lattice.call(0, "greeter", "hello", json!("Ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_arguments_name_the_operation_and_the_parameter() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    for arguments in [json!({ "nam": "Ada" }), json!(3), json!([1, 2])] {
        let fault = lattice.call(0, "greeter", "hello", arguments.clone()).await.unwrap_err();
        assert_eq!(fault.kind(), "malformed", "{arguments}: {fault}");
        assert!(fault.message.contains("name"), "{arguments}: {fault}");
    }
}

/// What both nodes have counted as malformed, of all kinds.
async fn malformed(lattice: &Lattice) -> u64 {
    let mut sum = 0;
    for node in 0..lattice.nodes.len() {
        let counters = lattice.counters(node).await;
        sum += counters
            .iter()
            .filter(|(name, _)| name.contains("malformed"))
            .map(|(_, count)| count)
            .sum::<u64>();
    }
    sum
}
