//! A generic gRPC client that knows nothing but server reflection drives a lattice.

use std::time::Duration;

use lattice_tests::{Lattice, manifests, python};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_knows_only_reflection_scales_an_actor() {
    let Some(python) = python::interpreter("a_client_that_knows_only_reflection_scales_an_actor").await
    else {
        return;
    };
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(6)).await;
    let admin = lattice.nodes[1].ready().admin.trim_start_matches("http://").to_owned();
    for (replicas, spread) in [(9, &[3, 3, 3][..]), (1, &[1][..])] {
        let request = format!("{{\"actor\": \"greeter\", \"replicas\": {replicas}}}");
        python::run(&python, "grpc_call.py", &[&admin, "Scale", &request]).await;
        lattice.wait_for_spread(2, "greeter", spread, Duration::from_secs(30)).await;
        let said = python::run(&python, "grpc_call.py", &[&admin, "ListActors", "{}"]).await;
        let listed: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(listed["actors"][0]["ready"], replicas, "{listed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_health_service_answers() {
    let Some(python) = python::interpreter("the_standard_health_service_answers").await else { return };
    let lattice = Lattice::start(1).await;
    let admin = lattice.nodes[0].ready().admin.trim_start_matches("http://").to_owned();
    let said = python::run(&python, "grpc_call.py", &[&admin, "grpc.health.v1.Health/Check", "{}"]).await;
    assert!(said.contains("SERVING"), "{said}");
}
