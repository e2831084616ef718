//! C2: revisions are compared and set, kept, and gone back to.

use std::collections::HashMap;
use std::time::Duration;

use lattice_proto::admin::{ApplyRequest, RollbackRequest};
use lattice_tests::{Fault, Lattice, artifacts, manifests, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

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
    let all = [(1, "apply"), (2, "apply"), (3, "apply"), (4, "rollback"), (5, "rollback")];
    assert_eq!(notes, all.map(|(revision, origin)| (revision, origin, true)));

    let fault = lattice.roll_back(0, "greeter", Some(77)).await.unwrap_err();
    assert_eq!((fault.kind(), fault.message.contains("lattice history")), ("not-found", true), "{fault}");
    let fault = lattice.roll_back(0, "nobody", None).await.unwrap_err();
    assert_eq!(fault.kind(), "not-found", "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_skips_what_failed() {
    let lattice = Lattice::start(1).await;
    let greeting = |text: &str| manifests::greeter_with(&format!("env = {{ GREETING = \"{text}\" }}"));
    lattice.apply(&greeting("One")).await;
    let broken = manifests::greeter_with("limits = { memory = \"64KiB\" }");
    lattice.try_apply(0, &broken).await.unwrap_err();
    let good =
        async || lattice.history(0, "greeter").await.iter().map(|revision| revision.good).collect::<Vec<_>>();
    wait_until("the third revision is known to be good", LATEST, good, |good| good == &[true, false, true])
        .await;
    // All that ever ran as declared is what runs now.
    let fault = lattice.roll_back(0, "greeter", None).await.unwrap_err();
    assert_eq!(fault.kind(), "invalid-request", "{fault}");
    assert!(fault.message.contains("--to"), "{fault}");
    lattice.apply(&greeting("Four")).await;
    lattice.roll_back(0, "greeter", None).await.unwrap();
    assert_eq!(lattice.call(0, "greeter", "hello", json!("Ada")).await.unwrap(), json!("One, Ada!"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_tells_of_its_own_revision_and_of_no_later_one() {
    let lattice = Lattice::start(2).await;
    let first = lattice.apply(&manifests::greeter(1)).await;
    let nowhere = manifests::greeter_with("replicas = 2\nplacement = { require = [\"at=moon\"] }");
    let second = lattice.begin_apply(0, &nowhere).await.unwrap();
    let third = lattice.apply(&manifests::greeter(3)).await;
    assert_eq!((first.revision, second.revision, third.revision), (1, 2, 3));
    let fault = lattice.finish(1, second).await.unwrap_err();
    assert!(fault.message.contains("revision 3 of `greeter` took the place of revision 2"), "{fault}");
    // What came true stays so, and what asks for the same is as true as the latest.
    lattice.finish(0, first).await.unwrap();
    lattice.finish(1, third).await.unwrap();
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
