//! `examples/orders` as its README says: a component is asked by its own interface, and a message reaches who subscribes.

use std::time::Duration;

use lattice_tests::cli::lattice;
use lattice_tests::{Lattice, wait_for};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_priced_by_another_component_and_told_to_who_subscribes() {
    let mesh = Lattice::start(2).await;
    mesh.apply(include_str!("../../examples/orders/lattice.toml")).await;
    let order = mesh.call(1, "desk", "order", json!({ "sku": "tea", "amount": 3 })).await.unwrap();
    assert_eq!((&order["sku"], &order["cents"]), (&json!("tea"), &json!(1_350)), "{order}");
    let fault = mesh.call(0, "desk", "order", json!({ "sku": "moon", "amount": 1 })).await.unwrap_err();
    assert!(fault.message.contains("nobody sells `moon`"), "{fault}");
    // A name that no parameter has, told as such.
    let fault = mesh.call(0, "desk", "order", json!({ "sku": "tea", "amuont": 1 })).await.unwrap_err();
    assert!(fault.message.contains("unknown argument `amuont`"), "{fault}");

    let admin = &mesh.nodes[0].ready().admin;
    let lines = async || {
        let lines = lattice(admin, &["-o", "json", "logs", "mailer"]).await.json();
        let texts = lines.as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap().to_owned());
        texts.collect::<Vec<String>>()
    };
    let told = wait_for("the mailer has heard", LATEST, lines, |lines| !lines.is_empty()).await;
    assert_eq!(told, ["3 of tea for 13.50 were ordered"]);

    // What it cannot read is no use to try again, and is told in its own log.
    let published = lattice(admin, &["publish", "orders.created", "\"no order\""]).await;
    assert_eq!(published.code, 0, "{published:?}");
    assert!(!published.stderr.contains("nobody"), "{}", published.stderr);
    let given_up = |lines: &Vec<String>| lines.iter().any(|line| line.contains("a letter was given up"));
    let lines = wait_for("it is given up", LATEST, lines, given_up).await;
    assert!(lines.iter().any(|line| line.contains("topic=orders.created")), "{lines:?}");
    let letters = lattice(admin, &["-o", "json", "dead-letters"]).await.json();
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");

    // A topic of nobody's is said to be one.
    let published = lattice(admin, &["publish", "returns.created", "{}"]).await;
    assert_eq!(published.code, 0, "{published:?}");
    assert!(published.stderr.contains("nobody subscribes to `returns.created`"), "{}", published.stderr);
    let unknown = lattice(admin, &["logs", "mialer"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.contains("no actor `mialer`"), "{unknown:?}");
}
