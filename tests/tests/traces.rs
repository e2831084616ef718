//! One trace for each call tree, with every step in it: where it went and why, what it waited for, and what went wrong.

use std::time::Duration;

use lattice_tests::collector::{self, Collector};
use lattice_tests::otlp::{Branch, Receiver, Span, Tree};
use lattice_tests::{Lattice, cli, manifests, say, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

/// What tells one node's spans from another's.
const PROCESS: &str = "service.instance.id";

/// A lattice whose nodes export with these variables.
async fn start(nodes: usize, variables: &[(&str, String)], labels: &[&str]) -> Lattice {
    let mut builder = Lattice::builder(nodes);
    for (node, label) in labels.iter().enumerate() {
        builder = builder.label(node, label);
    }
    for (key, value) in variables {
        builder = builder.env(key, value);
    }
    builder.start().await
}

/// The tree of a trace, once it is as wanted.
async fn tree(receiver: &Receiver, trace: &str, what: &str, wanted: impl Fn(&Tree) -> bool) -> Tree {
    let observe = async || Tree::of(&receiver.trace(trace));
    wait_until(what, LATEST, observe, |seen| seen.as_ref().is_ok_and(&wanted)).await;
    let tree = Tree::of(&receiver.trace(trace)).unwrap();
    say(&format!("{what}:\n{tree}"));
    tree
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    span.attributes.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The one child of this name and kind.
fn child<'a>(branch: &'a Branch, name: &str, kind: &str) -> &'a Branch {
    let is = |child: &&Branch| child.span.name == name && child.span.kind == kind;
    let found: Vec<&Branch> = branch.children.iter().filter(is).collect();
    let [only] = found[..] else {
        panic!("{} children {name} ({kind}) of {}: {:?}", found.len(), branch.span.name, branch.steps())
    };
    only
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_three_nodes_goes_through_a_real_collector_as_one_tree() {
    let Some(program) = collector::program("a request through a real collector").await else { return };
    let receiver = Receiver::start().await;
    let collector = Collector::start(&program, receiver.address()).await;
    let labels = ["at=storefront", "at=inventory", "at=pricing"];
    let lattice = start(3, &collector.env(), &labels).await;
    lattice.apply(&manifests::pinned_shop()).await;

    let arguments = json!({ "sku": "tea", "quantity": 2 });
    let (_, trace) = lattice.call_traced(0, "storefront", "quote", arguments).await;
    let whole = |tree: &Tree| tree.processes(PROCESS).len() == 3;
    let tree = tree(&receiver, &trace, "one tree over three nodes", whole).await;

    let root = &tree.root;
    assert_eq!((root.span.name.as_str(), root.span.kind.as_str()), ("storefront/quote", "server"));
    for (key, value) in [("rpc.system", "lattice"), ("rpc.service", "storefront"), ("rpc.method", "quote")] {
        assert_eq!(text(&root.span, key), value, "{:?}", root.span);
    }
    let attempt = child(child(root, "storefront/quote", "client"), "attempt", "internal");
    assert_eq!(text(&attempt.span, "lattice.choice"), "runs on this node");
    let handled = child(attempt, "storefront/quote", "server");
    assert_eq!(handled.steps(), ["queue", "turn"]);
    let turn = child(handled, "turn", "internal");
    for actor in ["inventory/stock", "pricing/price"] {
        let call = child(turn, actor, "client");
        let there = child(child(call, "attempt", "internal"), actor, "server");
        assert_ne!(there.span.resource[PROCESS], turn.span.resource[PROCESS], "{actor}");
        assert_eq!(there.steps(), ["queue", "turn"], "{actor}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_failed_is_in_the_tree_of_the_call_that_did_not() {
    let receiver = Receiver::start().await;
    let mut lattice = start(3, &receiver.env(), &["at=gate", "at=work", "at=work"]).await;
    let lines = "replicas = 2\nplacement = { require = [\"at=work\"], spread = \"lattice/node\" }";
    let lines = lines.replace(", spread = \"lattice/node\"", "");
    lattice.apply(&manifests::misfit_with(&lines)).await;
    let spread = async || lattice.placements(0, "misfit").await;
    wait_until("a replica on each", LATEST, spread, |spread| spread.len() == 2).await;

    lattice.nodes[1].kill();
    // The route still names it, until the leader has seen that it is gone.
    let mut found = None;
    for _ in 0..200 {
        let (_, trace) = lattice.call_traced(0, "misfit", "echo", json!("x")).await;
        // What the replica's node did comes by itself, and may be later than what the caller's did.
        let served = |attempt: &Branch| attempt.span.name == "attempt" && attempt.steps() == ["misfit/echo"];
        let whole = |tree: &Tree| {
            tree.find(|span| span.kind == "client").is_some_and(|call| call.children.iter().any(served))
        };
        let tree = tree(&receiver, &trace, "a call of misfit", whole).await;
        let tries = tree.spans().iter().filter(|span| span.name == "attempt").count();
        if tries == 2 {
            found = Some(tree);
            break;
        }
    }
    let tree = found.expect("a call that was tried twice");
    say(&format!("a call that was tried twice:\n{tree}"));
    let call = child(&tree.root, "misfit/echo", "client");
    assert_eq!((call.steps(), call.span.error.as_ref()), (vec!["attempt", "attempt"], None));
    let [first, second] = &call.children[..] else { unreachable!() };
    assert_eq!(text(&first.span, "error.type"), "no-replica", "{:?}", first.span);
    assert_eq!(text(&first.span, "lattice.ran"), "no");
    assert!(first.span.error.is_some() && second.span.error.is_none());
    assert_ne!(first.span.attributes["lattice.target"], second.span.attributes["lattice.target"]);
    assert_eq!(second.steps(), ["misfit/echo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_in_the_tree_of_the_turn_that_sent_it() {
    let receiver = Receiver::start().await;
    let lattice = start(2, &receiver.env(), &[]).await;
    lattice.apply(&manifests::bank_with("")).await;
    lattice.call(0, "account/ada", "deposit", json!(100)).await.unwrap();

    let transfer = json!({ "to": "bob", "amount": 7, "id": "t1" });
    let (_, trace) = lattice.call_traced(1, "account/ada", "transfer", transfer).await;
    let whole = |tree: &Tree| {
        tree.find(|span| span.kind == "consumer").is_some_and(|branch| branch.steps().len() == 3)
    };
    let tree = tree(&receiver, &trace, "a transfer and the letter of it", whole).await;
    let turn = tree.find(|span| span.name == "turn").unwrap();
    let sent = child(turn, "send account", "producer");
    let handled = child(sent, "process account", "consumer");
    assert_eq!(
        handled.span.links,
        std::slice::from_ref(&sent.span.span_id),
        "linked, as the conventions say"
    );
    assert_eq!(handled.steps(), ["queue", "turn", "commit"]);
    assert_eq!(text(&handled.span, "lattice.key"), "bob");
    assert_eq!(text(&handled.span, "messaging.message.id"), text(&sent.span, "messaging.message.id"));
    let payer = tree.find(|span| span.kind == "server" && text(span, "lattice.key") == "ada").unwrap();
    let payer = payer.find(&|span: &Span| span.attributes.contains_key("lattice.actor.version")).unwrap();
    assert_eq!(payer.steps(), ["queue", "turn", "commit"]);
    let attempt = tree.find(|span| span.name == "attempt").unwrap();
    assert_eq!(text(&attempt.span, "lattice.choice"), "owns the key");
    // Bob slept, and the letter waited for him.
    let queue = child(handled, "queue", "internal");
    assert_eq!(text(&child(queue, "start", "internal").span, "lattice.start"), "key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_slow_calls_are_kept_although_no_trace_was_chosen() {
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lattice.toml");
    std::fs::write(&config, "trace_slow = \"1s\"\n").unwrap();
    let mut builder = Lattice::builder(2).label(0, "at=relay").label(1, "at=work");
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    builder = builder.env("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let lattice = builder.arg("--config").arg(config.to_str().unwrap()).start().await;
    lattice.apply(&manifests::misfit_with("placement = { require = [\"at=work\"] }")).await;
    let relay = "[app]\nname = \"relay\"\n\n[actors.relay]\nartifact = \"misfit.wasm\"\n\
                 placement = { require = [\"at=relay\"] }\ngrants = { call = [\"misfit\"] }\n";
    lattice.apply(relay).await;

    let relayed =
        |operation: &str, text: &str| json!({ "to": "misfit", "operation": operation, "text": text });
    lattice.call(0, "relay", "relay", relayed("echo", "quick")).await.unwrap();
    let fault = lattice.call(0, "relay", "relay", relayed("trap", "")).await.unwrap_err();
    assert_eq!(fault.kind(), "rejected", "{fault}");
    lattice.call(0, "relay", "relay", relayed("sleep", "1200")).await.unwrap();

    let roots = || {
        let spans = receiver.spans();
        let is_root = |span: &&Span| span.parent_span_id.is_empty();
        let mut roots: Vec<String> = spans.iter().filter(is_root).map(|span| span.trace_id.clone()).collect();
        roots.dedup();
        roots
    };
    wait_until("two traces that are kept", LATEST, async || roots(), |roots| roots.len() == 2).await;
    let mut seen = Vec::new();
    for trace in roots() {
        let both = |tree: &Tree| tree.processes(PROCESS).len() == 2;
        let tree = tree(&receiver, &trace, "a trace that was kept, over both nodes", both).await;
        let there = tree.find(|span| span.kind == "client" && span.name.starts_with("misfit/")).unwrap();
        seen.push(there.span.name.clone());
        if there.span.name == "misfit/trap" {
            let turn = there.find(&|span: &Span| span.name == "turn").unwrap();
            let [trap] = &turn.span.events[..] else { panic!("one event: {:?}", turn.span) };
            assert_eq!(
                (trap.name.as_str(), &trap.attributes["exception.type"]),
                ("exception", &json!("trap"))
            );
            let stack = trap.attributes["exception.stacktrace"].as_str().unwrap();
            assert!(
                stack.contains("misfit.wasm!") && !stack.contains("tokio"),
                "the guest's frames only: {stack}"
            );
            assert!(tree.root.span.error.is_some());
        }
    }
    seen.sort();
    assert_eq!(seen, ["misfit/sleep", "misfit/trap"], "and not the quick one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_more_than_was_chosen() {
    let receiver = Receiver::start().await;
    let mut variables = receiver.env().to_vec();
    variables.push(("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()));
    variables.push(("OTEL_TRACES_SAMPLER_ARG", "0.5".to_owned()));
    let lattice = start(2, &variables, &[]).await;
    lattice.apply(&manifests::greeter(2)).await;
    let mut known = std::collections::BTreeSet::new();
    for turn in 0..60 {
        known.insert(lattice.call_traced(turn % 2, "greeter", "hello", json!("Ada")).await.1);
    }
    let traces = || {
        let spans = receiver.spans();
        spans
            .into_iter()
            .map(|span| span.trace_id)
            .filter(|trace| known.contains(trace))
            .collect::<std::collections::BTreeSet<_>>()
    };
    // What fails is kept whatever was chosen, and each node tells of its spans in their order: what came before is there then.
    for node in 0..2 {
        lattice.call(node, "greeter", &format!("last-{node}"), json!(null)).await.unwrap_err();
    }
    let last = async || {
        let spans = receiver.spans();
        (0..2).all(|node| {
            spans
                .iter()
                .any(|span| span.parent_span_id.is_empty() && span.name == format!("greeter/last-{node}"))
        })
    };
    wait_until("the last traces", LATEST, last, |there| *there).await;
    let chosen = traces().len();
    say(&format!("measured: {chosen} of 60 traces were chosen at one half"));
    assert!((10..=50).contains(&chosen), "{chosen} of 60");
    for trace in traces() {
        tree(&receiver, &trace, "one that was chosen is whole", |tree| tree.spans().len() >= 5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_a_guest_are_in_the_trace_with_the_calls_that_are_made_in_them() {
    let receiver = Receiver::start().await;
    let lattice = start(1, &receiver.env(), &[]).await;
    lattice
        .apply(&manifests::misfit_with("concurrency = 8\ngrants = { call = [\"misfit\"], log = true }"))
        .await;
    let both = async |text: &str| lattice.call_traced(0, "misfit", "work", json!({ "to": text })).await.1;
    // Two turns in one instance, each with two spans that are worked in by turns.
    let (one, other) = tokio::join!(both("misfit"), both("misfit"));
    for trace in [one, other] {
        let whole = |tree: &Tree| tree.spans().iter().filter(|span| span.name == "step").count() == 2;
        let tree = tree(&receiver, &trace, "a guest's own spans", whole).await;
        let turn = tree.find(|span| span.name == "turn").unwrap();
        let outer = child(turn, "outer", "internal");
        assert_eq!(outer.steps(), ["step", "step"]);
        for (step, message, code) in [("good", "it went well", 1), ("bad", "it went wrong", 7)] {
            let is = |span: &Span| text(span, "step") == step;
            let branch = outer.find(&is).unwrap();
            assert_eq!(branch.span.attributes["size"], json!(3));
            assert_eq!(branch.span.error.is_some(), step == "bad", "{:?}", branch.span);
            let [event] = &branch.span.events[..] else { panic!("{:?}", branch.span.events) };
            assert_eq!((event.name.as_str(), &event.attributes["code"]), (message, &json!(code)));
            let call = child(branch, "misfit/echo", "client");
            assert_eq!(call.steps(), ["attempt"], "{step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_is_to_write_nothing_has_its_spans_all_the_same() {
    let receiver = Receiver::start().await;
    let lattice = start(1, &receiver.env(), &[]).await;
    let lines =
        "concurrency = 8\ngrants = { call = [\"misfit\"], log = true }\nenv = { LATTICE_LOG = \"off\" }";
    lattice.apply(&manifests::misfit_with(lines)).await;
    let (_, trace) = lattice.call_traced(0, "misfit", "work", json!({ "to": "misfit" })).await;
    let whole = |tree: &Tree| tree.spans().iter().filter(|span| span.name == "step").count() == 2;
    let tree = tree(&receiver, &trace, "the spans of one that is silent", whole).await;
    let steps: Vec<_> = tree.spans().into_iter().filter(|span| span.name == "step").collect();
    assert!(steps.iter().all(|span| span.events.is_empty()), "{steps:?}");
    let said = cli::lattice(&lattice.nodes[0].ready().admin, &["-o", "json", "logs", "misfit"]).await;
    let rows = said.json();
    assert!(rows.as_array().unwrap().iter().all(|row| row["source"] != "guest"), "{rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_makes_spans_without_end_is_cut_short() {
    let receiver = Receiver::start().await;
    let lattice = start(1, &receiver.env(), &[]).await;
    lattice.apply(&manifests::misfit_with("")).await;
    let (_, trace) = lattice.call_traced(0, "misfit", "weave", json!(10_000)).await;
    let whole = |tree: &Tree| tree.find(|span| span.name == "turn").is_some();
    let tree = tree(&receiver, &trace, "what is left of a guest's spans", whole).await;
    let threads: Vec<_> = tree.spans().into_iter().filter(|span| span.name == "thread").collect();
    let bytes: usize = threads.iter().map(|span| text(span, "text").len()).sum();
    say(&format!("measured: {} spans with {bytes} bytes of text are left", threads.len()));
    assert!(!threads.is_empty() && threads.len() <= 128 && bytes <= 64 << 10, "{} {bytes}", threads.len());
    lattice.call(0, "misfit", "echo", json!("still here")).await.unwrap();
}
