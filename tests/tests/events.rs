//! What happens is told once, in order, to whoever asks any node; whoever was away goes on where it stopped.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::admin::{Event, NodeRequest, WatchEventsRequest};
use lattice_proto::event::{self, Kind};
use lattice_proto::record;
use lattice_proto::subject::Subjects;
use lattice_tests::{Fault, Lattice, Node, manifests, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

/// More than the stream keeps, by more than what is on its way to a client that does not read: some megabytes.
const MANY: u64 = 16_000;

fn node(name: &str) -> NodeRequest {
    NodeRequest { node: name.to_owned() }
}

fn after(cursor: u64) -> WatchEventsRequest {
    WatchEventsRequest { after: Some(cursor), ..WatchEventsRequest::default() }
}

/// The kinds of what was told about one thing, less those that a busy machine adds.
fn story(events: &[Event], subject: &str) -> Vec<(String, u64)> {
    let about = events.iter().filter(|event| event.subject == subject);
    let steady = about.filter(|event| !matches!(event.kind.as_str(), "node-suspect" | "node-recovered"));
    steady.map(|event| (event.kind.clone(), event.revision)).collect()
}

/// Nearly as long as a text may be, so that few of them are on their way at once.
fn text_of(number: u64) -> String {
    format!("{number:01000}")
}

/// An event of the test's own, as the stream holds it.
fn made_up(lattice: &Lattice, number: u64) -> (String, Bytes) {
    let event = event::Event {
        at_ms: 1,
        node: "test".parse().unwrap(),
        kind: Kind::Scaled,
        subject: "made-up".to_owned(),
        revision: None,
        count: 1,
        text: text_of(number),
    };
    let subjects = Subjects::new(lattice.id().parse().unwrap());
    (subjects.event(event.kind), record::encode(&event))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_an_app_is_told_in_order() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.wait_for_event(1, "app-met", "greeter", 1, LATEST).await;
    lattice.scale(1, "greeter", 4).await.unwrap();
    lattice.wait_for_event(0, "app-met", "greeter", 2, LATEST).await;
    lattice.roll_back(0, "greeter", Some(1)).await.unwrap();
    lattice.wait_for_event(1, "app-met", "greeter", 3, LATEST).await;
    lattice.delete(1, "greeter").await.unwrap();
    lattice.wait_for_event(0, "app-deleted", "greeter", 1, LATEST).await;
    let events = lattice.events(0).await;
    let wanted = [
        ("app-declared", 1),
        ("app-met", 1),
        ("app-declared", 2),
        ("app-met", 2),
        ("rolled-back", 3),
        ("app-met", 3),
        ("app-deleted", 4),
    ];
    assert_eq!(story(&events, "greeter"), wanted.map(|(kind, revision)| (kind.to_owned(), revision)));
    let scaled = events.iter().find(|event| event.kind == "app-declared" && event.revision == 2).unwrap();
    assert_eq!((scaled.node.as_str(), scaled.text.as_str()), ("node-1", "~ greeter: replicas 2 -> 4"));
    let leads = events.iter().find(|event| event.kind == "leader-elected").unwrap();
    assert!(leads.subject.starts_with("node-"), "{leads:?}");
    // Every node tells the same.
    assert_eq!(lattice.events(1).await, events);
    let only = WatchEventsRequest {
        kinds: vec!["app-met".to_owned()],
        subject: "greeter".to_owned(),
        limit: 2,
        ..WatchEventsRequest::default()
    };
    let only = lattice.read_events(1, only).await.unwrap();
    assert_eq!(only.iter().map(|event| event.revision).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_a_node_is_told_in_order() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(3)).await;
    let told = async |kind, times| lattice.wait_for_event(0, kind, "node-2", times, LATEST).await;
    lattice.admin(0).cordon(node("node-2")).await.unwrap();
    told("node-cordoned", 1).await;
    lattice.admin(0).uncordon(node("node-2")).await.unwrap();
    told("node-uncordoned", 1).await;
    lattice.drain(0, "node-2").await.unwrap();
    told("node-drained", 1).await;
    lattice.admin(0).uncordon(node("node-2")).await.unwrap();
    told("node-uncordoned", 2).await;
    lattice.nodes[2].kill();
    lattice.wait_for_event(0, "node-lost", "node-2", 1, LATEST).await;
    lattice.restart_node(2).await;
    lattice.wait_for_event(0, "node-joined", "node-2", 2, LATEST).await;
    assert!(lattice.nodes[2].terminate().await.success());
    lattice.wait_for_event(0, "node-left", "node-2", 1, LATEST).await;
    let story: Vec<String> = story(&lattice.events(1).await, "node-2")
        .into_iter()
        .map(|(kind, _)| kind)
        // It may lead, and it empties itself before it stops if it has got replicas again.
        .filter(|kind| kind != "leader-elected")
        .collect();
    let first = [
        "node-joined",
        "node-cordoned",
        "node-uncordoned",
        "node-draining",
        "node-drained",
        "node-uncordoned",
        "node-lost",
        "node-joined",
    ];
    assert_eq!(story[..first.len()], first, "{story:?}");
    assert_eq!(story.last().unwrap(), "node-left", "{story:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_fails_and_what_it_cost_are_told() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.wait_for_event(0, "app-met", "greeter", 1, LATEST).await;
    let broken = manifests::greeter_with("replicas = 2\nlimits = { memory = \"64KiB\" }");
    lattice.try_apply(0, &broken).await.unwrap_err();
    lattice.wait_for_event(1, "app-met", "greeter", 2, LATEST).await;
    lattice.wait_for_event(1, "actor-recovered", "greeter", 1, LATEST).await;
    let events = lattice.events(1).await;
    let place = |kind: &str| {
        let found = events.iter().position(|event| event.kind == kind && event.subject == "greeter");
        found.unwrap_or_else(|| panic!("no {kind} in {events:#?}"))
    };
    let failed = &events[place("update-failed")];
    assert!(failed.revision == 2 && failed.text.contains("crashed"), "{failed:?}");
    assert_eq!(events[place("rolled-back")].revision, 3);
    assert!(place("update-failed") < place("rolled-back"), "{events:#?}");
    assert!(place("actor-crashed") < place("rolled-back"), "{events:#?}");
    assert!(place("actor-degraded") < place("actor-recovered"), "{events:#?}");
    let declared = events.iter().filter(|event| event.kind == "update-failed").count();
    assert_eq!(declared, 1, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_of_crashes_makes_few_events_and_none_is_left_uncounted() {
    const CRASHES: u64 = 12;
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("")).await;
    let start = Instant::now();
    for _ in 0..CRASHES {
        let fault = lattice.call(0, "misfit", "trap", json!(null)).await.unwrap_err();
        assert_eq!(fault.kind(), "trapped", "{fault}");
    }
    let crashes = async || {
        let kinds = vec!["actor-crashed".to_owned()];
        let request = WatchEventsRequest { kinds, ..WatchEventsRequest::default() };
        lattice.read_events(0, request).await.unwrap()
    };
    let all = |events: &Vec<Event>| events.iter().map(|event| event.count).sum::<u64>() == CRASHES;
    wait_until("every crash is counted", LATEST, crashes, all).await;
    let events = crashes().await;
    let most = start.elapsed().as_secs() / 5 + 2;
    assert!(events.len() as u64 <= most, "{} events, at most {most}: {events:#?}", events.len());
    assert!(events.iter().all(|event| event.subject == "misfit" && event.node == "node-0"), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_on_at_another_node_misses_nothing_and_hears_nothing_twice() {
    const EVENTS: u64 = 2_000;
    let lattice = Lattice::start(3).await;
    let stream = async_nats::jetstream::new(lattice.nats.client().await);
    let made: Vec<(String, Bytes)> = (0..EVENTS).map(|number| made_up(&lattice, number)).collect();
    let telling = tokio::spawn(async move {
        for (subject, payload) in made {
            stream.publish(subject, payload).await.unwrap().await.unwrap();
        }
    });
    let (mut last, mut heard, mut via) = (None, Vec::new(), 0);
    while heard.len() < EVENTS as usize {
        let limit = fastrand::u64(1..150);
        let request =
            WatchEventsRequest { after: last, follow: true, limit, ..WatchEventsRequest::default() };
        let part = tokio::time::timeout(LATEST, lattice.read_events(via, request)).await.unwrap().unwrap();
        assert_eq!(part.len() as u64, limit);
        for event in part {
            assert!(last.is_none_or(|last| event.cursor == last + 1), "{event:?} after {last:?}");
            last = Some(event.cursor);
            if event.subject == "made-up" {
                heard.push(event.text);
            }
        }
        via = (via + 1) % 3;
        // What follows the last of them may never come.
        if heard.len() as u64 + 150 > EVENTS {
            break;
        }
    }
    telling.await.unwrap();
    let rest = lattice.read_events(via, after(last.unwrap())).await.unwrap();
    heard.extend(rest.into_iter().filter(|event| event.subject == "made-up").map(|event| event.text));
    assert_eq!(heard, (0..EVENTS).map(text_of).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_cannot_be_gone_on_from_is_refused_with_what_to_do() {
    let lattice = Lattice::start(2).await;
    // Whoever does not read what it follows has it fall out of the stream, and is told so.
    let slow = WatchEventsRequest { after: Some(0), follow: true, ..WatchEventsRequest::default() };
    let mut slow = lattice.admin(1).watch_events(slow).await.unwrap().into_inner();
    let client = lattice.nats.client().await;
    for number in 0..MANY {
        let (subject, payload) = made_up(&lattice, number);
        client.publish(subject, payload).await.unwrap();
    }
    client.flush().await.unwrap();
    // While they are pushed out they cannot be read without a gap, which is told as well.
    let kept = async || lattice.read_events(0, WatchEventsRequest::default()).await;
    let is_full = |events: &Result<Vec<Event>, Fault>| {
        events
            .as_ref()
            .is_ok_and(|kept| kept.last().is_some_and(|last| last.cursor >= MANY) && kept.len() <= 10_000)
    };
    wait_until("the oldest made room", LATEST, kept, is_full).await;
    let oldest = lattice.events(0).await[0].cursor;

    let fault = lattice.read_events(1, after(1)).await.unwrap_err();
    assert_eq!((fault.kind(), fault.ran), ("cursor-too-old", lattice_proto::Ran::No), "{fault}");
    assert!(fault.message.contains("lattice ps") && fault.message.contains("cursor"), "{fault}");
    let status = lattice.admin(0).watch_events(after(1)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange);
    let named = fault.message.split("the oldest that is has the cursor ").nth(1).unwrap();
    let named: u64 = named.split(':').next().unwrap().parse().unwrap();
    assert!(named >= oldest, "{fault}");
    assert_eq!(lattice.read_events(1, after(named)).await.unwrap()[0].cursor, named + 1);

    let fault = lattice.read_events(0, after(u64::MAX)).await.unwrap_err();
    assert_eq!(fault.kind(), "invalid-request", "{fault}");
    let unknown = WatchEventsRequest { kinds: vec!["nothing".to_owned()], ..WatchEventsRequest::default() };
    let fault = lattice.read_events(0, unknown).await.unwrap_err();
    assert!(fault.kind() == "invalid-request" && fault.message.contains("app-met"), "{fault}");

    let (mut last, mut read) = (0, 0);
    let status = loop {
        // Without a gap it would go on for ever.
        match tokio::time::timeout(LATEST, slow.message()).await.expect("a gap is told") {
            Ok(event) => {
                let event = event.unwrap();
                assert_eq!(event.cursor, last + 1, "nothing is left out before that is told");
                (last, read) = (event.cursor, read + 1);
            }
            Err(status) => break status,
        }
    };
    let fault = Fault::from(status);
    assert_eq!(fault.kind(), "cursor-too-old", "{fault} after {read}");
    assert!(fault.message.contains(&format!("after cursor {last} ")), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_goes_on_when_nats_is_back() {
    let mut lattice = Lattice::start(2).await;
    let follow = WatchEventsRequest { follow: true, ..WatchEventsRequest::default() };
    let mut stream = lattice.admin(1).watch_events(follow).await.unwrap().into_inner();
    let mut heard: Vec<Event> = Vec::new();
    let mut hear_of = async |kind: &str, subject: &str| {
        let until = async {
            loop {
                let event = stream.message().await.unwrap().unwrap();
                let found = event.kind == kind && event.subject == subject;
                heard.push(event);
                if found {
                    return;
                }
            }
        };
        tokio::time::timeout(LATEST, until).await.unwrap_or_else(|_| panic!("no {kind} of {subject}"));
    };
    lattice.admin(0).cordon(node("node-0")).await.unwrap();
    hear_of("node-cordoned", "node-0").await;

    lattice.nats.stop().await;
    let fault = lattice.read_events(0, WatchEventsRequest::default()).await.unwrap_err();
    assert_eq!(fault.kind(), "unavailable", "{fault}");
    lattice.nats.restart().await;
    let uncordon = async || lattice.admin(0).uncordon(node("node-0")).await.map_err(Fault::from);
    wait_until("control is back", LATEST, uncordon, Result::is_ok).await;
    hear_of("node-uncordoned", "node-0").await;

    // A node has two connections, and each of them comes back when it does.
    let read = async || lattice.read_events(0, WatchEventsRequest::default()).await;
    wait_until("events are read again", LATEST, read, Result::is_ok).await;
    let all = lattice.events(0).await;
    assert_eq!(heard[..], all[..heard.len()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_lists_and_follows_through_a_restart_of_its_node() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(1)).await;
    lattice.wait_for_event(0, "app-met", "greeter", 1, LATEST).await;
    let admin = lattice.nodes[0].ready().admin.clone();
    let said = lattice_tests::cli::lattice(&admin, &["-o", "json", "events", "greeter"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let rows = said.json();
    assert_eq!((&rows[0]["kind"], &rows[1]["kind"]), (&json!("app-declared"), &json!("app-met")), "{said:?}");
    let said = lattice_tests::cli::lattice(&admin, &["events", "--kind", "app-met", "--since", "1h"]).await;
    assert!(said.code == 0 && said.stdout.contains("greeter (1)") && said.stdout.contains('Z'), "{said:?}");
    let said = lattice_tests::cli::lattice(&admin, &["-o", "json", "events", "--after", "99999"]).await;
    assert_eq!((said.code, &said.error()["kind"]), (1, &json!("invalid-request")), "{said:?}");
    let said = lattice_tests::cli::lattice(&admin, &["events", "--kind", "nothing"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    let said = lattice_tests::cli::lattice(&admin, &["events", "nobody"]).await;
    assert!(said.code == 0 && said.stderr.contains("nothing is kept of `nobody`"), "{said:?}");
    let said = lattice_tests::cli::lattice(&admin, &["events", "greeter", "--kind", "node-lost"]).await;
    assert!(said.code == 0 && said.stderr.contains("nothing such is kept of `greeter`"), "{said:?}");

    let mut command = tokio::process::Command::new(lattice_tests::lattice::node_program());
    command.args(["--admin", &admin, "-o", "json", "events", "--follow"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut cursors = Vec::new();
    let mut hear_of = async |kind: &str, subject: &str| {
        let until = async {
            loop {
                let line = lines.next_line().await.unwrap().unwrap();
                let row: serde_json::Value = serde_json::from_str(&line).unwrap();
                cursors.push(row["cursor"].as_u64().unwrap());
                if row["kind"] == kind && row["subject"] == subject {
                    return;
                }
            }
        };
        tokio::time::timeout(LATEST, until).await.unwrap_or_else(|_| panic!("no {kind} of {subject}"));
    };
    hear_of("app-met", "greeter").await;
    lattice.nodes[0].kill();
    lattice.wait_for_event(1, "node-lost", "node-0", 1, LATEST).await;
    let mut settings = lattice.nodes[0].settings().clone();
    settings.listen = admin.trim_start_matches("http://").to_owned();
    lattice.nodes[0] = Node::start(settings).await;
    lattice.wait_until_joined(LATEST).await;
    lattice.admin(1).cordon(node("node-1")).await.unwrap();
    hear_of("node-cordoned", "node-1").await;
    assert!(cursors.windows(2).all(|pair| pair[1] == pair[0] + 1), "{cursors:?}");
}
