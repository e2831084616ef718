//! Whoever watches the messages of an actor sees them from all nodes, and nothing that is nobody's business.

use std::time::Duration;

use futures::StreamExt;
use lattice_proto::admin::{TapRequest, TappedMessage};
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, cli, manifests};
use serde_json::{Value, json};
use tonic::Streaming;

const LATEST: Duration = Duration::from_secs(30);

fn request(actor: &str) -> TapRequest {
    TapRequest { actor: actor.to_owned(), per_second: 1_000, ..TapRequest::default() }
}

/// Watches by way of a node, once all nodes do: calls are made until each of them has shown one.
async fn watch(
    lattice: &Lattice,
    via: usize,
    request: TapRequest,
    call: (&str, Value),
) -> Streaming<TappedMessage> {
    let mut messages = lattice.admin(via).tap(request.clone()).await.unwrap().into_inner();
    let mut seen = std::collections::BTreeSet::new();
    let nodes = lattice.nodes.len();
    let mut from = 0;
    let all = async {
        while seen.len() < nodes {
            from = (from + 1) % nodes;
            let _ = lattice.call(from, &request.actor, call.0, call.1.clone()).await;
            while let Ok(next) = tokio::time::timeout(Duration::from_millis(100), messages.message()).await {
                seen.insert(next.unwrap().unwrap().node);
            }
        }
    };
    tokio::time::timeout(LATEST, all).await.expect("each node shows a message");
    messages
}

async fn next(messages: &mut Streaming<TappedMessage>, is: impl Fn(&TappedMessage) -> bool) -> TappedMessage {
    let found = async {
        loop {
            let message = messages.message().await.unwrap().expect("the stream goes on");
            if is(&message) {
                return message;
            }
        }
    };
    tokio::time::timeout(LATEST, found).await.expect("the message is shown")
}

