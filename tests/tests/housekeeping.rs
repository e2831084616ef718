//! What nobody needs any more is taken away, and what somebody needs is not; a whole lattice can be put aside and brought
//! back.

use std::time::Duration;

use lattice_proto::Digest;
use lattice_proto::admin::FindArtifactsRequest;
use lattice_tests::{Lattice, artifacts, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

/// A lattice that keeps what nobody needs for this long.
async fn lattice(nodes: usize, grace: &str) -> (Lattice, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    std::fs::write(&config, format!("artifact_grace = \"{grace}\"\n")).unwrap();
    let builder = Lattice::builder(nodes).arg("--config").arg(config.to_str().unwrap());
    (builder.start().await, folder)
}

async fn has(lattice: &Lattice, digest: &Digest) -> bool {
    let request = FindArtifactsRequest { digests: vec![digest.to_string()] };
    !lattice.admin(0).find_artifacts(request).await.unwrap().into_inner().digests.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_that_no_revision_names_is_taken_away_and_one_that_is_named_stays() {
    let (lattice, _folder) = lattice(2, "400ms").await;
    let named =
        artifacts::put(&mut lattice.admin(0), artifacts::variant("storefront.wasm", 1)).await.unwrap();
    lattice.apply(&manifests::shop(1, named.as_str())).await;
    // A later revision is made of something else; the earlier one is kept, and with it what it names.
    lattice.apply(&manifests::shop(1, "storefront.wasm")).await;
    let nobodys =
        artifacts::put(&mut lattice.admin(1), artifacts::variant("storefront.wasm", 2)).await.unwrap();
    let observe = async || has(&lattice, &nobodys).await;
    wait_until("what nobody needs is gone", LATEST, observe, |there| !there).await;
    assert!(has(&lattice, &named).await, "an earlier revision names it");
    lattice.roll_back(0, "shop", Some(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declared_in_the_moment_of_its_collection_runs_all_the_same() {
    let (lattice, _folder) = lattice(2, "150ms").await;
    let (mut random, mut runs) = (fastrand::Rng::with_seed(3), 0);
    // Each compiles an artifact of its own on both nodes.
    let marks = if std::env::var_os("LATTICE_SOAK").is_some() { 100 } else { 20 };
    for mark in 0..marks {
        let bytes = artifacts::variant("greeter.wasm", mark);
        let digest = artifacts::put(&mut lattice.admin(0), bytes).await.unwrap();
        // How close it comes to its collection is what is tried, so here time itself is meant.
        tokio::time::sleep(Duration::from_millis(random.u64(100..300))).await;
        let manifest = manifests::greeter(2).replace("greeter.wasm", digest.as_str());
        match lattice.try_apply(0, &manifest).await {
            Ok(_) => {
                assert!(has(&lattice, &digest).await, "it runs, so it must be there");
                runs += 1;
            }
            // It was gone before it was asked for, and whoever asked was told so.
            Err(fault) => assert_eq!(fault.kind(), "invalid-artifact", "{fault}"),
        }
    }
    say(&format!("measured: {runs} of {marks} were there still"));
    assert!(runs > 0, "each of them was gone before it was asked for, so nothing was tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_servers_folder_brings_everything_back() {
    let mut lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(4)).await;
    lattice.apply(&manifests::shop(1, "storefront.wasm")).await;
    // As the documents say: stop the server, copy its folder, start it again.
    let kept = tempfile::tempdir().unwrap();
    lattice.nats.stop().await;
    let store = lattice.nats.folder().join("store");
    copy(&store, kept.path());
    lattice.nats.restart().await;
    lattice.wait_until_joined(LATEST).await;
    lattice.delete(0, "greeter").await.unwrap();
    lattice.scale(0, "storefront", 3).await.unwrap();

    for node in &mut lattice.nodes {
        node.kill();
    }
    lattice.nats.stop().await;
    lattice.nats.lose_data();
    copy(kept.path(), &store);
    lattice.nats.restart().await;
    for node in 0..2 {
        // Nothing that a node kept itself helps it.
        std::fs::remove_dir_all(lattice.nodes[node].settings().folder.join("data")).unwrap();
        lattice.restart_node(node).await;
    }
    lattice.wait_until_joined(LATEST).await;
    lattice.wait_for_spread(0, "greeter", &[2, 2], LATEST).await;
    lattice.wait_for_spread(1, "storefront", &[1], LATEST).await;
    assert_eq!(lattice.call(1, "greeter", "hello", json!("Ada")).await.unwrap(), json!("Hello, Ada!"));
    assert_eq!(lattice.history(0, "greeter").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_run_on_follow_a_copy_that_is_older_than_what_they_know() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(3)).await;
    let kept = tempfile::tempdir().unwrap();
    lattice.nats.stop().await;
    let store = lattice.nats.folder().join("store");
    copy(&store, kept.path());
    lattice.nats.restart().await;
    lattice.wait_until_joined(LATEST).await;
    // Each new leader begins a later term, which the copy knows nothing of.
    lattice.replace_leaders(3, LATEST).await;
    lattice.nats.stop().await;
    lattice.nats.lose_data();
    copy(kept.path(), &store);
    lattice.nats.restart().await;
    lattice.wait_until_joined(LATEST).await;
    lattice.scale(1, "greeter", 6).await.unwrap();
    lattice.wait_for_spread(0, "greeter", &[2, 2, 2], LATEST).await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(std::fs::copy(entry.path(), place).unwrap()),
        }
    }
}
