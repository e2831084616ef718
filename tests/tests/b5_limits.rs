//! B5: what is over a limit is refused with the limit and the size.

use lattice_proto::Ran;
use lattice_tests::{Lattice, manifests};
use serde_json::json;

const SMALL: &str = "limits = { payload = \"4KiB\" }\nplacement = { require = [\"at=misfit\"] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_over_the_limit_names_both() {
    let lattice = Lattice::builder(2).label(1, "at=misfit").start().await;
    lattice.apply(&manifests::misfit_with(SMALL)).await;
    for node in 0..2 {
        let text = "x".repeat(5_000);
        let fault = lattice.call(node, "misfit", "echo", json!(text)).await.unwrap_err();
        assert_eq!((fault.kind(), fault.ran), ("too-large", Ran::No), "{fault}");
        assert!(fault.message.contains("4096") && fault.message.contains("5002"), "{fault}");

        let fault = lattice.call(node, "misfit", "big_reply", json!(5_000)).await.unwrap_err();
        assert_eq!((fault.kind(), fault.ran), ("too-large", Ran::Yes), "{fault}");
        assert!(fault.message.contains("4096") && fault.message.contains("5002"), "{fault}");

        let fits = lattice.call(node, "misfit", "echo", json!("x".repeat(4_000))).await.unwrap();
        assert_eq!(fits.as_str().map(str::len), Some(4_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_pass_where_the_manifest_allows_them() {
    let lattice = Lattice::builder(2).label(1, "at=misfit").start().await;
    let settings = SMALL.replace("4KiB", "7MiB");
    lattice.apply(&manifests::misfit_with(&settings)).await;
    let text = "x".repeat(6 << 20);
    for node in 0..2 {
        let back = lattice.call(node, "misfit", "echo", json!(text)).await.unwrap();
        assert_eq!(back.as_str().map(str::len), Some(text.len()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_asks_for_more_than_nats_carries_is_refused() {
    let lattice = Lattice::start(1).await;
    let fault =
        lattice.try_apply(0, &manifests::misfit_with("limits = { payload = \"8MiB\" }")).await.unwrap_err();
    let limit = (8_u64 << 20) - (64 << 10);
    assert!(fault.kind.is_some() && fault.message.contains("payload"), "{fault}");
    assert!(fault.message.contains(&limit.to_string()) || fault.message.contains("8128KiB"), "{fault}");
}