fn json_of(message: &TappedMessage) -> Value {
    let payload = message.payload.as_ref().unwrap();
    serde_json::from_str(&payload.json).unwrap_or_else(|error| panic!("{error}: {message:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_all_nodes_are_shown_with_what_came_of_them() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::misfit_with("replicas = 2")).await;
    let mut messages = watch(&lattice, 0, request("misfit"), ("echo", json!({ "text": "warm" }))).await;

    let (_, trace) = lattice.call_traced(1, "misfit", "echo", json!({ "text": "tea" })).await;
    let shown = next(&mut messages, |message| message.trace_id == trace).await;
    assert_eq!(
        (shown.actor.as_str(), shown.operation.as_str(), shown.cause.as_str()),
        ("misfit", "echo", "call")
    );
    assert_eq!((json_of(&shown), shown.attempt, shown.fault.as_str()), (json!({ "text": "tea" }), 1, ""));
    let answer = shown.answer.unwrap();
    assert_eq!((answer.json.as_str(), answer.bytes, answer.cut), ("\"tea\"", 5, false));
    assert!(!shown.message_id.is_empty() && shown.version >= 1 && shown.took_us > 0);

    // One that fails says how, and not what its actor says of it.
    lattice.call(0, "misfit", "trap", Value::Null).await.unwrap_err();
    let shown = next(&mut messages, |message| message.operation == "trap").await;
    assert_eq!((shown.answer, shown.fault.as_str()), (None, "trapped"));

    // What is large or no JSON is told by its size, and what is long is cut.
    let long = json!({ "text": "x".repeat(10_000) });
    lattice.call(0, "misfit", "echo", long.clone()).await.unwrap();
    let payload =
        next(&mut messages, |message| message.payload.as_ref().is_some_and(|body| body.bytes > 9_000)).await;
    let payload = payload.payload.unwrap();
    assert!(payload.cut && payload.json.len() <= 4_096, "{payload:?}");
    lattice.call(0, "misfit", "echo", json!({ "text": "x".repeat(100_000) })).await.unwrap();
    let payload =
        next(&mut messages, |message| message.payload.as_ref().is_some_and(|body| body.bytes > 99_000)).await;
    assert_eq!(payload.payload.unwrap().json, "");

    // Who watched is told, also when that ends.
    drop(messages);
    lattice.wait_for_event(1, "actor-tapped", "misfit", 2, LATEST).await;
    let events = lattice.events(0).await;
    let told: Vec<&str> =
        events.iter().filter(|event| event.kind == "actor-tapped").map(|event| event.text.as_str()).collect();
    assert_eq!(told[0], "somebody without a token watches messages");
    assert!(told[1].starts_with("somebody without a token watches messages no more, after "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_be_hidden_never_leaves_the_node_that_has_it() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::misfit_with("replicas = 2")).await;
    lattice.apply(&manifests::bank_with("")).await;
    // Whatever passes over NATS is looked at.
    let client = lattice.nats.client().await;
    let mut wire = client.subscribe("_INBOX.>").await.unwrap();
    let hide = vec!["e-mail".to_owned()];
    let watched = TapRequest { hide, ..request("misfit") };
    let mut messages = watch(&lattice, 0, watched, ("echo", json!({ "text": "warm" }))).await;

    let inner = json!({ "token": "HUSH-1", "n": 1 }).to_string();
    let text = json!({ "password": "HUSH-2", "Email": ["HUSH-3"], "note": inner, "sku": "tea" }).to_string();
    let (_, trace) = lattice.call_traced(1, "misfit", "echo", json!({ "text": text })).await;
    let shown = next(&mut messages, |message| message.trace_id == trace).await;
    let seen: Value = serde_json::from_str(json_of(&shown)["text"].as_str().unwrap()).unwrap();
    assert_eq!((&seen["sku"], &seen["password"], &seen["Email"]), (&json!("tea"), &json!("…"), &json!("…")));
    assert_eq!(seen["note"], json!({ "token": "…", "n": 1 }).to_string());
    assert!(!format!("{shown:?}").contains("HUSH"), "{shown:?}");
    // What was shown has passed before this does, which is sent by way of the same server.
    client.publish("_INBOX.last", "".into()).await.unwrap();
    let mut passed = 0;
    loop {
        let message = tokio::time::timeout(LATEST, wire.next()).await.expect("the last one comes").unwrap();
        if message.subject.as_str() == "_INBOX.last" {
            break;
        }
        assert!(!String::from_utf8_lossy(&message.payload).contains("HUSH"), "{message:?}");
        passed += usize::from(String::from_utf8_lossy(&message.payload).contains("tea"));
    }
    assert!(passed > 0, "what node-1 saw passes there");

    // One key, by name and by what is hidden.
    let hide = vec!["key".to_owned()];
    let watched = TapRequest { hide, operation: "deposit".to_owned(), ..request("account/ada") };
    let mut messages = lattice.admin(0).tap(watched).await.unwrap().into_inner();
    let shown = async {
        loop {
            for account in ["account/bob", "account/ada"] {
                lattice.call(0, account, "deposit", json!(1)).await.unwrap();
            }
            if let Ok(next) = tokio::time::timeout(Duration::from_millis(100), messages.message()).await {
                return next.unwrap().unwrap();
            }
        }
    };
    let shown = tokio::time::timeout(LATEST, shown).await.unwrap();
    assert_eq!((shown.key.as_str(), json_of(&shown)), ("…", json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_was_asked_for_is_left_out_and_costs_nobody_a_call() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    let few = TapRequest { per_second: 5, ..request("greeter") };
    let mut messages = watch(&lattice, 0, few, ("hello", json!("x"))).await;
    let load = lattice.load(&Plan::greet(500, Duration::from_secs(300), &[0, 1]));
    load.wait_for(500).await;
    let mut left_out = 0;
    while left_out < 100 {
        let next = next(&mut messages, |message| message.skipped > 0).await;
        assert!(next.payload.is_none() && next.actor.is_empty(), "{next:?}");
        left_out += next.skipped;
    }
    let report = load.stop().await;
    assert_eq!(report.failed().count(), 0);

    drop(messages);
    for (words, wrong) in [
        (&["tap", "nobody"][..], "no actor named"),
        (&["tap", "Greeter"], "actor"),
        (&["tap", "greeter", "--hide", "-"], "cannot be hidden"),
    ] {
        let said = cli::lattice(&lattice.nodes[0].ready().admin, words).await;
        assert!(said.code != 0 && said.stderr.contains(wrong), "{said:?}");
    }
    // As a user does.
    let admin = lattice.nodes[1].ready().admin.clone();
    let watching = async { cli::lattice(&admin, &["-o", "json", "tap", "greeter", "-n", "1"]).await };
    let calls = async {
        loop {
            lattice.call(0, "greeter", "hello", json!("tap")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let said = tokio::select! {
        said = watching => said,
        () = calls => unreachable!(),
    };
    let row: Value = serde_json::from_str(said.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&row["actor"], &row["operation"], said.code),
        (&json!("greeter"), &json!("hello"), 0),
        "{said:?}"
    );
    assert_eq!(row["payload"]["content_type"], "application/json", "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_reminders_and_timers_are_shown_by_what_they_tell() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::ledger_with("grants = { call = [\"ledger\"] }")).await;
    let mut messages = lattice.admin(0).tap(request("ledger")).await.unwrap().into_inner();
    let all =
        async |operation: &str, arguments: Value| lattice.call(0, "ledger/a", operation, arguments).await;
    // The node watches once it was asked, which nothing else tells than that it shows something.
    let warm = async {
        loop {
            all("all", json!(null)).await.unwrap();
            if tokio::time::timeout(Duration::from_millis(100), messages.message()).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(LATEST, warm).await.expect("the node watches");

    all("spread", json!({ "number": 7, "to": ["ledger/b"] })).await.unwrap();
    let letter = next(&mut messages, |message| message.cause == "letter").await;
    assert_eq!(
        (letter.key.as_str(), letter.operation.as_str(), letter.caller.as_str()),
        ("b", "append", "ledger")
    );
    assert!(letter.payload.unwrap().json.contains('7'));

    all("later", json!({ "id": "r", "number": 8, "ms": 100, "every": false })).await.unwrap();
    let reminder = next(&mut messages, |message| message.cause == "reminder").await;
    assert_eq!((reminder.key.as_str(), reminder.operation.as_str()), ("a", "ring"));
    assert!(reminder.payload.unwrap().json.contains('8'));

    all("tick", json!({ "id": "t", "ms": 50, "every": false })).await.unwrap();
    let timer = next(&mut messages, |message| message.cause == "timer").await;
    assert_eq!((timer.key.as_str(), timer.operation.as_str()), ("a", "touch"));
}
