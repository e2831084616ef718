//! The command line: what it prints, in which shape, and how it exits.

use std::collections::BTreeSet;
use std::path::Path;

use lattice_tests::cli::{self, Said};
use lattice_tests::{Lattice, artifacts, manifests};
use serde_json::{Value, json};

async fn run(lattice: &Lattice, words: &[&str]) -> Said {
    cli::lattice(&lattice.nodes[0].ready().admin, words).await
}

/// A folder with a manifest and its artifact, as a user has it.
fn project(folder: &Path, manifest: &str) -> String {
    std::fs::write(folder.join("greeter.wasm"), artifacts::bytes("greeter.wasm")).unwrap();
    let file = folder.join("lattice.toml");
    std::fs::write(&file, manifest).unwrap();
    file.to_str().unwrap().to_owned()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_deployed_called_scaled_and_deleted() {
    let lattice = Lattice::builder(2).label(0, "tier=cloud").start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = project(folder.path(), &manifests::greeter(2));

    let said = run(&lattice, &["apply", &file, "--dry-run"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(run(&lattice, &["-o", "json", "ps"]).await.json(), json!([]));

    let said = run(&lattice, &["apply", &file]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let ps = run(&lattice, &["-o", "json", "ps"]).await.json();
    let shape = ["actor", "app", "kind", "desired", "ready", "revision", "placements"];
    assert_eq!(keys(&ps[0]), BTreeSet::from(shape));
    assert_eq!((&ps[0]["desired"], &ps[0]["ready"]), (&json!(2), &json!(2)), "{ps}");
    assert_eq!(
        ps[0]["placements"],
        json!([{ "node": "node-0", "replicas": 1 }, { "node": "node-1", "replicas": 1 }])
    );

    let said = run(&lattice, &["call", "greeter", "hello", "{\"name\": \"Ada\"}"]).await;
    assert!(said.code == 0 && said.json().as_str().unwrap().contains("Ada"), "{said:?}");
    let said = run(&lattice, &["-o", "json", "scale", "greeter", "4"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.json()["changes"], json!(["~ greeter: replicas 2 -> 4"]));
    assert_eq!(run(&lattice, &["-o", "json", "ps"]).await.json()[0]["ready"], 4);
    let said = run(&lattice, &["delete", "greeter"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(run(&lattice, &["-o", "json", "ps"]).await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_does_not_hang_whoever_asks_it() {
    let lattice = Lattice::start(1).await;
    lattice.nodes[0].pause();
    let words = ["-o", "json", "ps"];
    let said = tokio::time::timeout(std::time::Duration::from_secs(60), run(&lattice, &words)).await.unwrap();
    lattice.nodes[0].resume();
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.error()["kind"], "deadline", "{said:?}");
    assert_eq!(run(&lattice, &words).await.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_listed_in_the_promised_shape() {
    let lattice = Lattice::builder(2).label(0, "tier=cloud").start().await;
    let nodes = run(&lattice, &["nodes", "-o", "json"]).await.json();
    let shape = [
        "name",
        "id",
        "state",
        "labels",
        "leader",
        "replicas",
        "activations",
        "cpus",
        "memory_bytes",
        "version",
        "admin",
        "http",
    ];
    assert_eq!(nodes.as_array().unwrap().len(), 2);
    for (index, node) in nodes.as_array().unwrap().iter().enumerate() {
        assert_eq!(keys(node), BTreeSet::from(shape));
        assert_eq!(node["name"], format!("node-{index}"));
        assert_eq!(node["id"], lattice.nodes[index].ready().id);
        assert_eq!((&node["state"], &node["http"]), (&json!("ready"), &json!(null)));
        assert!(
            node["cpus"].as_u64().unwrap() > 0 && node["memory_bytes"].as_u64().unwrap() > 1 << 20,
            "{node}"
        );
    }
    assert_eq!(nodes[0]["labels"], json!({ "tier": "cloud" }));
    let text = run(&lattice, &["nodes"]).await.stdout;
    assert!(!text.contains('\x1b'), "no colours in a pipe: {text:?}");
    assert!(text.lines().count() == 3 && text.contains("tier=cloud"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_to_do_next_and_exit_with_1_or_2() {
    let lattice = Lattice::start(1).await;
    let said = run(&lattice, &["-o", "json", "call", "nobody", "hello"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(keys(&said.error()), BTreeSet::from(["kind", "message", "ran"]));
    assert_eq!((&said.error()["kind"], &said.error()["ran"]), (&json!("no-such-actor"), &json!("no")));

    let said = run(&lattice, &["call", "greeter", "hello", "Ada"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    let said = run(&lattice, &["frobnicate"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    let said = run(&lattice, &["-o", "json", "scale", "greeter"]).await;
    assert_eq!((said.code, &said.error()["kind"]), (2, &json!("usage")), "{said:?}");

    let said = cli::lattice("http://127.0.0.1:1", &["ps"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("127.0.0.1:1") && said.stderr.contains("--admin"), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "one sentence: {said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_artifact_is_told_with_the_command_that_makes_it() {
    let lattice = Lattice::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let file = project(folder.path(), &manifests::greeter(1));
    std::fs::remove_file(folder.path().join("greeter.wasm")).unwrap();
    let said = run(&lattice, &["apply", &file]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("lattice build"), "{said:?}");
}
