//! NATS's own security: the accounts that `deploy/` ships, TLS, and credentials files.

use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use lattice_tests::lattice::start_and_fail;
use lattice_tests::nats::Special;
use lattice_tests::{Lattice, NatsServer, manifests, wait_until};
use nkeys::KeyPair;
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

/// The accounts as they are shipped, with passwords.
fn accounts() -> Special {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/accounts.conf");
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Special {
        lines: "include accounts.conf".to_owned(),
        files: vec![("accounts.conf".to_owned(), std::fs::read_to_string(shipped).unwrap())],
        env: vec![variable("LATTICE_NODE_PASSWORD", "nodes"), variable("LATTICE_CLIENT_PASSWORD", "clients")],
        login: Some("node:nodes".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_shipped_accounts_nodes_work_and_clients_may_call_and_no_more() {
    let nats = NatsServer::start_special(accounts()).await;
    let lattice = Lattice::builder(3).id("default").nats(nats).start().await;
    lattice.apply(&manifests::greeter(3)).await;
    lattice.scale(1, "greeter", 6).await.unwrap();
    assert!(!lattice.nodes[0].output().contains("nodes@"), "the password must not be shown");

    let client = async_nats::ConnectOptions::new()
        .user_and_password("client".to_owned(), "clients".to_owned())
        .custom_inbox_prefix("_CLIENT.client")
        .connect(lattice.nats.url_as(None))
        .await
        .unwrap();
    let reply = client.request("lat.default.call.greeter.hello", "\"Ada\"".into()).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&reply.payload).unwrap(), json!("Hello, Ada!"));

    // What it publishes to a topic is stored, and told to be so.
    let stored = client.request("lat.default.topic.orders.created", "{}".into()).await.unwrap();
    let stored: Value = serde_json::from_slice(&stored.payload).unwrap();
    assert_eq!(stored["stream"], json!("lat_default_topics"), "{stored}");

    // What only nodes may do comes to nothing: the inbox of a node, and what is stored.
    let inbox = format!("lat.default.node.{}.ping", lattice.nodes[0].ready().id);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), client.request(inbox, "".into()))
            .await
            .map_or(true, |answer| answer.is_err())
    );
    client.publish("$KV.lat_default_routes.greeter", "{}".into()).await.unwrap();
    client.flush().await.unwrap();
    lattice.call(2, "greeter", "hello", json!("Ada")).await.unwrap();
    assert!(lattice.counters(0).await["malformed_records"] == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_with_what_to_do() {
    let nats = NatsServer::start_special(accounts()).await;
    let lattice = Lattice::builder(1).id("default").nats(nats).start().await;
    let mut settings = lattice.nodes[0].settings().clone();
    "node-1".clone_into(&mut settings.name);
    settings.folder = lattice.nats.folder().join("second");
    settings.nats = Some(lattice.nats.url_as(Some("node:guessed")));
    let (status, said) = start_and_fail(settings, LATEST).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("refused") && !said.contains("guessed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_nodes_trust_the_authority_that_they_are_given_and_no_other() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let special = Special {
        lines: "tls { cert_file: \"{folder}/server.pem\", key_file: \"{folder}/server.key\" }".to_owned(),
        files: vec![
            ("server.pem".to_owned(), certificate.pem()),
            ("server.key".to_owned(), key.serialize_pem()),
        ],
        ..Special::default()
    };
    let nats = NatsServer::start_special(special).await;
    let authority = nats.folder().join("server.pem").display().to_string();
    let lattice = Lattice::builder(2).nats(nats).arg("--nats-tls-ca").arg(&authority).start().await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.call(1, "greeter", "hello", json!("Ada")).await.unwrap();

    let mut stranger = Lattice::builder(1).spawn();
    let mut settings = stranger.nodes[0].settings().clone();
    stranger.nodes[0].kill();
    settings.nats = Some(lattice.nats.url());
    let node = lattice_tests::Node::spawn(settings);
    let observe = async || node.output();
    wait_until("it says why it does not connect", LATEST, observe, |said| {
        said.contains("waiting for NATS") && (said.contains("certificate") || said.contains("tls"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credentials_file_lets_a_node_in() {
    let operator = KeyPair::new_operator();
    let system = KeyPair::new_account();
    let account = KeyPair::new_account();
    let user = KeyPair::new_user();
    let limits = |stored: i64| {
        json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": stored, "disk_storage": stored, "streams": stored, "consumer": stored,
        })
    };
    let account_of = |limits: Value| json!({ "limits": limits, "type": "account", "version": 2 });
    let operator_jwt = jwt(&operator, &operator, json!({ "type": "operator", "version": 2 }));
    // JetStream's own messages go by way of the system account, which itself stores nothing.
    let system_jwt = jwt(&operator, &system, account_of(limits(0)));
    let account_jwt = jwt(&operator, &account, account_of(limits(-1)));
    let anything = json!({
        "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
    });
    let user_jwt = jwt(&account, &user, anything);
    let (system, name) = (system.public_key(), account.public_key());
    let lines = format!(
        "operator: \"{operator_jwt}\"\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {system}: \"{system_jwt}\", {name}: \"{account_jwt}\" }}"
    );
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    let files = vec![("node.creds".to_owned(), credentials)];
    let nats = NatsServer::start_special(Special { lines, files, ..Special::default() }).await;
    let file = nats.folder().join("node.creds").display().to_string();
    let lattice = Lattice::builder(2).nats(nats).arg("--nats-creds").arg(&file).start().await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.call(0, "greeter", "hello", json!("Ada")).await.unwrap();

    let mut settings = lattice.nodes[0].settings().clone();
    "node-2".clone_into(&mut settings.name);
    settings.folder = lattice.nats.folder().join("third");
    settings.args.clear();
    let (status, said) = start_and_fail(settings, LATEST).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("--nats-creds"), "{said}");
}

/// What one key says of another, signed.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats,
    });
    let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
