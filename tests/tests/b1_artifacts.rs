//! B1: an artifact that cannot run is refused at deploy, with what is wrong and where.

use std::collections::HashMap;

use lattice_proto::admin::ApplyRequest;
use lattice_tests::{Fault, Lattice, artifacts};

/// An actor, by its export's name, that imports something that no manifest can grant and no other actor answer.
const WITH_STRANGE_IMPORT: &str = r#"(component
    (import "strange:thing/door@1.0.0" (instance (export "key" (type (sub resource)))))
    (instance $handler)
    (export "lattice:actor/handler@0.1.0" (instance $handler))
)"#;

/// A component whose handler has no `handle`.
const WITH_EMPTY_HANDLER: &str = r#"(component
    (instance $handler)
    (export "lattice:actor/handler@0.1.0" (instance $handler))
)"#;

/// A component that exports something, but no handler.
const WITH_WRONG_EXPORT: &str = r#"(component
    (core module $m (func (export "f")))
    (core instance $i (instantiate $m))
    (func $f (canon lift (core func $i "f")))
    (export "run" (func $f))
)"#;

async fn deploy(lattice: &Lattice, bytes: Vec<u8>) -> Result<(), Fault> {
    let mut client = lattice.admin(0);
    let digest = artifacts::put(&mut client, bytes).await?;
    let request = ApplyRequest {
        manifest: "[app]\nname = \"odd\"\n[actors.odd]\nartifact = \"odd.wasm\"\n".to_owned(),
        file: "lattice.toml".to_owned(),
        artifacts: HashMap::from([("odd".to_owned(), digest.to_string())]),
        dry_run: false,
        if_revision: None,
        request_id: String::new(),
    };
    let started = client.apply(request).await?.into_inner();
    lattice.finish(0, started).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_is_refused_with_the_reason() {
    let lattice = Lattice::start(1).await;
    let table: [(&str, Vec<u8>, &[&str]); 6] = [
        ("a text file", b"hello, I am no program\n".to_vec(), &["component"]),
        ("an empty file", Vec::new(), &["component"]),
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), &["component", "module"]),
        ("the wrong export", wat::parse_str(WITH_WRONG_EXPORT).unwrap(), &["export", "handler"]),
        ("an empty handler", wat::parse_str(WITH_EMPTY_HANDLER).unwrap(), &["handle"]),
        ("a strange import", wat::parse_str(WITH_STRANGE_IMPORT).unwrap(), &["strange:thing/door"]),
    ];
    for (what, bytes, words) in table {
        let fault = deploy(&lattice, bytes).await.expect_err(what);
        assert!(fault.kind.is_some(), "{what}: untyped: {fault}");
        for word in words {
            assert!(fault.message.contains(word), "{what}: `{word}` is missing in: {fault}");
        }
        assert!(fault.message.contains("odd"), "{what}: the actor is not named: {fault}");
    }
    // Nothing of it stays.
    assert_eq!(lattice.actors(0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_cut_in_half_is_refused() {
    let lattice = Lattice::start(1).await;
    let mut bytes = artifacts::bytes("greeter.wasm");
    bytes.truncate(bytes.len() / 2);
    let fault = deploy(&lattice, bytes).await.unwrap_err();
    assert!(fault.kind.is_some(), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_do_not_match_their_digest_are_refused() {
    let lattice = Lattice::start(1).await;
    let digest = lattice_proto::Digest::of(b"something else").to_string();
    let mut client = lattice.admin(0);
    let fault = artifacts::put_as(&mut client, b"this".to_vec(), &digest).await.unwrap_err();
    assert!(fault.kind.is_some() && fault.message.contains("sha256:"), "{fault}");
    let fault = artifacts::put_as(&mut client, b"this".to_vec(), "md5:1234").await.unwrap_err();
    assert!(fault.kind.is_some(), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_that_was_never_handed_over_is_named() {
    let lattice = Lattice::start(1).await;
    let digest = lattice_proto::Digest::of(b"nobody has this");
    let manifest = format!("[app]\nname = \"odd\"\n[actors.odd]\nartifact = \"{digest}\"\n");
    let fault = lattice.try_apply(0, &manifest).await.unwrap_err();
    assert!(fault.kind.is_some() && fault.message.contains(digest.as_str()), "{fault}");
}
