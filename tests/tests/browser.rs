//! The page of a node in a real browser: what people do with it, and whether they can read it.

use std::path::Path;
use std::time::Duration;

use lattice_tests::browser::{self, pictures};
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(60);

/// Every picture is there, and holds something.
fn check(saw: &Value, folder: &Path) {
    let names = saw["pictures"].as_array().unwrap();
    for name in names {
        let picture = folder.join(format!("{}.png", name.as_str().unwrap()));
        let bytes = std::fs::metadata(&picture).map_or(0, |file| file.len());
        assert!(bytes > 10_000, "{}: {bytes} bytes", picture.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_clicked_through_and_read_by_day_and_night_on_desktops_and_phones() {
    let Some(python) = browser::program("the page in a browser").await else { return };
    // It has a server of its own, so that it may have a name that people can read in the picture.
    let lattice = Lattice::builder(3).id("high-street").start().await;
    lattice.apply(&manifests::shop(2, "storefront.wasm")).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    lattice.apply(&manifests::bank_with("")).await;
    lattice.call(0, "misfit", "trap", Value::Null).await.unwrap_err();
    let plan = Plan::greet(30, Duration::from_secs(600), &[0, 1, 2]);
    let load = lattice.load(&plan.on("storefront", "quote", json!({ "sku": "tea", "quantity": 1 })));
    let accounts = async {
        for turn in 0_u64.. {
            let (payer, payee) = (format!("account/{}", turn % 20), (turn + 1) % 20);
            let transfer = json!({ "to": payee.to_string(), "amount": 1, "id": format!("t{turn}") });
            // An account that has nothing yet refuses, which is an answer.
            let _ = lattice.call(2, &payer, "transfer", transfer).await;
            let _ = lattice.call(0, &payer, "deposit", json!(5)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let folder = pictures();
    let admin = lattice.nodes[1].ready().admin.clone();
    let saw = tokio::select! {
        () = accounts => unreachable!(),
        saw = browser::walk(&python, "small", &admin, &folder) => saw,
    };
    load.stop().await;
    check(&saw, &folder);
    assert!(saw["pictures"].as_array().unwrap().len() >= 21, "{saw}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_with_five_hundred_actors_are_shown_at_once() {
    let Some(python) = browser::program("a large lattice in a browser").await else { return };
    let lattice = Lattice::start(50).await;
    for app in 0..5 {
        let mut manifest = format!("[app]\nname = \"app-{app}\"\n");
        for actor in 0..100 {
            let name = format!("actor-{app}-{actor}");
            manifest += &format!("\n[actors.{name}]\nartifact = \"greeter.wasm\"\nreplicas = 1\n");
        }
        lattice.apply(&manifest).await;
    }
    let ready = async || lattice.actors(0).await.unwrap().iter().filter(|actor| actor.ready == 1).count();
    wait_until("all actors", LATEST, ready, |ready| *ready == 500).await;
    let calls = async {
        for turn in 0_usize.. {
            let target = format!("actor-{}-{}", turn % 5, turn / 5 % 20);
            // On two cores one of them may come late.
            let _ = lattice.call(turn % 50, &target, "hello", json!("x")).await;
        }
    };
    let folder = pictures();
    let admin = lattice.nodes[7].ready().admin.clone();
    let saw = tokio::select! {
        () = calls => unreachable!(),
        saw = browser::walk(&python, "large", &admin, &folder) => saw,
    };
    say(&format!("measured: 50 nodes, 500 actors: {saw}"));
    check(&saw, &folder);
    // Three times what is promised: this machine is busy with all of those nodes.
    assert!(saw["update_ms"].as_f64().unwrap() < 600.0, "{saw}");
}
