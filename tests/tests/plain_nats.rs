//! Programs that know nothing of Lattice call actors by plain NATS request and reply.

use std::time::Duration;

use async_nats::Message;
use lattice_tests::{Lattice, manifests, python};
use serde_json::{Value, json};

const ERROR: &str = "Nats-Service-Error";
const CODE: &str = "Nats-Service-Error-Code";
const FAULT: &str = "Lattice-Fault";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_client_calls_an_actor() {
    let lattice = Lattice::builder(2).label(1, "at=greeter").start().await;
    lattice.apply(&manifests::greeter_with("placement = { require = [\"at=greeter\"] }")).await;
    // Any node takes it, and either is asked sooner or later.
    for _ in 0..20 {
        for payload in ["{\"name\": \"Ada\"}", "\"Ada\""] {
            let reply = request(&lattice, "greeter.hello", payload).await;
            let text: String = serde_json::from_slice(&reply.payload).unwrap_or_else(|_| panic!("{reply:?}"));
            assert!(text.contains("Ada"), "{text}");
            assert_eq!(reply.headers.as_ref().and_then(|headers| headers.get(ERROR)), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_come_in_the_headers_of_nats_services() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    lattice.apply(&manifests::misfit_with("")).await;
    let table = [
        ("nobody.hello", "\"Ada\"", "no-such-actor"),
        ("greeter.helo", "\"Ada\"", "no-such-operation"),
        ("greeter.hello", "{{{", "malformed"),
        ("greeter.hello.and.more.tokens", "\"Ada\"", "malformed"),
        // It did not opt in.
        ("misfit.echo", "\"Ada\"", "denied"),
    ];
    for (subject, payload, kind) in table {
        let reply = request(&lattice, subject, payload).await;
        let headers = reply.headers.unwrap_or_else(|| panic!("{subject}: no headers"));
        assert!(headers.get(ERROR).is_some_and(|error| !error.as_str().is_empty()), "{subject}: {headers:?}");
        assert_eq!(headers.get(FAULT).map(|fault| fault.as_str()), Some(kind), "{subject}: {headers:?}");
        let code: u16 = headers.get(CODE).unwrap().as_str().parse().unwrap();
        assert!((400..600).contains(&code), "{subject}: {code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_client_calls_an_actor() {
    let Some(python) = python::interpreter("a_python_client_calls_an_actor").await else { return };
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    let subject = format!("lat.{}.call.greeter.hello", lattice.id());
    let said =
        python::run(&python, "call.py", &[&lattice.nats.url(), &subject, "{\"name\": \"Grace\"}"]).await;
    let reply: Value = serde_json::from_str(&said).unwrap();
    assert!(reply["payload"].as_str().unwrap().contains("Grace"), "{reply}");
    assert_eq!(reply["error"], json!(null));
    let unknown = format!("lat.{}.call.nobody.hello", lattice.id());
    let said = python::run(&python, "call.py", &[&lattice.nats.url(), &unknown, "{}"]).await;
    let reply: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(reply["kind"], "no-such-actor", "{reply}");
    assert!(reply["error"].as_str().unwrap().contains("nobody"), "{reply}");
}

async fn request(lattice: &Lattice, subject: &str, payload: &str) -> Message {
    let client = lattice.nats.client().await;
    let subject = format!("lat.{}.call.{subject}", lattice.id());
    let reply = client.request(subject.clone(), payload.to_owned().into());
    let reply = tokio::time::timeout(Duration::from_secs(10), reply).await;
    reply
        .unwrap_or_else(|_| panic!("{subject}: no reply"))
        .unwrap_or_else(|error| panic!("{subject}: {error}"))
}
