//! C2: a deploy that cannot be satisfied says what is missing, and is never reported as done.

use lattice_tests::{Lattice, manifests};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_no_node_has_is_named() {
    let lattice = Lattice::builder(2).label(0, "tier=cloud").start().await;
    let manifest = manifests::greeter_with("placement = { require = [\"tier=moon\"] }");
    let fault = lattice.try_apply(0, &manifest).await.unwrap_err();
    assert!(fault.message.contains("tier=moon"), "{fault}");
    assert!(fault.message.contains("greeter"), "{fault}");
    assert!(lattice.placements(0, "greeter").await.iter().all(|(_, replicas)| *replicas == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_actor_without_a_node_for_its_keys_is_not_done() {
    let mut lattice = Lattice::start(1).await;
    let manifest = manifests::ledger_with("placement = { require = [\"tier=moon\"] }");
    let fault = lattice.try_apply(0, &manifest).await.unwrap_err();
    assert!(fault.message.contains("tier=moon") && fault.message.contains("ledger"), "{fault}");
    let node = lattice.add_node("moon", &["tier=moon"]).await;
    lattice.try_apply(node, &manifest).await.unwrap();
    assert_eq!(lattice.call(0, "ledger/alice", "append", json!(1)).await.unwrap(), json!(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_of_which_one_actor_cannot_run_is_not_done() {
    let lattice = Lattice::builder(2).label(0, "at=storefront").label(1, "at=inventory").start().await;
    let fault = lattice.try_apply(1, &manifests::pinned_shop()).await.unwrap_err();
    assert!(fault.message.contains("at=pricing") && fault.message.contains("pricing"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_fails_leaves_the_other_apps_alone() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    let manifest = manifests::misfit_with("placement = { require = [\"tier=moon\"] }");
    lattice.try_apply(0, &manifest).await.unwrap_err();
    assert_eq!(lattice.actor(1, "greeter").await.ready, 2);
    lattice.call(1, "greeter", "hello", json!("Ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missing_may_come_later() {
    let mut lattice = Lattice::start(2).await;
    let manifest = manifests::greeter_with("placement = { require = [\"tier=moon\"] }");
    let refused = lattice.try_apply(0, &manifest).await.is_err();
    assert!(refused);
    let node = lattice.add_node("moon", &["tier=moon"]).await;
    // Whether the first declaration was kept or refused, declaring it again must now come true.
    lattice.try_apply(node, &manifest).await.unwrap();
    assert_eq!(lattice.placements(0, "greeter").await, [("moon".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_another_app_owns_is_refused() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    let other = manifests::greeter(1).replacen("name = \"greeter\"", "name = \"impostor\"", 1);
    let fault = lattice.try_apply(0, &other).await.unwrap_err();
    assert!(fault.kind.is_some() && fault.message.contains("greeter"), "{fault}");
    assert_eq!(lattice.actor(0, "greeter").await.app, "greeter");
}
