//! What operators see of keys and do to them, and what becomes of a record that cannot be read.

use std::time::Duration;

use lattice_proto::ActorId;
use lattice_proto::admin::Event;
use lattice_proto::shard::{SHARDS, Shard};
use lattice_proto::subject::Subjects;
use lattice_tests::cli::{self, Said};
use lattice_tests::{Lattice, manifests, wait_for};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

async fn run(lattice: &Lattice, words: &[&str]) -> Said {
    cli::lattice(&lattice.nodes[0].ready().admin, words).await
}

async fn all(lattice: &Lattice, key: &str) -> Value {
    lattice.call_within(1, &format!("ledger/{key}"), "all", Value::Null, LATEST).await.unwrap()
}

async fn append(lattice: &Lattice, key: &str, number: u64) {
    lattice.call(1, &format!("ledger/{key}"), "append", json!(number)).await.unwrap();
}

/// What was told of one kind.
async fn told(lattice: &Lattice, kind: &str) -> Vec<Event> {
    let mut events = lattice.events(0).await;
    events.retain(|event| event.kind == kind);
    events
}

/// Writes bytes where the record of a key is.
async fn damage(lattice: &Lattice, key: &str) {
    let subjects = Subjects::new(lattice.id().parse().unwrap());
    let actor: ActorId = format!("ledger/{key}").parse().unwrap();
    let shard = Shard::of(&actor.name, key, SHARDS);
    let jetstream = async_nats::jetstream::new(lattice.nats.client().await);
    let subject = subjects.state(shard, &actor.name, key);
    jetstream.publish(subject, "this is no record".into()).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_inspected_read_overwritten_and_deleted() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::ledger_with("")).await;

    let none = run(&lattice, &["inspect", "ledger/alice", "-o", "json"]).await.json();
    assert_eq!((&none["record"], &none["awake"]), (&Value::Null, &json!(false)), "{none}");
    let said = run(&lattice, &["-o", "json", "state", "get", "ledger/alice"]).await;
    assert_eq!((said.code, said.json()), (0, json!({ "key": "alice", "revision": 0 })), "{said:?}");

    append(&lattice, "alice", 1).await;
    append(&lattice, "alice", 2).await;
    let later = json!({ "id": "tomorrow", "number": 3, "ms": 86_400_000, "every": false });
    lattice.call(0, "ledger/alice", "later", later).await.unwrap();
    // That the server was told of it is another commit, and somebody looks whether it is.
    let settled = |info: &Value| info["record"]["revision"] == 4 && info["messages"] == 0;
    let info = wait_for(
        "the record says all",
        LATEST,
        async || run(&lattice, &["inspect", "ledger/alice", "-o", "json"]).await.json(),
        settled,
    )
    .await;
    assert!(info["owner"]["node"].as_str().unwrap().starts_with("node-"), "{info}");
    assert_eq!((&info["awake"], &info["messages"], &info["letters"]), (&json!(true), &json!(0), &json!(0)));
    assert_eq!(info["record"]["reminders"][0]["id"], "tomorrow", "{info}");
    let said = run(&lattice, &["inspect", "ledger/alice"]).await;
    assert!(said.stdout.contains("revision 4") && said.stdout.contains("tomorrow: ring"), "{said:?}");

    let state = run(&lattice, &["state", "get", "ledger/alice"]).await.json();
    assert_eq!(state["state"]["entries"], json!([1, 2]), "{state}");
    let said =
        run(&lattice, &["-o", "json", "state", "put", "ledger/alice", "{}", "--if-revision", "1"]).await;
    let error = said.error();
    assert_eq!((said.code, &error["code"]), (1, &json!("revision-conflict")), "{said:?}");
    assert!(error["message"].as_str().unwrap().contains("revision 4"), "{error}");
    assert_eq!(all(&lattice, "alice").await, json!([1, 2]), "what was refused changed nothing");

    let next = r#"{"version": 1, "state": {"entries": [7], "padding": ""}}"#;
    let said = run(&lattice, &["state", "put", "ledger/alice", next, "--if-revision", "4"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(all(&lattice, "alice").await, json!([7]));
    append(&lattice, "alice", 8).await;
    assert_eq!(all(&lattice, "alice").await, json!([7, 8]));

    // With a state that it cannot read the key does not wake, until it gets another one.
    assert_eq!(run(&lattice, &["state", "put", "ledger/alice", "[]"]).await.code, 0);
    let fault = lattice.call(1, "ledger/alice", "all", Value::Null).await.unwrap_err();
    assert!(fault.kind() == "rejected" && fault.message.contains("cannot be read"), "{fault}");
    assert_eq!(run(&lattice, &["state", "put", "ledger/alice", next]).await.code, 0);
    assert_eq!(all(&lattice, "alice").await, json!([7]));

    let said = run(&lattice, &["state", "delete", "ledger/alice"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(all(&lattice, "alice").await, json!([]));
    let info = run(&lattice, &["inspect", "ledger/alice", "-o", "json"]).await.json();
    let record = &info["record"];
    assert_eq!((&record["state_bytes"], &record["reminders"]), (&Value::Null, &json!([])), "{info}");
    assert!(record["revision"].as_u64().unwrap() > 4, "what is deleted keeps its revision: {info}");
    let events = wait_for(
        "it is told",
        LATEST,
        async || told(&lattice, "state-overwritten").await,
        |told: &Vec<_>| told.len() >= 4,
    )
    .await;
    assert_eq!(events.len(), 4, "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_exported_is_there_again_after_an_import() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::ledger_with("")).await;
    let keys: Vec<String> = ["a.b", "a b", "ä/ö", ">", "plain"].map(str::to_owned).into();
    for (key, number) in keys.iter().zip(0..) {
        append(&lattice, key, number).await;
    }
    let later = json!({ "id": "often", "number": 3, "ms": 86_400_000, "every": true });
    lattice.call(0, "ledger/plain", "later", later).await.unwrap();

    let exported = run(&lattice, &["state", "export", "ledger"]).await;
    assert_eq!((exported.code, exported.stdout.lines().count()), (0, keys.len()), "{exported:?}");
    for key in &keys {
        let target = format!("ledger/{key}");
        assert_eq!(run(&lattice, &["state", "delete", &target]).await.code, 0);
        assert_eq!(all(&lattice, key).await, json!([]));
    }
    assert_eq!(run(&lattice, &["state", "export", "ledger"]).await.stdout, "");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.ndjson");
    std::fs::write(&file, &exported.stdout).unwrap();
    let said = run(&lattice, &["-o", "json", "state", "import", "ledger", file.to_str().unwrap()]).await;
    assert_eq!((said.code, said.json()), (0, json!({ "keys": keys.len() })), "{said:?}");
    for (key, number) in keys.iter().zip(0..) {
        assert_eq!(all(&lattice, key).await, json!([number]), "{key}");
    }
    let info = run(&lattice, &["inspect", "ledger/plain", "-o", "json"]).await.json();
    let reminder = &info["record"]["reminders"][0];
    assert_eq!((&reminder["id"], &reminder["every_ms"]), (&json!("often"), &json!(86_400_000)), "{info}");

    std::fs::write(&file, format!("{}{{\"key\": \"plain\"}}\n", exported.stdout)).unwrap();
    append(&lattice, "plain", 9).await;
    let said = run(&lattice, &["state", "import", "ledger", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("ledger.ndjson:6: neither `state`"), "{said:?}");
    assert_eq!(all(&lattice, "plain").await, json!([4, 9]), "a file with a mistake in it changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_is_left_as_it_is_and_harms_no_other_key() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::ledger_with("")).await;
    for key in ["alice", "bob", "carol"] {
        append(&lattice, key, 1).await;
    }
    // One is awake meanwhile, and one was never there.
    damage(&lattice, "alice").await;
    damage(&lattice, "dave").await;
    for key in ["alice", "dave"] {
        let target = format!("ledger/{key}");
        for via in 0..2 {
            let fault = lattice.call_within(via, &target, "append", json!(2), LATEST).await.unwrap_err();
            assert_eq!((fault.kind(), fault.ran), ("no-replica", lattice_proto::Ran::No), "{fault}");
            assert!(fault.message.contains("lattice state put"), "{fault}");
        }
        let info = run(&lattice, &["inspect", &target, "-o", "json"]).await.json();
        assert!(info["record"]["damaged"].as_str().unwrap().contains("state record"), "{info}");
        let said = run(&lattice, &["-o", "json", "state", "get", &target]).await;
        assert_eq!((said.code, &said.error()["kind"]), (1, &json!("damaged")), "{said:?}");
        // Whoever names a revision has seen another record.
        let words = ["state", "put", &target, "{}", "--if-revision", "1"];
        assert_eq!(run(&lattice, &words).await.code, 1);
    }
    for key in ["bob", "carol"] {
        append(&lattice, key, 2).await;
        assert_eq!(all(&lattice, key).await, json!([1, 2]));
    }
    let exported = run(&lattice, &["state", "export", "ledger"]).await;
    assert_eq!((exported.code, exported.stdout.lines().count()), (1, 2), "{exported:?}");
    assert!(exported.stderr.contains("`ledger/alice`, and of 1 others,"), "{exported:?}");
    let events = wait_for(
        "it is reported",
        LATEST,
        async || told(&lattice, "key-damaged").await,
        |told: &Vec<_>| told.len() >= 2,
    )
    .await;
    assert!(events.iter().all(|event| event.subject == "ledger"), "{events:?}");
    assert_eq!(events.len(), 2, "each damage is told once in two minutes: {events:?}");

    let next = r#"{"version": 1, "state": {"entries": [5], "padding": ""}}"#;
    let said = run(&lattice, &["state", "put", "ledger/alice", next]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(run(&lattice, &["state", "delete", "ledger/dave"]).await.code, 0);
    append(&lattice, "alice", 6).await;
    assert_eq!(all(&lattice, "alice").await, json!([5, 6]));
    assert_eq!(all(&lattice, "dave").await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lattice_keeps_the_number_of_shards_that_it_was_born_with() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (own, other) = (file("own.toml", "shards = 32\n"), file("other.toml", "shards = 64\n"));
    let mut lattice = Lattice::builder(1).arg("--config").arg(&own).start().await;
    lattice.apply(&manifests::ledger_with("")).await;
    lattice.call_within(0, "ledger/alice", "append", json!(1), LATEST).await.unwrap();
    let info = run(&lattice, &["inspect", "ledger/alice", "-o", "json"]).await.json();
    assert!(info["shard"].as_u64().unwrap() < 32, "{info}");

    lattice.nodes[0].kill();
    let settings = |config: &str| lattice_tests::lattice::Settings {
        args: vec!["--config".to_owned(), config.to_owned()],
        ..lattice.nodes[0].settings().clone()
    };
    let (status, said) = lattice_tests::lattice::start_and_fail(settings(&other), LATEST).await;
    assert!(!status.success() && said.contains("has 32 shards") && said.contains("state export"), "{said}");
    let (status, said) =
        lattice_tests::lattice::start_and_fail(settings(&file("no.toml", "shards = 1\n")), LATEST).await;
    assert!(!status.success() && said.contains("expected 16 to 4096"), "{said}");
    // Without a word about it, or with the right one, it goes on.
    lattice.restart_node(0).await;
    // A call that goes to the incarnation before may end as `unknown`, so what is there is read until it is told.
    let read = async || lattice.call(0, "ledger/alice", "all", Value::Null).await;
    let kept = wait_for("the key is served again", LATEST, read, Result::is_ok).await;
    assert_eq!(kept.unwrap(), json!([1]));
}
