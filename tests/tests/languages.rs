//! Actors in JavaScript, Python and Go: made by `lattice new`, built by `lattice build`, and the same to their callers as any other.

use std::path::Path;
use std::time::Duration;

use lattice_proto::admin::KeyRequest;
use lattice_setup::Language;
use lattice_tests::languages::{build, folder, program, unit_tests};
use lattice_tests::otlp::{Receiver, Tree};
use lattice_tests::{Lattice, artifacts, cli, http, say, wait_for, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

/// Of a project in Go.
const GO_MOD: &str =
    "module a\n\ngo 1.24\n\nrequire lattice/actor v0.0.0\n\nreplace lattice/actor => ./.lattice\n";

/// What tells one node's spans from another's.
const PROCESS: &str = "service.instance.id";

/// A language, what `--lang` calls it, and the folder of its SDK.
const SPOKEN: [(Language, &str, &str); 3] = [
    (Language::JavaScript, "js", "actor-sdk/js"),
    (Language::Python, "python", "actor-sdk/python"),
    (Language::Go, "go", "actor-sdk/go"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_actor_in_each_language_is_tested_built_deployed_and_called() {
    let lattice = Lattice::start(1).await;
    let place = tempfile::tempdir().unwrap();
    for (language, lang, _) in SPOKEN {
        let Some(program) = program(language, "a new actor").await else { continue };
        let name = format!("hello-{lang}");
        let run = async |folder: &Path, words: &[&str]| {
            let said = cli::lattice_in(folder, &lattice.nodes[0].ready().admin, words).await;
            assert_eq!(said.code, 0, "{words:?}: {}\n{}", said.stdout, said.stderr);
            said
        };
        run(place.path(), &["new", &name, "--lang", lang]).await;
        let project = place.path().join(&name);
        unit_tests(language, &program, &project);
        let said = run(&project, &["-o", "json", "build"]).await.json();
        say(&format!("measured: {name}.wasm has {} KB", said[0]["bytes"].as_u64().unwrap() / 1000));
        run(&project, &["apply", "lattice.toml"]).await;
        for arguments in [json!({ "name": "Ada" }), json!("Ada")] {
            let reply = lattice.call(0, &name, "hello", arguments).await.unwrap();
            assert_eq!(reply, "Hello, Ada!", "{lang}");
        }
        for (operation, arguments, kind) in
            [("hi", json!("Ada"), "no-such-operation"), ("hello", json!(null), "malformed")]
        {
            let fault = lattice.call(0, &name, operation, arguments).await.unwrap_err();
            assert_eq!(fault.kind(), kind, "{lang}: {fault}");
        }
    }
}

#[tokio::test]
async fn what_is_rusts_alone_is_refused_and_the_wit_is_there_for_all() {
    let place = tempfile::tempdir().unwrap();
    for words in
        [["new", "a", "--lang", "js", "--keyed"].as_slice(), &["new", "a", "--lang", "go", "--sdk", "."]]
    {
        let said = cli::lattice_in(place.path(), "", words).await;
        assert_eq!(said.code, 2, "{said:?}");
    }
    assert!(!place.path().join("a").exists());
    let said = cli::lattice("", &["wit"]).await;
    assert!(
        said.stdout.contains("package lattice:actor@") && said.stdout.contains("world keyed-actor"),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_sdks_pass_their_own_tests() {
    for (language, _, sdk) in SPOKEN {
        let Some(program) = program(language, "the SDK's own tests").await else { continue };
        unit_tests(language, &program, &folder(sdk));
    }
}

/// Stores an artifact, and returns what a manifest calls it.
async fn put(lattice: &Lattice, artifact: &Path) -> String {
    let bytes = std::fs::read(artifact).unwrap();
    artifacts::put(&mut lattice.admin(0), bytes).await.unwrap().to_string()
}

/// What the probes of all languages answer alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_is_the_same_in_every_language() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&lattice_tests::manifests::greeter(1)).await;
    for (language, lang, _) in SPOKEN {
        if program(language, "an actor in every language").await.is_none() {
            continue;
        }
        let probe = folder("tests/guests").join(if lang == "js" { "javascript" } else { lang });
        let (place, name, other) =
            (tempfile::tempdir().unwrap(), format!("probe-{lang}"), format!("other-{lang}"));
        let text = format!("[actors.{name}]\nbuild = {probe:?}\nartifact = \"probe.wasm\"\n");
        std::fs::write(place.path().join("lattice.toml"), text).unwrap();
        build(place.path(), &[]).await;
        let artifact = put(&lattice, &place.path().join("probe.wasm")).await;
        let actor = |name: &str| {
            format!(
                "[actors.{name}]\nartifact = \"{artifact}\"\nreplicas = 2\n\
                 grants = {{ call = [\"greeter\", \"{other}\", \"absent\"], log = true }}\n\
                 env = {{ GREETING = \"Hej \u{2603}\" }}\n\n"
            )
        };
        lattice.apply(&format!("[app]\nname = \"{name}\"\n\n{}{}", actor(&name), actor(&other))).await;
        let call =
            async |operation: &str, arguments: Value| lattice.call(0, &name, operation, arguments).await;

        for value in
            [json!("h\u{e9}llo \u{1f375}\u{0}"), json!([1.5, -3, null, true, { "a": {} }]), json!(false)]
        {
            assert_eq!(call("echo", json!({ "value": value })).await.unwrap(), value, "{lang}");
        }
        let large = json!("\u{e9}".repeat(200_000));
        assert_eq!(call("echo", json!({ "value": large })).await.unwrap(), large, "{lang}");
        assert_eq!(call("env", Value::Null).await.unwrap(), json!({ "GREETING": "Hej \u{2603}" }), "{lang}");
        let own = call("self", Value::Null).await.unwrap();
        assert_eq!(
            (&own["self"], &own["caller"], &own["attempt"]),
            (&json!(name), &Value::Null, &json!(1)),
            "{own}"
        );
        assert!(own["trace"].as_str().is_some_and(|trace| trace.starts_with("00-")), "{own}");

        // What was left over from the build is the same in both replicas, and nothing else is.
        let mut seen = Vec::new();
        for _ in 0..8 {
            let drawn = call("random", Value::Null).await.unwrap();
            assert!(!seen.contains(&drawn[1]), "{lang}: {drawn} after {seen:?}");
            seen.push(drawn[1].clone());
        }

        call("say", json!({ "text": "careful \u{2603}" })).await.unwrap();
        let log = async || cli::lattice(&lattice.nodes[0].ready().admin, &["logs", &name]).await.stdout;
        let said = wait_until_said(log, "console").await;
        assert!(
            said.contains("WARN") && said.contains("careful \u{2603}") && !said.contains("hidden"),
            "{said}"
        );

        // Failures, of its own and of whom it calls.
        let fault = call("reject", Value::Null).await.unwrap_err();
        assert_eq!((fault.kind(), fault.code.as_str()), ("rejected", "sold-out"), "{lang}: {fault}");
        let fault = call("bug", Value::Null).await.unwrap_err();
        assert_eq!((fault.kind(), fault.code.as_str()), ("rejected", "exception"), "{lang}: {fault}");
        let said = wait_until_said(log, "`bug`").await;
        assert!(said.contains("probe") && said.contains("ERROR"), "its place is in the log: {said}");
        let ask = async |to: &str, operation: &str| {
            call("ask", json!({ "to": to, "operation": operation })).await.unwrap()
        };
        assert_eq!(ask(&other, "env").await["reply"]["GREETING"], "Hej \u{2603}", "{lang}");
        assert_eq!(
            ask(&other, "reject").await,
            json!({ "code": "sold-out", "message": "no tea is left", "details": { "left": 0 } }),
            "{lang}"
        );
        let table = [
            ("greeter", "hello", "malformed", "no"),
            ("greeter", "bye", "no-such-operation", "no"),
            ("absent", "x", "no-such-actor", "no"),
            ("elsewhere", "x", "denied", "no"),
        ];
        for (to, operation, kind, ran) in table {
            assert_eq!(
                ask(to, operation).await,
                json!({ "kind": kind, "ran": ran }),
                "{lang}: {to} {operation}"
            );
        }
        if language == Language::Go {
            // Its heap grows past what the adapter for WASI has taken, and neither spoils the other.
            for _ in 0..4 {
                assert_eq!(call("hold", json!(12)).await.unwrap(), 192);
            }
        }
        let handed = call("hand_on", json!({ "to": "absent", "operation": "x" })).await.unwrap_err();
        assert_eq!((handed.kind(), handed.code.as_str()), ("rejected", "no-such-actor"), "{lang}: {handed}");
    }
}

/// The log once it says this.
async fn wait_until_said(log: impl AsyncFn() -> String, words: &str) -> String {
    wait_for(&format!("the log says {words}"), LATEST, log, |said| said.contains(words)).await
}

/// The carts of the shop and what they ask, on the last node.
fn carts() -> String {
    let cart = "[actors.cart]\nkind = \"keyed\"\nartifact = \"cart.wasm\"\ngrants = { call = [\"inventory\"], log = true }\n";
    let inventory =
        "[actors.inventory]\nartifact = \"inventory.wasm\"\nplacement = { require = [\"at=c\"] }\n";
    format!("[app]\nname = \"shop\"\n\n{cart}\n{inventory}")
}

/// The till of the example, on the node of that label.
fn till(artifact: &str) -> String {
    format!(
        "[app]\nname = \"polyglot\"\n\n[actors.till]\nartifact = \"{artifact}\"\ningress = [\"http\"]\n\
         grants = {{ call = [\"cart\"], log = true }}\nplacement = {{ require = [\"at=b\"] }}\n"
    )
}

/// A customer whose cart is on this node.
async fn customer_on(lattice: &Lattice, node: usize) -> String {
    let name = lattice.nodes[node].name();
    let look = async || {
        let mut admin = lattice.admin(node);
        for number in 0..200 {
            let actor = format!("cart/c{number}");
            let info = admin.inspect_key(KeyRequest { actor: actor.clone() }).await.unwrap().into_inner();
            let stays = info.owner == name && info.next_owner.is_empty();
            if stays && lattice.call(node, &actor, "lines", Value::Null).await.is_ok() {
                return Some(format!("c{number}"));
            }
        }
        None
    };
    wait_for("a customer of that node", LATEST, look, Option::is_some).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_by_http_reaches_javascript_and_then_a_keyed_rust_actor_in_one_trace() {
    if program(Language::JavaScript, "HTTP to JavaScript to a keyed Rust actor").await.is_none() {
        return;
    }
    build(&folder("examples/polyglot"), &["till"]).await;
    let receiver = Receiver::start().await;
    let mut builder = Lattice::builder(3).label(1, "at=b").label(2, "at=c").arg("--http").arg("127.0.0.1:0");
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let lattice = builder.start().await;
    lattice.apply(&carts()).await;
    let artifact = put(&lattice, &folder("examples/polyglot/till.wasm")).await;
    lattice.apply(&till(&artifact)).await;
    let customer = customer_on(&lattice, 2).await;

    let gateway = lattice.nodes[0].ready().http.clone().unwrap();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("content-type", "application/json"), ("traceparent", parent.as_str())];
    let order = json!({ "customer": customer, "sku": "tea", "quantity": 2 }).to_string();
    let page = http::post_with(&gateway, "/actors/till/put", &headers, &order).await;
    let there: Value = serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{page:?}"));
    assert_eq!((page.status, there), (200, json!({ "tea": 2 })), "{page:?}");
    let cart = lattice.call(1, &format!("cart/{customer}"), "lines", Value::Null).await.unwrap();
    assert_eq!(cart, json!({ "tea": 2 }), "it is committed");

    // The one who asked is the parent of all, and outside.
    let observe = async || {
        let mut spans = receiver.trace(trace);
        for span in &mut spans {
            if span.parent_span_id == "00f067aa0ba902b7" {
                span.parent_span_id.clear();
            }
        }
        Tree::of(&spans)
    };
    let complete =
        |seen: &Result<Tree, String>| matches!(seen, Ok(tree) if tree.processes(PROCESS).len() == 3);
    wait_until("one tree over three processes", LATEST, &observe, complete).await;
    let tree = observe().await.unwrap();
    say(&format!("the request by HTTP:\n{tree}"));
    let names: Vec<&str> = tree.spans().iter().map(|span| span.name.as_str()).collect();
    for name in ["till/put", "cart/add", "cart/lines"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_several_languages_makes_a_bill() {
    let example = folder("examples/polyglot");
    let mut programs = Vec::new();
    for (language, ..) in SPOKEN {
        let Some(program) = program(language, "the example in several languages").await else { return };
        programs.push((language, program));
    }
    build(&example, &[]).await;
    for ((language, program), actor) in programs.iter().zip(["till", "tax", "receipt"]) {
        unit_tests(*language, program, &example.join(actor));
    }
    let lattice = Lattice::builder(1).label(0, "at=c").start().await;
    lattice.apply(&carts()).await;
    let manifest = example.join("lattice.toml");
    let said = cli::lattice(&lattice.nodes[0].ready().admin, &["apply", manifest.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let fault = lattice.call(0, "till", "bill", json!({ "customer": "ada" })).await.unwrap_err();
    assert_eq!((fault.kind(), fault.code.as_str()), ("rejected", "empty-cart"), "{fault}");
    let order = json!({ "customer": "ada", "sku": "tea", "quantity": 2 });
    lattice.call(0, "till", "put", order).await.unwrap();
    let bill = lattice.call(0, "till", "bill", json!({ "customer": "ada" })).await.unwrap();
    assert_eq!(
        bill,
        json!({ "lines": { "tea": 2 }, "net_cents": 900, "tax_cents": 225, "gross_cents": 1125 })
    );
    let receipt = lattice.call(0, "till", "receipt", json!({ "customer": "ada" })).await.unwrap();
    assert_eq!(receipt, "  2 tea\ntotal 11.25, of which tax 2.25");
    // Python's rejection passes through JavaScript as it is.
    let nowhere = json!({ "customer": "ada", "country": "XX" });
    let fault = lattice.call(0, "till", "bill", nowhere).await.unwrap_err();
    assert_eq!((fault.kind(), fault.code.as_str()), ("rejected", "unknown-country"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_built_is_told_with_its_place() {
    let table = [
        (
            Language::JavaScript,
            "package.json",
            "{ \"main\": \"a.js\" }",
            "a.js",
            "export default {",
            "a.js:1:",
        ),
        (
            Language::JavaScript,
            "package.json",
            "{ \"main\": \"a.js\" }",
            "a.js",
            "export const a = 1;",
            "\"default\"",
        ),
        (
            Language::JavaScript,
            "package.json",
            "{ \"main\": \"a.js\" }",
            "a.js",
            "export default {};",
            "no operations",
        ),
        (Language::JavaScript, "package.json", "{ \"main\": \"a.js\" }", "b.js", "", "no `a.js`"),
        (
            Language::JavaScript,
            "package.json",
            "{ \"main\": \"a.js\" }",
            "a.js",
            "import 'node:fs'; export default { a() {} };",
            "node:fs",
        ),
        (
            Language::JavaScript,
            "package.json",
            "{ \"main\": \"a.js\" }",
            "a.js",
            "nobody(); export default { a() {} };",
            "nobody",
        ),
        (Language::Python, "pyproject.toml", "", "actor.py", "def", "actor.py\", line 1"),
        (Language::Python, "pyproject.toml", "", "actor.py", "", "cannot import name 'actor'"),
        (
            Language::Python,
            "pyproject.toml",
            "",
            "actor.py",
            "import lattice\nactor = lattice.Actor()",
            "no operations",
        ),
        (Language::Go, "go.mod", GO_MOD, "main.go", "package main\nfunc main() { nobody() }", "main.go:2:"),
        (
            Language::Go,
            "go.mod",
            GO_MOD,
            "main.go",
            "package main\nimport lattice \"lattice/actor\"\nfunc main() { lattice.Main() }",
            "no operations",
        ),
    ];
    for (language, project_file, project, file, text, words) in table {
        if program(language, "what cannot be built").await.is_none() {
            continue;
        }
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
        write("lattice.toml", "[app]\nname = \"a\"\n[actors.a]\nartifact = \"a.wasm\"\n");
        write(project_file, project);
        write(file, text);
        let said = cli::lattice("", &["build", place.path().to_str().unwrap()]).await;
        assert_eq!(said.code, 1, "{text}: {said:?}");
        assert!(said.stderr.contains(words), "{text}: {}", said.stderr);
        assert!(!place.path().join("a.wasm").exists(), "{text}");
    }
}
