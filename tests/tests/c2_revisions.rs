//! C2: revisions are compared and set, kept, and gone back to.

#![allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect")]

use std::collections::HashMap;

use lattice_proto::admin::{ApplyRequest, RollbackRequest};
use lattice_tests::{Fault, Lattice, artifacts, manifests};
use serde_json::json;

async fn apply_if(lattice: &Lattice, manifest: String, revision: u64) -> Result<u64, Fault> {
    let mut client = lattice.admin(0);
    let artifacts: HashMap<String, String> = artifacts::put_all(&mut client, &manifest).await?;
    let request = ApplyRequest {
        manifest,
        file: "lattice.toml".to_owned(),
        artifacts,
        if_revision: Some(revision),
        ..ApplyRequest::default()
    };
    Ok(client.apply(request).await?.into_inner().revision)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_manifest_is_refused_with_what_changed_since() {
    let lattice = Lattice::start(1).await;
    assert_eq!(apply_if(&lattice, manifests::greeter(1), 0).await.unwrap(), 1);
    assert_eq!(apply_if(&lattice, manifests::greeter(2), 1).await.unwrap(), 2);
    let fault = apply_if(&lattice, manifests::greeter(3), 1).await.unwrap_err();
    assert_eq!(fault.kind(), "stale-revision", "{fault}");
    assert!(fault.message.contains("replicas 1 -> 2"), "{fault}");
    assert!(fault.message.contains("revision 2"), "{fault}");
    assert_eq!(fault.ran, lattice_proto::Ran::No);
    let fault = apply_if(&lattice, manifests::greeter(3), 0).await.unwrap_err();
    assert_eq!(fault.kind(), "stale-revision", "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_goes_back_to_what_it_was() {
    let lattice = Lattice::start(2).await;
    let greeting = |text: &str| manifests::greeter_with(&format!("env = {{ GREETING = \"{text}\" }}"));
    let says = async |text: &str| {
        let reply = lattice.call(1, "greeter", "hello", json!("Ada")).await.unwrap();
        assert_eq!(reply, json!(format!("{text}, Ada!")));
    };
    for text in ["One", "Two", "Three"] {
        lattice.apply(&greeting(text)).await;
        says(text).await;
    }
    lattice.roll_back(0, "greeter", None).await.unwrap();
    says("Two").await;
    lattice.roll_back(1, "greeter", Some(1)).await.unwrap();
    says("One").await;
    let history = lattice.history(0, "greeter").await;
    let notes: Vec<_> = history.iter().map(|r| (r.revision, r.origin.as_str(), r.good)).collect();
    let all = [(1, "apply", false), (2, "apply", false), (3, "apply", false), (4, "rollback", false)];
    assert_eq!(notes, [&all[..], &[(5, "rollback", true)]].concat());

    let fault = lattice.roll_back(0, "greeter", Some(77)).await.unwrap_err();
    assert_eq!((fault.kind(), fault.message.contains("lattice history")), ("not-found", true), "{fault}");
    let fault = lattice.roll_back(0, "nobody", None).await.unwrap_err();
    assert_eq!(fault.kind(), "not-found", "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_app_comes_back_by_going_back() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.delete(0, "greeter").await.unwrap();
    lattice.roll_back(0, "greeter", None).await.unwrap();
    assert_eq!(lattice.actor(0, "greeter").await.ready, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_is_taken_once_also_after_others() {
    let lattice = Lattice::start(1).await;
    let mut client = lattice.admin(0);
    lattice.apply(&manifests::greeter(1)).await;
    lattice.scale(0, "greeter", 2).await.unwrap();
    let request = || RollbackRequest {
        app: "greeter".to_owned(),
        to_revision: Some(1),
        request_id: "the-same".to_owned(),
        ..RollbackRequest::default()
    };
    assert_eq!(client.rollback(request()).await.unwrap().into_inner().revision, 3);
    lattice.scale(0, "greeter", 3).await.unwrap();
    assert_eq!(client.rollback(request()).await.unwrap().into_inner().revision, 3);
    assert_eq!(lattice.actor(0, "greeter").await.desired, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_revisions_go_and_those_that_still_run_stay() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    for replicas in 2..16 {
        lattice.scale(0, "greeter", replicas).await.unwrap();
    }
    let kept: Vec<u64> = lattice.history(0, "greeter").await.iter().map(|r| r.revision).collect();
    // The first one says what the replicas are made of.
    assert_eq!(kept, [1, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_does_not_take_an_actor_from_another_app() {
    let lattice = Lattice::start(1).await;
    let one = |app: &str, actor: &str| {
        format!("[app]\nname = \"{app}\"\n[actors.{actor}]\nartifact = \"greeter.wasm\"\n")
    };
    lattice.apply(&one("first", "shared")).await;
    lattice.apply(&one("first", "other")).await;
    lattice.apply(&one("second", "shared")).await;
    let fault = lattice.roll_back(0, "first", Some(1)).await.unwrap_err();
    assert_eq!(fault.kind(), "name-taken", "{fault}");
    assert_eq!(lattice.call(0, "shared", "hello", json!("Ada")).await.unwrap(), json!("Hello, Ada!"));
}
