//! A component that imports an interface is linked to the actor that exports it: every value crosses as it is, one trace shows both, and what
//! does not fit is refused at deploy, or never misread.
//!
//! `LATTICE_LINKS_SEED` repeats the values of a run.

use std::time::Duration;

use lattice_tests::otlp::{Receiver, Span, Tree};
use lattice_tests::{Lattice, artifacts, http, number, say, wait_for, wait_until};
use serde_json::{Value, json};

/// Calls that compare very many values take longer than one call of anybody's.
const LATEST: Duration = Duration::from_secs(60);

/// An actor that exports an interface and knows nothing of Lattice on one node, and one that imports it on each node; those export
/// something to each other besides.
const VALUES: &str = r#"
[app]
name = "values"

[actors.exporter]
artifact = "exporter.wasm"
placement = { require = ["at=exporter"] }

[actors.importer]
artifact = "importer.wasm"
limits = { turn = "60s" }
placement = { require = ["at=importer"] }
links = { "acme:values/echo" = "exporter", "acme:values/adder@1.2.0" = "neighbour" }

[actors.neighbour]
artifact = "importer.wasm"
limits = { turn = "60s" }
placement = { require = ["at=exporter"] }
links = { "acme:values/echo" = "exporter", "acme:values/adder@1.2.0" = "importer" }
"#;

