//! R6: one trace per call tree, over several processes.

use std::time::Duration;

use lattice_tests::otlp::{Receiver, Tree};
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;

/// What tells one node's spans from another's.
const PROCESS: &str = "service.instance.id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_three_processes_is_one_tree_with_one_root() {
    let receiver = Receiver::start().await;
    let mut builder =
        Lattice::builder(3).label(0, "at=storefront").label(1, "at=inventory").label(2, "at=pricing");
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let lattice = builder.start().await;
    lattice.apply(&manifests::pinned_shop()).await;

    for node in 0..3 {
        let arguments = json!({ "sku": "tea", "quantity": 2 });
        let (quote, trace) = lattice.call_traced(node, "storefront", "quote", arguments).await;
        assert_eq!((&quote["sku"], &quote["quantity"]), (&json!("tea"), &json!(2)), "{quote}");

        let observe = async || Tree::of(&receiver.trace(&trace));
        let complete =
            |seen: &Result<Tree, String>| matches!(seen, Ok(tree) if tree.processes(PROCESS).len() == 3);
        wait_until("one tree over three processes", Duration::from_secs(20), observe, complete).await;
        let tree = Tree::of(&receiver.trace(&trace)).unwrap();
        say(&format!("the call through node {node}:\n{tree}"));
    }
}
