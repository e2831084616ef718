//! What guests write and what nodes say of them is read from any node, over all of them, in order and within bounds.

use std::time::Duration;

use lattice_proto::admin::{LogLine, WatchLogsRequest};
use lattice_tests::load::Plan;
use lattice_tests::otlp::{Receiver, Tree};
use lattice_tests::{Fault, Lattice, cli, manifests, say, wait_for, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

fn of(actor: &str) -> WatchLogsRequest {
    WatchLogsRequest { actor: actor.to_owned(), ..WatchLogsRequest::default() }
}

/// All lines that are there.
async fn read(lattice: &Lattice, node: usize, request: WatchLogsRequest) -> Result<Vec<LogLine>, Fault> {
    let mut lines = lattice.admin(node).watch_logs(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(line) = lines.message().await? {
        all.push(line);
    }
    Ok(all)
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().filter(|line| line.source == "guest").map(|line| line.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_in_the_logs_and_in_the_trace_with_whose_it_is() {
    let receiver = Receiver::start().await;
    let mut builder = Lattice::builder(2);
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let lattice = builder.start().await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    // The second revision changes what runs, and so is the version of what panics.
    lattice.apply(&manifests::misfit_with("grants = { log = true }\nenv = { A = \"b\" }")).await;
    let at = lattice.placements(0, "misfit").await[0].0.clone();
    lattice.call(0, "misfit", "trap", Value::Null).await.unwrap_err();

    // Any node tells, also the one that it did not happen on.
    for node in 0..2 {
        let both = |lines: &Vec<LogLine>| {
            lines.iter().any(|line| line.source == "guest" && line.text.contains("traps on purpose"))
                && lines.iter().any(|line| line.source == "node" && line.text.contains("wasm"))
        };
        let observe = async || read(&lattice, node, of("misfit")).await.unwrap();
        let lines = wait_for("message and backtrace", LATEST, observe, both).await;
        let message = lines.iter().find(|line| line.text.contains("traps on purpose")).unwrap();
        let trapped = lines.iter().find(|line| line.text.contains("trapped and is made again")).unwrap();
        assert!(trapped.text.contains("backtrace") && trapped.text.contains("misfit"), "{trapped:?}");
        for line in [message, trapped] {
            assert_eq!((line.actor.as_str(), line.version), ("misfit", 2), "{line:?}");
            assert_eq!(line.node, at, "{line:?}");
            assert_eq!(line.trace_id.len(), 32, "{line:?}");
        }
        assert_eq!(message.trace_id, trapped.trace_id);
        let found = async || Tree::of(&receiver.trace(&trapped.trace_id));
        let tree = wait_for("its trace", LATEST, found, Result::is_ok).await.unwrap();
        let turn = tree.find(|span| span.name == "turn").unwrap();
        assert_eq!(turn.span.span_id, trapped.span_id, "it leads to the very turn");
        assert!(turn.span.events[0].attributes["exception.stacktrace"].as_str().unwrap().contains("wasm"));
    }
    let said = cli::lattice(&lattice.nodes[0].ready().admin, &["logs", "misfit", "--tail", "5"]).await;
    assert!(said.code == 0 && said.stdout.contains("traps on purpose"), "{said:?}");
    let said = cli::lattice(&lattice.nodes[0].ready().admin, &["-o", "json", "logs", "misfit"]).await;
    assert!(said.json().as_array().unwrap().iter().all(|line| line["actor"] == "misfit"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_all_nodes_come_in_the_order_of_time() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::misfit_with("replicas = 3\ngrants = { log = true }")).await;
    let mut following = lattice
        .admin(0)
        .watch_logs(WatchLogsRequest { follow: true, ..of("misfit") })
        .await
        .unwrap()
        .into_inner();
    let said: Vec<String> = (0..60).map(|number| format!("line {number}")).collect();
    for (turn, line) in said.iter().enumerate() {
        lattice.call(turn % 3, "misfit", "log", json!(line)).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        let next = tokio::time::timeout(LATEST, following.message()).await;
        let line = next.expect("the next line").unwrap().unwrap();
        if line.source == "guest" {
            heard.push(line);
        }
    }
    let nodes: std::collections::BTreeSet<_> = heard.iter().map(|line| line.node.as_str()).collect();
    assert_eq!(nodes.len(), 3, "all nodes wrote some: {nodes:?}");
    assert!(heard.is_sorted_by_key(|line| line.at_ms), "in the order of time");
    let mut sorted: Vec<_> = heard.iter().map(|line| line.text.clone()).collect();
    sorted.sort();
    let mut wanted = said.clone();
    wanted.sort();
    assert_eq!(sorted, wanted, "each once, and none left out");

    let last = read(&lattice, 1, WatchLogsRequest { last: 5, ..of("misfit") }).await.unwrap();
    assert_eq!(last.len(), 5, "{last:?}");
    // Of those of one moment any may be the last.
    assert_eq!(last.last().unwrap().at_ms, heard.last().unwrap().at_ms);
    let one = WatchLogsRequest { node: lattice.nodes[2].name().to_owned(), ..of("misfit") };
    let one = read(&lattice, 0, one).await.unwrap();
    assert!(!one.is_empty() && one.iter().all(|line| line.node == lattice.nodes[2].name()), "{one:?}");
    let own = WatchLogsRequest { actor: String::new(), node: lattice.nodes[0].name().to_owned(), ..of("") };
    let own = read(&lattice, 1, own).await.unwrap();
    assert!(own.iter().any(|line| line.text.contains("connected to NATS")), "{own:?}");
    let none = read(&lattice, 0, WatchLogsRequest { level: "error".into(), ..of("misfit") }).await.unwrap();
    assert_eq!(none, [], "nothing of that is an error");
    let said = cli::lattice(&lattice.nodes[0].ready().admin, &["logs", "nobody/key"]).await;
    assert!(said.code == 1 && said.stderr.contains("no actor `nobody`"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_hears_a_node_that_comes_and_is_not_held_up_by_one_that_hangs() {
    let mut lattice = Lattice::start(2).await;
    let lines = "replicas = \"each\"\ngrants = { log = true }";
    lattice.apply(&manifests::misfit_with(lines)).await;
    let request = WatchLogsRequest { follow: true, ..of("misfit") };
    let mut following = lattice.admin(0).watch_logs(request).await.unwrap().into_inner();
    let mut heard = async |wanted: &str| loop {
        let next = tokio::time::timeout(LATEST, following.message()).await;
        let line = next.unwrap_or_else(|_| panic!("nothing of `{wanted}`")).unwrap().unwrap();
        if line.text == wanted {
            return line.node;
        }
    };
    let third = lattice.add_node("late", &[]).await;
    let observe = async || lattice.placements(0, "misfit").await;
    wait_until("a replica on the new node", LATEST, observe, |spread| spread.len() == 3).await;
    lattice.call(third, "misfit", "log", json!("from the new node")).await.unwrap();
    assert_eq!(heard("from the new node").await, "late");

    lattice.nodes[1].pause();
    lattice.call(0, "misfit", "log", json!("beside one that hangs")).await.unwrap();
    assert_eq!(heard("beside one that hangs").await, lattice.nodes[0].name());
    lattice.nodes[1].resume();
    // Others answer for it until it has found its place again.
    let answered = async || {
        lattice.call(1, "misfit", "log", json!("and after")).await.unwrap();
        heard("and after").await
    };
    let hung = lattice.nodes[1].name();
    wait_until("a line of the node that hung", LATEST, answered, |node| *node == hung).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_says_too_much_loses_its_own_words_only() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }\nlimits = { turn = \"20s\" }")).await;
    let quiet = manifests::misfit_with("grants = { log = true }")
        .replace("misfit\"\n", "quiet\"\n")
        .replace("actors.misfit", "actors.quiet");
    lattice.apply(&quiet).await;
    lattice.apply(&manifests::greeter(1)).await;
    let before = lattice.nodes[0].resident_bytes();
    let neighbour = lattice.load(&Plan::greet(50, Duration::from_secs(120), &[0]));

    let babble = |lines: u32, bytes: u32| json!({ "lines": lines, "bytes": bytes });
    // Ten lines of ten megabytes, none of them text; then a hundred thousand short ones.
    let long = Duration::from_secs(30);
    lattice.call_within(0, "misfit", "babble", babble(10, 10 << 20), long).await.unwrap();
    lattice.call_within(0, "misfit", "babble", babble(100_000, 20), long).await.unwrap();
    lattice.call(0, "quiet", "log", json!("a quiet word")).await.unwrap();

    let told =
        |lines: &Vec<LogLine>| lines.iter().any(|line| line.text.contains("lines of its log were left out"));
    let observe = async || read(&lattice, 0, of("misfit")).await.unwrap();
    let lines = wait_for("what was left out is told", LATEST, observe, told).await;
    let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
    say(&format!("measured: {} lines of {bytes} bytes are kept", lines.len()));
    assert!(lines.len() <= 5_000 && bytes <= 1 << 20, "{} lines, {bytes} bytes", lines.len());
    let control = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(lines.iter().all(|line| !line.text.contains(control)), "no control character gets through");
    assert_eq!(texts(&read(&lattice, 0, of("quiet")).await.unwrap()), ["a quiet word"]);

    let report = neighbour.stop().await;
    assert_eq!(report.kinds(), [].into(), "the neighbour felt it: {report}");
    let grown = lattice.nodes[0].resident_bytes().saturating_sub(before) >> 20;
    say(&format!("measured: the node's memory grew by {grown} MiB"));
    assert!(grown < 150, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_for_programs_are_json() {
    let lattice = Lattice::builder(1).arg("--log-format").arg("json").start().await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    lattice.call(0, "misfit", "log", json!("for a program")).await.unwrap();
    let find = async || {
        let output = lattice.nodes[0].output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["message"] == "for a program").map(|line| line["actor"].clone())
    };
    wait_until("the line as JSON", LATEST, find, |found| *found == Some(json!("misfit"))).await;
}
