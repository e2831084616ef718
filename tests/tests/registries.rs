//! Artifacts from registries: pushed to a real one, got by the node that takes the manifest, and by nobody after that. What is not
//! allowed, not admitted or not what it says is refused, and leaves nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lattice_proto::Digest;
use lattice_tests::cli::{self, Said};
use lattice_tests::registry::hostile::Hostile;
use lattice_tests::registry::{self, LOGIN, Registry};
use lattice_tests::upstream::Upstream;
use lattice_tests::{Fault, Lattice, artifacts, wait_until};
use serde_json::json;
use tempfile::TempDir;

use crate::admin_security::authority::Authority;

/// An app of one greeter with this artifact, a replica on each node.
fn app(artifact: &str) -> String {
    format!(
        "[app]\nname = \"greeter\"\n\n[actors.greeter]\nartifact = \"{artifact}\"\nreplicas = \"each\"\n\
         update = {{ observe = \"100ms\" }}\n"
    )
}

/// A node of its own file, with this table `[registries]`.
async fn node(table: &str) -> (Lattice, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), table);
    (Lattice::builder(1).arg("--config").arg(&file).start().await, folder)
}

fn config(folder: &Path, table: &str) -> String {
    let file = folder.join("node.toml");
    std::fs::write(&file, format!("[registries]\n{table}\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

fn allow(address: &str) -> String {
    format!("allow = [\"{address}\"]\ninsecure = [\"{address}\"]\n")
}

/// `lattice push` of this component, by somebody whom no registry knows.
async fn push(component: &[u8], reference: &str) -> Said {
    let folder = tempfile::tempdir().unwrap();
    push_as(folder.path(), component, reference).await
}

/// The same with the credentials in a folder.
async fn push_as(docker: &Path, component: &[u8], reference: &str) -> Said {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("it.wasm"), component).unwrap();
    let variables = [("DOCKER_CONFIG", docker.to_str().unwrap())];
    cli::alone(folder.path(), &variables, &["push", "it.wasm", reference, "--insecure", "-o", "json"]).await
}

/// What nobody is to read: the password of the tests, also as it is sent, and the token that it is changed for.
fn tells_no_secret(text: &str) -> bool {
    ["secret", "YWRhOnNlY3JldA", "Bearer good"].iter().all(|secret| !text.contains(secret))
}

/// The pinned reference of what was pushed.
fn pinned(said: &Said) -> String {
    assert_eq!(said.code, 0, "{said:?}");
    said.json()["reference"].as_str().unwrap().to_owned()
}

/// A refusal, and that nothing came of it.
async fn refused(lattice: &Lattice, artifact: &str) -> Fault {
    let fault = lattice.try_apply(0, &app(artifact)).await.expect_err(artifact);
    assert!(fault.kind.is_some(), "{artifact}: untyped: {fault}");
    assert_eq!(lattice.actors(0).await.unwrap(), [], "{artifact}: half of it was applied");
    fault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_pushed_runs_on_nodes_that_ask_no_registry() {
    let Some(program) = registry::program("what_was_pushed_runs").await else { return };
    let mut registry = Registry::start(&program).await;
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), &allow(&registry.address));
    let lattice = Lattice::builder(2).arg_of(0, "--config").arg_of(0, &file).start().await;
    let (first, second) = (artifacts::variant("greeter.wasm", 1), artifacts::variant("greeter.wasm", 2));
    let tag = registry.at("acme/greeter:1.2");

    let said = push(&first, &tag).await;
    let pin = pinned(&said);
    let view = said.json();
    assert_eq!(view["digest"], json!(Digest::of(&first)));
    assert_eq!((&view["size"], &view["media_type"]), (&json!(first.len()), &json!("application/wasm")));
    assert!(pin.starts_with(&format!("{tag}@sha256:")), "{pin}");
    assert_eq!(pinned(&push(&first, &tag).await), pin, "the same component is the same artifact");
    let pull = ["pull", &tag, "--to", "got.wasm", "--insecure"];
    let variables = [("DOCKER_CONFIG", folder.path().to_str().unwrap())];
    let said = cli::alone(folder.path(), &variables, &pull).await;
    assert!(said.code == 0 && said.stdout.contains("got.wasm"), "{said:?}");
    assert_eq!(std::fs::read(folder.path().join("got.wasm")).unwrap(), first);

    // A node whose operator names no registry asks none, whatever it is told.
    let fault = lattice.try_apply(1, &app(&tag)).await.unwrap_err();
    assert_eq!(fault.kind(), "denied", "{fault}");
    let line = format!("`allow = [\"{}\"]` in the table `[registries]`", registry.address);
    assert!(fault.message.contains(&line) && fault.message.contains("--config FILE"), "{fault}");

    let applied = lattice.begin_apply(0, &app(&tag)).await.unwrap();
    assert!(applied.changes[0].contains("acme/greeter:1.2@sha256:"), "{:?}", applied.changes);
    lattice.finish(0, applied.clone()).await.unwrap();
    for via in [0, 1] {
        let said = lattice.call(via, "greeter", "hello", json!({ "name": "Ada" })).await.unwrap();
        assert_eq!(said, "Hello, Ada!");
    }
    lattice.wait_for_spread(0, "greeter", &[1, 1], Duration::from_secs(30)).await;
    let again = lattice.begin_apply(0, &app(&tag)).await.unwrap();
    assert_eq!((again.revision, again.changes.len()), (applied.revision, 0));

    // The tag moves, which nobody sees until the manifest is applied again.
    let moved = pinned(&push(&second, &tag).await);
    let changes = lattice.dry_run(0, &app(&tag)).await;
    assert!(changes.len() == 1 && changes[0].contains(&moved[moved.len() - 64..][..12]), "{changes:?}");
    let updated = lattice.apply(&app(&tag)).await;
    assert_eq!(updated.revision, applied.revision + 1);
    // What is pinned is what it was.
    let back = lattice.apply(&app(&pin)).await;
    assert_eq!(back.revision, updated.revision + 1);
    let history = lattice.history(1, "greeter").await;
    let from: Vec<&str> = history.iter().map(|revision| revision.actors[0].from.as_str()).collect();
    assert_eq!(from, [pin.as_str(), moved.as_str(), pin.as_str()]);
    let bytes: Vec<&str> = history.iter().map(|revision| revision.actors[0].artifact.as_str()).collect();
    let wanted = [&first, &second, &first].map(|bytes| Digest::of(bytes).to_string());
    assert_eq!(bytes, wanted);

    // From here on there is no registry any more.
    registry.stop();
    let rolled = lattice.roll_back(1, "greeter", Some(updated.revision)).await.unwrap();
    assert_eq!(rolled.error, "");
    for via in [0, 1] {
        lattice.call(via, "greeter", "hello", json!({ "name": "Ada" })).await.unwrap();
    }
    let last = lattice.history(0, "greeter").await.pop().unwrap();
    assert_eq!(
        (last.actors[0].artifact.as_str(), last.actors[0].from.as_str()),
        (wanted[1].as_str(), moved.as_str())
    );
    let fault = lattice.try_apply(0, &app(&tag)).await.unwrap_err();
    assert_eq!(fault.kind(), "unavailable", "{fault}");
    assert!(fault.message.contains("cannot be reached"), "{fault}");
    assert_eq!(lattice.history(0, "greeter").await.len(), 4);
    let said = push(&first, &tag).await;
    assert_eq!(said.error()["kind"], "unreachable", "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_a_password_lets_in_who_knows_it() {
    let Some(program) = registry::program("a_registry_with_a_password").await else { return };
    let registry = Registry::start_closed(&program).await;
    let component = artifacts::bytes("greeter.wasm");
    let (docker, tag) = (registry.folder().join("docker"), registry.at("greeter:1"));
    std::fs::create_dir(&docker).unwrap();
    let credentials = docker.join("config.json");

    let said = push_as(&docker, &component, &tag).await;
    assert_eq!(said.error()["kind"], "unauthorized", "{said:?}");
    assert!(said.stderr.contains("wants credentials") && said.stderr.contains("docker login"), "{said:?}");
    std::fs::write(&credentials, registry.docker_config("wrong")).unwrap();
    let said = push_as(&docker, &component, &tag).await;
    assert!(said.stderr.contains("does not accept the credentials"), "{said:?}");
    std::fs::write(&credentials, registry.docker_config(LOGIN.1)).unwrap();
    let said = push_as(&docker, &component, &tag).await;
    pinned(&said);
    assert!(tells_no_secret(&said.stdout) && tells_no_secret(&said.stderr), "{said:?}");

    let (open, _folder) = node(&allow(&registry.address)).await;
    let fault = refused(&open, &tag).await;
    assert!(fault.kind() == "denied" && fault.message.contains("wants credentials"), "{fault}");
    assert!(fault.message.contains("`credentials = "), "{fault}");

    // The file may come and change while the node runs.
    let file = registry.folder().join("node-credentials.json");
    let table = format!("{}credentials = \"{}\"", allow(&registry.address), file.display());
    let (lattice, _folder) = node(&table).await;
    let fault = refused(&lattice, &tag).await;
    assert!(
        fault.message.contains("registries.credentials") && fault.message.contains("cannot be read"),
        "{fault}"
    );
    std::fs::write(&file, "{\"credsStore\":\"desktop\"}").unwrap();
    let fault = refused(&lattice, &tag).await;
    assert!(fault.message.contains("docker-credential-desktop"), "{fault}");
    std::fs::write(&file, registry.docker_config("wrong")).unwrap();
    let fault = refused(&lattice, &tag).await;
    assert!(fault.message.contains("does not accept") && !fault.message.contains("wrong"), "{fault}");
    std::fs::write(&file, registry.docker_config(LOGIN.1)).unwrap();
    lattice.apply(&app(&tag)).await;
    lattice.call(0, "greeter", "hello", json!({ "name": "Ada" })).await.unwrap();
    assert!(tells_no_secret(&lattice.nodes[0].output()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_of_a_private_authority_is_trusted_where_that_is_named() {
    let Some(program) = registry::program("a_registry_of_a_private_authority").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let (certificate, key) = authority.sign("registry");
    let registry = Registry::start_secure(&program, (&certificate, &key)).await;
    let plain = Registry::start(&program).await;
    let file = folder.path().join("it.wasm");
    std::fs::copy(artifacts::file("greeter.wasm"), &file).unwrap();
    let variables = [("DOCKER_CONFIG", folder.path().to_str().unwrap())];
    let (tag, ca) = (registry.at("greeter:1"), authority.file());
    let push = async |to: &str, more: &[&str]| {
        let words = [&["push", "it.wasm", to, "-o", "json"], more].concat();
        cli::alone(folder.path(), &variables, &words).await
    };
    let said = push(&tag, &[]).await;
    assert!(said.error()["kind"] == "tls" && said.stderr.contains("--ca FILE"), "{said:?}");
    let said = push(&tag, &["--insecure"]).await;
    assert!(said.stderr.contains("leave --insecure out"), "{said:?}");
    let said = push(&plain.at("greeter:1"), &[]).await;
    assert!(said.stderr.contains("does not speak TLS; give --insecure"), "{said:?}");
    pinned(&push(&tag, &["--ca", &ca]).await);

    let allow = format!("allow = [\"{}\", \"{}\"]\n", registry.address, plain.address);
    let (stranger, _folder) = node(&allow).await;
    let fault = refused(&stranger, &tag).await;
    assert!(fault.message.contains("TLS with") && fault.message.contains("`ca = "), "{fault}");
    let fault = refused(&stranger, &plain.at("greeter:1")).await;
    assert!(fault.message.contains("does not speak TLS") && fault.message.contains("`insecure`"), "{fault}");
    let (lattice, _folder) = node(&format!("{allow}ca = \"{ca}\"")).await;
    lattice.apply(&app(&tag)).await;
    lattice.call(0, "greeter", "hello", json!({ "name": "Ada" })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_of_the_operators_does_not_admit_is_not_taken() {
    let Some(program) = registry::program("what_a_program_does_not_admit").await else { return };
    let registry = Registry::start(&program).await;
    let component = artifacts::bytes("greeter.wasm");
    let pin = pinned(&push(&component, &registry.at("greeter:1")).await);
    let (folder, hook) = (registry.folder(), registry.folder().join("hook"));
    // It stands for `cosign verify --key KEY REFERENCE`: it admits what is in its list.
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --list ] || exit 9\necho \"$3\" >> {0}/asked\n\
         grep -q \"^$3$\" \"$2\" || {{ echo \"no signature found\" >&2; exit 1; }}\n",
        folder.display()
    );
    std::fs::write(&hook, text).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let list = folder.join("list");
    std::fs::write(&list, "").unwrap();
    let verify = format!("verify = [\"{}\", \"--list\", \"{}\"]", hook.display(), list.display());
    let (lattice, _folder) = node(&format!("{}{verify}", allow(&registry.address))).await;

    let fault = refused(&lattice, &registry.at("greeter:1")).await;
    assert!(fault.kind() == "denied" && fault.message.contains("no signature found"), "{fault}");
    let held = |digest: Digest| {
        let mut admin = lattice.admin(0);
        async move {
            let request = lattice_proto::admin::FindArtifactsRequest { digests: vec![digest.to_string()] };
            admin.find_artifacts(request).await.unwrap().into_inner().digests.len()
        }
    };
    assert_eq!(held(Digest::of(&component)).await, 0, "nothing of it was stored");
    let signed = format!("{}/greeter@{}", registry.address, &pin[pin.len() - 71..]);
    std::fs::write(&list, &signed).unwrap();
    lattice.apply(&app(&registry.at("greeter:1"))).await;
    lattice.call(0, "greeter", "hello", json!({ "name": "Ada" })).await.unwrap();
    let asked = std::fs::read_to_string(folder.join("asked")).unwrap();
    assert_eq!(asked.lines().collect::<Vec<_>>(), [signed.as_str(), signed.as_str()]);
    // What was admitted once is not admitted for ever.
    std::fs::write(&list, "").unwrap();
    let fault = lattice.try_apply(0, &app(&pin)).await.unwrap_err();
    assert_eq!(fault.kind(), "denied", "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_lies_or_never_ends_costs_nothing() {
    let (elsewhere, beside) = (Upstream::start().await, Upstream::start().await);
    let component = artifacts::bytes("greeter.wasm");
    let (inside, named) = (elsewhere.address.to_string(), beside.address.to_string());
    let hostile = Hostile::start(component.clone(), &inside, &named).await;
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("config.json");
    let login = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"YWRhOnNlY3JldA==\"}}}}}}", hostile.address);
    std::fs::write(&credentials, login).unwrap();
    let table = format!(
        "allow = [\"{0}\"]\ninsecure = [\"{0}\", \"{named}\"]\ncredentials = \"{1}\"",
        hostile.address,
        credentials.display()
    );
    let (lattice, _folder) = node(&table).await;
    let at = |lie: &str| format!("oci://{}/{lie}:1", hostile.address);
    let before = lattice.nodes[0].resident_bytes();

    let other = Digest::of(b"another manifest");
    let pinned = format!("oci://{}/other-manifest@{other}", hostile.address);
    let leads = format!("leads to {inside}, which has no address to which a registry may lead; ");
    let table: [(&str, &str, &[&str]); 15] = [
        (
            &at("other-bytes"),
            "invalid-artifact",
            &["the component was to be sha256:", "and", "sends sha256:"],
        ),
        (&pinned, "invalid-artifact", &["the manifest was to be", other.as_str(), "sends sha256:"]),
        (&at("huge"), "too-large", &["524288000 bytes", "nothing of it was fetched"]),
        (&at("endless"), "invalid-artifact", &["sends more than 1048576 bytes of a component"]),
        (&at("endless-manifest"), "invalid-artifact", &["sends more than 1048576 bytes of a manifest"]),
        (&at("two"), "invalid-artifact", &["has 2"]),
        (&at("picture"), "invalid-artifact", &["image/png"]),
        (&at("astray"), "invalid-artifact", &["leads to 169.254.169.254"]),
        (&at("circle"), "invalid-artifact", &["leads on and on"]),
        (&at("greedy"), "invalid-artifact", &["leads to 127.0.0.1"]),
        (&at("inside"), "invalid-artifact", &[&leads, "`elsewhere`"]),
        (&at("greedy-inside"), "invalid-artifact", &[&leads]),
        (&at("led"), "invalid-artifact", &["the component was to be sha256:"]),
        (&at("odd-token"), "invalid-artifact", &["a token"]),
        ("oci://127.0.0.1:1/other:1", "denied", &["this node gets nothing from there"]),
    ];
    for (artifact, kind, words) in table {
        let asked = hostile.blobs();
        let fault = refused(&lattice, artifact).await;
        assert_eq!(fault.kind(), kind, "{artifact}: {fault}");
        for word in words {
            assert!(fault.message.contains(word), "{artifact}: `{word}` is missing in: {fault}");
        }
        if kind == "too-large" {
            assert_eq!(hostile.blobs(), asked, "nothing of it may be asked for");
        }
    }
    assert_eq!(elsewhere.connections(), 0, "somebody was asked whom the operator did not name");
    // A host that the operator named is asked, and shown nothing that is for the registry.
    let seen = beside.seen();
    assert!(seen.len() == 1 && !seen[0].headers.contains_key("authorization"), "{seen:?}");
    // What it could get rid of is what fits into the buffers of a connection.
    assert!(hostile.sent() < 32 << 20, "it sent {} bytes", hostile.sent());
    assert_eq!(lattice.actors(0).await.unwrap(), []);
    let grown = lattice.nodes[0].resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "the node has grown by {grown} bytes");

    // The same server, when it says the truth.
    lattice.apply(&app(&at("honest"))).await;
    lattice.call(0, "greeter", "hello", json!({ "name": "Ada" })).await.unwrap();
    lattice.delete(0, "greeter").await.unwrap();
    lattice.apply(&app(&at("bearer"))).await;
    let told = async || lattice.nodes[0].output();
    wait_until("refusals are in the log", Duration::from_secs(5), told, |log| {
        log.contains("an artifact is not taken from a registry") && tells_no_secret(log)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_component_or_too_large_is_not_pushed() {
    let server = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let large = std::fs::File::create(folder.path().join("large.wasm")).unwrap();
    large.set_len(500 << 20).unwrap();
    std::fs::write(folder.path().join("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(folder.path().join("text.wasm"), b"hello").unwrap();
    let reference = format!("oci://{}/it:1", server.address);
    let variables = [("DOCKER_CONFIG", folder.path().to_str().unwrap())];
    for (file, kind, words) in [
        ("large.wasm", "too-large", "524288000 bytes"),
        ("module.wasm", "invalid-artifact", "core module"),
        ("text.wasm", "invalid-artifact", "no Wasm component"),
        ("none.wasm", "no-artifact", "lattice build"),
    ] {
        let words_of = ["push", file, &reference, "--insecure", "-o", "json"];
        let said = cli::alone(folder.path(), &variables, &words_of).await;
        assert_eq!(said.error()["kind"], kind, "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
    let pinned = format!("{reference}@{}", Digest::of(b""));
    for (odd, words) in
        [(pinned.as_str(), "name a tag"), ("oci://host/it", "name the tag"), ("host/it:1", "oci://HOST")]
    {
        let said = cli::alone(folder.path(), &variables, &["push", "text.wasm", odd]).await;
        assert!(said.code == 2 && said.stderr.contains(words), "{said:?}");
    }
    assert_eq!(server.connections(), 0, "nothing was sent");
}