async fn values(receiver: Option<&Receiver>) -> Lattice {
    let mut builder = Lattice::builder(2).label(0, "at=importer").label(1, "at=exporter");
    for (key, value) in receiver.iter().flat_map(|receiver| receiver.env()) {
        builder = builder.env(key, &value);
    }
    let lattice = builder.start().await;
    lattice.apply(VALUES).await;
    lattice
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_comes_back_as_it_went() {
    let lattice = values(None).await;
    let ask = async |actor: &str, operation: &str, arguments: Value| {
        lattice.call_within(0, actor, operation, arguments, LATEST).await.unwrap()
    };
    // From another node, and from the same.
    for importer in ["importer", "neighbour"] {
        let seed = number("LATTICE_LINKS_SEED").unwrap_or_else(|| fastrand::u64(..1 << 53));
        say(&format!("values of the seed {seed}, by `{importer}`"));
        for part in 0..4 {
            let differs = ask(importer, "try_values", json!({ "seed": seed + part, "count": 100 })).await;
            assert_eq!(differs, json!(null), "of the seed {seed} and part {part}");
        }
        assert_eq!(ask(importer, "try_characters", json!(null)).await, json!(null));
        assert_eq!(ask(importer, "nothing", json!(null)).await, json!(null));
        let later = ask(importer, "later", json!({ "texts": ["a", "b", "c"], "ms": 1 })).await;
        assert_eq!(later, json!(["a", "b", "c"]));
        // What an actor exports beside its handler.
        assert_eq!(ask(importer, "add", json!({ "one": 2, "two": 3 })).await, json!(5));
    }
    let fault = lattice.call(0, "exporter", "nothing", json!(null)).await.unwrap_err();
    assert_eq!(fault.kind(), "no-such-operation", "{fault}");
    assert!(
        fault.message.contains("takes no messages") && fault.message.contains("acme:values/echo@1.2.0"),
        "{fault}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_for_http_is_linked_as_any_other() {
    let builder = Lattice::builder(2).label(0, "at=importer").label(1, "at=exporter");
    let lattice = builder.arg("--http").arg("127.0.0.1:0").start().await;
    // Once with an instance for each request, and once with one that serves again.
    let page = |name: &str, more: &str| {
        format!(
            "\n[actors.{name}]\nartifact = \"page.wasm\"\nhttp = {{ host = \"{name}.example\" }}\n\
             placement = {{ require = [\"at=importer\"] }}\nlinks = {{ \"acme:values/adder\" = \"neighbour\" }}\n{more}"
        )
    };
    lattice.apply(&[VALUES, &page("fresh", ""), &page("again", "reuse = true\n")].concat()).await;
    let gateway = lattice.nodes[0].ready().http.clone().unwrap();
    for host in ["fresh.example", "again.example"] {
        for (path, sum) in [("/2/3", "5"), ("/40/2", "42"), ("/4294967294/1", "4294967295")] {
            let ask = async || http::get_with(&gateway, path, &[("host", host)]).await;
            let answer = wait_for("its route", LATEST, ask, |answer| answer.status != 404).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, sum), "{host}{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_who_called_and_who_was_called() {
    let receiver = Receiver::start().await;
    let lattice = values(Some(&receiver)).await;
    let (reply, trace) = lattice.call_traced(0, "importer", "nothing", json!(null)).await;
    assert_eq!(reply, json!(null));
    let observe = async || Tree::of(&receiver.trace(&trace));
    let is_whole = |seen: &Result<Tree, String>| matches!(seen, Ok(tree) if tree.processes("service.instance.id").len() == 2);
    wait_until("one tree over both", Duration::from_secs(20), observe, is_whole).await;
    let tree = Tree::of(&receiver.trace(&trace)).unwrap();
    say(&format!("a call over a link:\n{tree}"));
    let calls = tree.find(|span| span.kind == "client" && span.name == "exporter/nothing");
    let serves = |span: &Span| span.kind == "server" && span.name == "exporter/nothing";
    assert!(calls.is_some_and(|calls| calls.find(&serves).is_some()), "{tree}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_traps_its_caller_with_what_it_was() {
    let lattice = values(None).await;
    let fails = async |operation: &str, arguments: Value, wanted: &[&str]| {
        let fault = lattice.call_within(0, "importer", operation, arguments, LATEST).await.unwrap_err();
        assert_eq!(fault.kind(), "trapped", "{fault}");
        for wanted in wanted {
            assert!(fault.message.contains(wanted), "`{wanted}` is missing in: {fault}");
        }
        // Whoever comes next is served, by new instances of both.
        let next = lattice.call_within(0, "importer", "nothing", json!(null), LATEST).await;
        assert_eq!(next.unwrap(), json!(null), "after {operation}");
    };
    fails(
        "trap",
        json!("on purpose"),
        &["its call of `acme:values/echo.trap` of `exporter` failed: the actor trapped: ", "unreachable"],
    )
    .await;
    let over = "its call of `acme:values/echo.long` of `exporter` failed: a payload or state of";
    fails("long", json!(900_000), &[over, "is over the limit of 983040 bytes"]).await;
    assert_eq!(lattice.call(0, "importer", "long", json!(100_000)).await.unwrap(), json!(100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ends_with_its_turn_is_no_crash() {
    let lattice = values(None).await;
    for _ in 0..3 {
        let late = json!({ "texts": ["a"], "ms": 30_000 });
        let late = lattice.call_within(0, "importer", "later", late, Duration::from_secs(1)).await;
        let fault = late.unwrap_err();
        assert_eq!(fault.kind(), "deadline", "{fault}");
        let next = lattice.call_within(0, "importer", "nothing", json!(null), LATEST).await;
        assert_eq!(next.unwrap(), json!(null));
    }
    // Whoever is called and goes on waiting for a clock is told of, and later.
    lattice.wait_for_event(0, "actor-crashed", "exporter", 1, LATEST).await;
    let events = lattice.events(0).await;
    let crashed = events.iter().find(|event| event.kind == "actor-crashed" && event.subject == "importer");
    assert!(crashed.is_none(), "{crashed:?}");
}

/// A component that exports prices, whose order has an amount of this type.
fn pricing(amount: &str, result: &str) -> String {
    let core = |kind: &str| if kind == "u64" { "i64" } else { "i32" };
    format!(
        r#"(component
            (core module $m (func (export "price") (param i32 {}) (result {}) {}.const 7))
            (core instance $i (instantiate $m))
            (func $price (param "order" (tuple u32 {amount})) (result {result}) (canon lift (core func $i "price")))
            (instance $api (export "price" (func $price)))
            (export "acme:shop/pricing@1.2.0" (instance $api)))"#,
        core(amount),
        core(result),
        core(result)
    )
}

/// A component that imports these, and exports something by which it is an actor.
fn importing(imports: &str) -> String {
    format!(
        r#"(component
            {imports}
            (core module $m (func (export "ping")))
            (core instance $i (instantiate $m))
            (func $ping (canon lift (core func $i "ping")))
            (instance $api (export "ping" (func $ping)))
            (export "acme:shop/till" (instance $api)))"#
    )
}

/// A till that asks for prices, with an amount of this type.
fn till(amount: &str) -> String {
    importing(&format!(
        "(import \"acme:shop/pricing@1.2.0\" (instance
            (export \"price\" (func (param \"order\" (tuple u32 {amount})) (result u64)))))"
    ))
}

async fn put(lattice: &Lattice, text: &str) -> String {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    artifacts::put(&mut lattice.admin(0), bytes).await.unwrap().to_string()
}

fn actor(name: &str, artifact: &str, lines: &str) -> String {
    format!("\n[actors.{name}]\nartifact = \"{artifact}\"\n{lines}\n")
}

fn app(name: &str, actors: &[String]) -> String {
    format!("[app]\nname = \"{name}\"\n{}", actors.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_do_not_hold_are_refused_with_what_differs() {
    const LINK: &str = "links = { \"acme:shop/pricing\" = \"pricing\" }";
    let lattice = Lattice::start(1).await;
    let prices = put(&lattice, &pricing("u64", "u64")).await;
    let fits = put(&lattice, &till("u64")).await;
    let differs = put(&lattice, &till("u32")).await;
    let imports = async |items: &str| {
        put(&lattice, &importing(&format!("(import \"acme:shop/pricing@1.2.0\" (instance {items}))"))).await
    };
    let resource = imports("(export \"cart\" (type (sub resource)))").await;
    let stream = imports("(export \"price\" (func (result (stream u8))))").await;
    let world = put(&lattice, &importing("(import \"price\" (func))")).await;
    let refused = async |manifest: &str, wanted: &str| {
        let fault = lattice.try_apply(0, manifest).await.unwrap_err();
        assert!(fault.kind.is_some() && fault.message.contains(wanted), "`{wanted}` is missing in: {fault}");
    };
    let pricing_of = |artifact: &str| actor("pricing", artifact, "");
    let table = [
        (
            vec![pricing_of(&prices), actor("till", &differs, LINK)],
            "acme:shop/pricing.price: parameter 1, element 2: u32 here, u64 in `pricing`",
        ),
        (
            vec![actor("till", &fits, LINK)],
            "`acme:shop/pricing@1.2.0` is linked to `pricing`, which is neither in this manifest nor deployed",
        ),
        (
            vec![pricing_of(&prices), actor("till", &fits, "")],
            "the artifact of `till` imports `acme:shop/pricing@1.2.0`, which its manifest links to nobody",
        ),
        (
            vec![actor("pricing", &prices, "links = { \"acme:shop/stock\" = \"pricing\" }")],
            "`links` of `pricing` names `acme:shop/stock`, which its artifact does not import",
        ),
        (
            vec![actor("pricing", "ledger.wasm", "kind = \"keyed\""), actor("till", &fits, LINK)],
            "which is a keyed actor; only replicated actors answer links",
        ),
        (
            vec![actor("pricing", "web.wasm", "http = {}"), actor("till", &fits, LINK)],
            "which serves HTTP only",
        ),
        (
            vec![pricing_of("greeter.wasm"), actor("till", &fits, LINK)],
            "which does not export it, or not in a version that is compatible; it exports nothing",
        ),
        (
            vec![pricing_of(&prices), actor("till", &resource, LINK)],
            "it has the resource `cart`; a resource stays in its component, and only values cross",
        ),
        (
            vec![pricing_of(&prices), actor("till", &stream, LINK)],
            "its function `price` gives a stream, and only values cross",
        ),
        (
            vec![pricing_of(&prices), actor("till", &fits, &format!("{LINK}\nconcurrency = 2"))],
            "`till` has `concurrency = 2`, and `acme:shop/pricing.price`, as its artifact has it, is no `async func`",
        ),
        (
            vec![actor("pricing", &prices, "concurrency = 2")],
            "`pricing` has `concurrency = 2`, and `acme:shop/pricing.price`, as its artifact has it, is no `async func`",
        ),
        (vec![actor("till", &world, "")], "it imports `price`, which is a function of the world itself"),
    ];
    for (actors, wanted) in table {
        refused(&app("shop", &actors), wanted).await;
    }
    assert_eq!(lattice.actors(0).await.unwrap(), [], "nothing of it stays");

    // Whoever is deployed already is an end as good as one in the same manifest; and then says what would no longer fit.
    lattice.apply(&app("prices", &[pricing_of(&prices)])).await;
    refused(&app("shop", &[actor("till", &differs, LINK)]), "u32 here, u64 in `pricing`").await;
    lattice.apply(&app("shop", &[actor("till", &fits, LINK)])).await;
    let others = put(&lattice, &pricing("u32", "u64")).await;
    refused(
        &app("prices", &[pricing_of(&others)]),
        "`till`, which is deployed, is linked to what would no longer fit: acme:shop/pricing.price: parameter 1, element 2: u64 \
         here, u32 in `pricing`",
    )
    .await;
    refused(
        &app("prices", &[actor("other", &prices, "")]),
        "`till`, which is deployed, is linked to what would no longer fit: `acme:shop/pricing@1.2.0` is linked to `pricing`, which \
         would be gone",
    )
    .await;
    let changes = lattice
        .dry_run(0, &app("shop", &[actor("till", &fits, &LINK.replace("pricing\" =", "pricing@1.2.0\" ="))]))
        .await;
    assert!(changes.iter().any(|line| line.contains("links.acme:shop/pricing@1.2.0")), "{changes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_changed_meanwhile_are_never_misread() {
    let adder = |kind: &str| {
        format!(
            r#"(component
                (core module $m (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
                (core instance $i (instantiate $m))
                (func $add (param "one" {kind}) (param "two" {kind}) (result {kind}) (canon lift (core func $i "add")))
                (instance $api (export "add" (func $add)))
                (export "acme:values/adder@1.2.0" (instance $api)))"#
        )
    };
    let lattice = Lattice::start(1).await;
    let mut artifacts = Vec::new();
    for kind in ["s32", "u32"] {
        let artifact = put(&lattice, &adder(kind)).await;
        lattice.apply(&app("adder", &[actor("adder", &artifact, "")])).await;
        artifacts.push(artifact);
    }
    let links = "links = { \"acme:values/echo\" = \"exporter\", \"acme:values/adder\" = \"adder\" }";
    let importer = [actor("exporter", "exporter.wasm", ""), actor("importer", "importer.wasm", links)];
    lattice.apply(&app("values", &importer)).await;
    let add = async || lattice.call(0, "importer", "add", json!({ "one": 2, "two": 3 })).await;
    assert_eq!(add().await.unwrap(), json!(5));

    // Going back is not held up by those who are linked.
    lattice.roll_back(0, "adder", Some(1)).await.unwrap();
    let fault = add().await.unwrap_err();
    assert_eq!(fault.kind(), "trapped", "{fault}");
    let wanted = "its call of `acme:values/adder.add` of `adder` failed: the actor has no operation `acme:values/adder.add (of the \
                  types that its caller was built with; deploy the two together)`";
    assert!(fault.message.contains(wanted), "{fault}");
    // Where a version that fits is there too, calls come to it, however few are meant for it.
    let trial = actor("adder", &artifacts[1], "replicas = 5\nupdate = { canary = \"20%\" }");
    lattice.apply(&app("adder", &[trial])).await;
    for _ in 0..30 {
        assert_eq!(add().await.unwrap(), json!(5));
    }
    lattice.roll_back(0, "adder", Some(2)).await.unwrap();
    assert_eq!(add().await.unwrap(), json!(5));
}
