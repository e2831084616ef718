//! Topics: what is published reaches each actor that subscribes at least once, whichever node it runs on and whatever is killed, and
//! nobody else; subscriptions begin and end with what is declared.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures::StreamExt;
use lattice_proto::admin::DeadLetterRequest;
use lattice_tests::cli;
use lattice_tests::otlp::{Receiver, Tree};
use lattice_tests::{Lattice, Ready, manifests, say, wait_for, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(60);

/// An app of actors that hear and tell, each with these lines in its table. They note what they hear in the ledger.
fn app(actors: &[(&str, &str)]) -> String {
    let mut manifest = "[app]\nname = \"hearers\"\n".to_owned();
    for (name, lines) in actors {
        manifest.push_str(&format!("\n[actors.{name}]\nartifact = \"misfit.wasm\"\n{lines}\n"));
    }
    manifest
}

/// What a hearer has in its table.
fn hears(patterns: &str, lines: &str) -> String {
    format!("subscribe = [{patterns}]\nconcurrency = 8\ngrants = {{ call = [\"ledger\"] }}\n{lines}")
}

/// The lattice, with the ledger.
async fn with_ledger(lattice: Lattice) -> Lattice {
    lattice.apply(&manifests::ledger_with("grants = { publish = [\"ledger.>\"] }")).await;
    lattice
}

/// What an actor has noted of a topic, in the order of numbers: topics have none.
async fn heard(lattice: &Lattice, actor: &str, topic: &str) -> Vec<u64> {
    let key = format!("ledger/{actor}:{topic}");
    let list = lattice.call_within(0, &key, "all", Value::Null, LATEST).await.unwrap();
    let mut list: Vec<u64> = serde_json::from_value(list).unwrap();
    list.sort_unstable();
    list
}

/// Waits until an actor has noted exactly these.
async fn wait_to_hear(lattice: &Lattice, actor: &str, topic: &str, numbers: &[u64]) {
    let what = format!("{actor} has heard {} of {topic}", numbers.len());
    let observe = async || heard(lattice, actor, topic).await;
    let found = wait_for(&what, LATEST, observe, |found| found.len() >= numbers.len()).await;
    assert_eq!(found, numbers, "{actor} {topic}");
}

/// The names of what reads the stream of topics.
async fn queues(lattice: &Lattice) -> Vec<String> {
    use futures::TryStreamExt;
    let jetstream = async_nats::jetstream::new(lattice.nats.client().await);
    let stream = jetstream.get_stream(format!("lat_{}_topics", lattice.id())).await.unwrap();
    let mut names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    names.sort();
    names
}

/// The index of the node with this name.
fn index(lattice: &Lattice, name: &str) -> usize {
    lattice.nodes.iter().position(|node| node.ready().name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_subscriber_hears_each_message_once_wherever_it_runs() {
    let lattice = Lattice::builder(2).label(0, "at=first").label(1, "at=second").start().await;
    let lattice = with_ledger(lattice).await;
    let first = hears("\"orders.>\"", "placement = { require = [\"at=first\"] }");
    let second = hears(
        "\"orders.*\", { topic = \"stock.*.low\", operation = \"on_message\" }",
        "placement = { require = [\"at=second\"] }\nreplicas = 2",
    );
    let speaker = "grants = { publish = [\"orders.created\", \"stock.>\"] }";
    lattice
        .apply(&app(&[
            ("first", &first),
            ("second", &second),
            ("third", &hears("\"orders\"", "")),
            ("speaker", speaker),
        ]))
        .await;
    for number in 0..50_u64 {
        let node = usize::try_from(number % 2).unwrap();
        let arguments = json!({ "topic": "orders.created", "number": number });
        match number % 3 {
            0 => drop(lattice.publish(node, "orders.created", json!({ "number": number })).await.unwrap()),
            _ => drop(lattice.call(node, "speaker", "tell", arguments).await.unwrap()),
        }
    }
    lattice.publish(0, "stock.tea.low", json!({ "number": 7 })).await.unwrap();
    lattice.publish(1, "orders.deep.down", json!({ "number": 8 })).await.unwrap();
    let all: Vec<u64> = (0..50).collect();
    for actor in ["first", "second"] {
        wait_to_hear(&lattice, actor, "orders.created", &all).await;
    }
    wait_to_hear(&lattice, "second", "stock.tea.low", &[7]).await;
    wait_to_hear(&lattice, "first", "orders.deep.down", &[8]).await;
    // All is done with: nothing waits that could come yet.
    for actor in ["first", "second", "third"] {
        let observe = async || lattice.subscriptions(1, actor).await;
        let done = |all: &Vec<lattice_proto::admin::Subscription>| {
            all.iter().all(|one| one.begun && one.pending == 0 && one.in_hand == 0 && one.oldest_ms.is_none())
        };
        wait_until("nothing waits", LATEST, observe, done).await;
    }
    for (actor, topic, numbers) in
        [("second", "orders.deep.down", 0), ("first", "stock.tea.low", 0), ("third", "orders.created", 0)]
    {
        assert_eq!(heard(&lattice, actor, topic).await.len(), numbers, "{actor} {topic}");
    }
    assert_eq!(heard(&lattice, "first", "orders.created").await, all);
    let sum = async |name: &str| lattice.counters(0).await[name] + lattice.counters(1).await[name];
    assert_eq!((sum("topics_published").await, sum("topics_handled").await), (52, 102));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_node_had_in_its_hands_comes_to_another() {
    let mut lattice = with_ledger(Lattice::start(3).await).await;
    lattice.apply(&app(&[("first", &hears("\"orders.>\"", ""))])).await;
    // Killed is the node that has the only replica; whoever is asked is another.
    let (name, _) = lattice.placements(0, "first").await.remove(0);
    let victim = index(&lattice, &name);
    let other = (victim + 1) % 3;
    let all = async |lattice: &Lattice, list: &str| {
        let key = format!("ledger/first:{list}");
        let list = lattice.call_within(other, &key, "all", Value::Null, LATEST).await;
        list.map(|list| serde_json::from_value::<Vec<u64>>(list).unwrap())
    };
    lattice.publish(other, "orders.created", json!({ "number": 1, "wait_ms": 4_000 })).await.unwrap();
    let began = async || all(&lattice, "begun").await.unwrap_or_default();
    wait_until("it is being handled", LATEST, began, |list| *list == [1]).await;
    lattice.nodes[victim].kill();
    let killed = std::time::Instant::now();
    let began = async || all(&lattice, "begun").await.unwrap_or_default();
    wait_until("it is handled once more", LATEST, began, |list| *list == [1, 1]).await;
    say(&format!(
        "measured: what a killed node had in its hands came to another after {:.1?}",
        killed.elapsed()
    ));
    let done = async || all(&lattice, "orders.created").await.unwrap_or_default();
    wait_until("it is handled to its end", LATEST, done, |list| *list == [1]).await;
    assert_eq!(lattice.dead_letters(other).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_while_there_is_no_replica_is_heard_later() {
    let mut lattice = with_ledger(Lattice::start(2).await).await;
    let sleeps = hears("\"naps.*\"", "replicas = { min = 0, max = 2, target_inflight = 4 }");
    lattice.apply(&app(&[("first", &hears("\"orders.>\"", "replicas = 0")), ("sleeper", &sleeps)])).await;
    for number in 0..5 {
        lattice.publish(1, "orders.created", json!({ "number": number })).await.unwrap();
    }
    let waits = async || lattice.subscriptions(0, "first").await;
    let all = wait_for("they wait", LATEST, waits, |all| all[0].pending == 5).await;
    assert!(all[0].begun && all[0].oldest_ms.is_some(), "{all:?}");
    // Also over a restart of everything.
    lattice.restart_everything(LATEST).await;
    lattice.scale(0, "first", 1).await.unwrap();
    wait_to_hear(&lattice, "first", "orders.created", &[0, 1, 2, 3, 4]).await;
    // One that sleeps is woken.
    assert_eq!(lattice.actor(0, "sleeper").await.ready, 0);
    lattice.publish(0, "naps.over", json!({ "number": 9 })).await.unwrap();
    wait_to_hear(&lattice, "sleeper", "naps.over", &[9]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_sleeps_is_woken_by_what_was_given_back() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    let sleeps = hears("\"naps.*\"", "replicas = { min = 0, max = 2, target_inflight = 4 }");
    lattice.apply(&app(&[("sleeper", &sleeps)])).await;
    let observe = async || queues(&lattice).await;
    wait_until("the queue is there", LATEST, observe, |names| *names == ["sleeper_naps+="]).await;
    assert_eq!(lattice.actor(0, "sleeper").await.ready, 0);
    // As by a replica that stops with the message in its hands: nothing else is published that would wake another one.
    let client = lattice.nats.client().await;
    let jetstream = async_nats::jetstream::new(client.clone());
    let stream = jetstream.get_stream(format!("lat_{}_topics", lattice.id())).await.unwrap();
    let queue: PullConsumer = stream.get_consumer("sleeper_naps+=").await.unwrap();
    let mut batch = queue.batch().max_messages(1).expires(LATEST).messages().await.unwrap();
    client.flush().await.unwrap();
    lattice.publish(0, "naps.over", json!({ "number": 9 })).await.unwrap();
    let message = batch.next().await.unwrap().unwrap();
    message.ack_with(AckKind::Nak(Some(Duration::from_secs(1)))).await.unwrap();
    wait_to_hear(&lattice, "sleeper", "naps.over", &[9]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_handle_becomes_a_dead_letter_of_its_subscriber_and_holds_nobody_up() {
    let lattice = with_ledger(Lattice::start(2).await).await;
    lattice
        .apply(&app(&[("first", &hears("\"orders.>\"", "")), ("second", &hears("\"orders.*\"", ""))]))
        .await;
    lattice.publish(0, "orders.created", json!({ "number": 1, "fail": true })).await.unwrap();
    lattice.publish(0, "orders.created", json!({ "number": 2 })).await.unwrap();
    lattice.publish(1, "orders.created", json!({ "nonsense": true })).await.unwrap();
    for actor in ["first", "second"] {
        wait_to_hear(&lattice, actor, "orders.created", &[2]).await;
    }
    let letters = async || lattice.dead_letters(1).await.unwrap();
    let letters = wait_for("all four are given up", LATEST, letters, |letters| letters.len() == 4).await;
    let of = |actor: &str, word: &str| {
        let found = letters.iter().find(|letter| letter.target == actor && letter.reason.contains(word));
        found.unwrap_or_else(|| panic!("{actor} {word}: {letters:#?}")).clone()
    };
    for actor in ["first", "second"] {
        let failed = of(actor, "as it was told by orders.created from external");
        assert_eq!((failed.tries, failed.topic.as_str()), (8, "orders.created"), "{failed:?}");
        assert_eq!((failed.operation.as_str(), failed.sender.as_str()), ("on_message", "external"));
        assert_eq!(of(actor, "nonsense").tries, 1);
    }
    // The same commands look after them, and what is sent anew is of its topic still, for its actor alone.
    let id = of("first", "as it was told").id;
    let admin = &lattice.nodes[0].ready().admin;
    let shown = cli::lattice(admin, &["dead-letters", "show", &id]).await;
    assert!(shown.stdout.contains("topic      orders.created"), "{shown:?}");
    let again = lattice.admin(1).retry_dead_letter(DeadLetterRequest { id: id.clone() }).await.unwrap();
    let again = again.into_inner().id;
    let letters = async || lattice.dead_letters(0).await.unwrap();
    let letters = wait_for("it is given up again", LATEST, letters, |letters| {
        letters.iter().any(|letter| letter.id == again)
    })
    .await;
    assert_eq!(letters.len(), 4, "{letters:#?}");
    let found = letters.iter().find(|letter| letter.id == again).unwrap();
    assert!(found.reason.contains("told by orders.created") && found.target == "first", "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_takes_no_place_from_what_does_not() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    let one_by_one = hears("\"orders.>\"", "").replace("concurrency = 8", "concurrency = 1");
    lattice.apply(&app(&[("first", &one_by_one)])).await;
    for number in 0..4 {
        lattice.publish(0, "orders.created", json!({ "number": number, "fail": true })).await.unwrap();
    }
    for number in 4..7 {
        lattice.publish(0, "orders.created", json!({ "number": number })).await.unwrap();
    }
    wait_to_hear(&lattice, "first", "orders.created", &[4, 5, 6]).await;
    // All of the others are tried still, which takes seconds.
    assert_eq!(lattice.dead_letters(0).await.unwrap(), []);
    let letters = async || lattice.dead_letters(0).await.unwrap();
    let letters = wait_for("they are given up", LATEST, letters, |letters| letters.len() == 4).await;
    assert!(letters.iter().all(|letter| letter.tries == 8), "{letters:#?}");
    let done = async || lattice.subscriptions(0, "first").await;
    wait_until("nothing waits", LATEST, done, |all| all[0].pending == 0 && all[0].in_hand == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_message_is_given_up_as_others_are() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    lattice.apply(&app(&[("first", &hears("\"orders.>\"", ""))])).await;
    let client = lattice.nats.client().await;
    let (subject, size) =
        (format!("lat.{}.topic.orders.created", lattice.id()), client.server_info().max_payload);
    // With what is said of it, it is larger than anything that the server takes.
    client.publish(subject, vec![b'1'; size].into()).await.unwrap();
    let letters = async || lattice.dead_letters(0).await.unwrap();
    let letters = wait_for("it is given up", LATEST, letters, |letters| letters.len() == 1).await;
    assert!(letters[0].reason.contains(&format!("its payload of {size} bytes, sha256:")), "{letters:?}");
    let id = letters[0].id.clone();
    let refused = lattice.admin(0).retry_dead_letter(DeadLetterRequest { id }).await.unwrap_err();
    assert!(refused.message().contains("too large to be kept"), "{refused}");
    let done = async || lattice.subscriptions(0, "first").await;
    wait_until("nothing waits", LATEST, done, |all| all[0].pending == 0 && all[0].in_hand == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_publishes_without_a_grant_or_to_what_is_no_topic() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    lattice.apply(&app(&[("speaker", "grants = { publish = [\"audit.*\"] }")])).await;
    let tell = async |topic: &str| {
        let arguments = json!({ "topic": topic, "number": 1 });
        lattice.call(0, "speaker", "tell", arguments).await
    };
    tell("audit.x").await.unwrap();
    for topic in ["orders.created", "audit", "audit.x.y"] {
        let fault = tell(topic).await.unwrap_err();
        assert!(fault.kind() == "rejected" && fault.message.contains("grants.publish"), "{topic}: {fault}");
    }
    for topic in ["", "audit.", "audit.*", "audit.>", "audit x", "audit.x\r\nA: b", &"audit.x".repeat(40)] {
        let fault = tell(topic).await.unwrap_err();
        assert!(fault.message.contains("with dots between them"), "{topic:?}: {fault}");
        let fault = lattice.publish(0, topic, json!(1)).await.unwrap_err();
        assert!(
            fault.kind() == "invalid-request" && fault.message.contains("no topic"),
            "{topic:?}: {fault}"
        );
    }
    let fault = lattice.publish(0, "audit.x", json!("x".repeat(9 << 20))).await.unwrap_err();
    assert_eq!(fault.kind(), "too-large", "{fault}");
    assert_eq!(lattice.counters(0).await["topics_published"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_nats_clients_publish_as_well() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    lattice.apply(&app(&[("first", &hears("\"orders.>\"", ""))])).await;
    let client = lattice.nats.client().await;
    let subject = |topic: &str| format!("lat.{}.topic.{topic}", lattice.id());
    // With an acknowledgement, or without.
    let ack = client.request(subject("orders.created"), "{\"number\": 1}".into()).await.unwrap();
    let ack: Value = serde_json::from_slice(&ack.payload).unwrap();
    assert_eq!(ack["stream"], format!("lat_{}_topics", lattice.id()), "{ack}");
    client.publish(subject("orders.created"), "{\"number\": 2}".into()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Content-Type", "text/plain");
    headers.insert("traceparent", "nonsense");
    client.publish_with_headers(subject("orders.created"), headers, "three".into()).await.unwrap();
    // What is no topic is left out, and holds nothing up.
    client.publish(subject("orders.$odd"), "{\"number\": 4}".into()).await.unwrap();
    client.publish(subject("orders.created"), "{\"number\": 5}".into()).await.unwrap();
    wait_to_hear(&lattice, "first", "orders.created", &[1, 2, 5]).await;
    let letters = async || lattice.dead_letters(0).await.unwrap();
    let letters =
        wait_for("what is no JSON is given up", LATEST, letters, |letters| !letters.is_empty()).await;
    assert_eq!((letters.len(), letters[0].content_type.as_str()), (1, "text/plain"), "{letters:?}");
    let odd = async || lattice.counters(0).await["malformed_subjects"];
    wait_until("what is no topic is counted", LATEST, odd, |count| *count == 1).await;
    let done = async || lattice.subscriptions(0, "first").await;
    wait_until("nothing waits", LATEST, done, |all| all[0].pending == 0 && all[0].in_hand == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_key_publishes_waits_for_the_commit_of_what_its_turn_saw() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    lattice.apply(&app(&[("first", &hears("\"ledger.>\"", ""))])).await;
    let announce = async |key: &str, number: u64, within: Duration| {
        let arguments = json!({ "topic": "ledger.grown", "number": number });
        lattice.call_within(0, &format!("ledger/{key}"), "announce", arguments, within).await
    };
    announce("alice", 1, LATEST).await.unwrap();
    wait_to_hear(&lattice, "first", "ledger.grown", &[1]).await;
    lattice.nats.pause();
    // The key is on this node: a turn ends without NATS, and the next one begins on top of what is not committed, as long as the lease
    // runs.
    let within = Duration::from_millis(400);
    let appended = lattice.call_within(0, "ledger/alice", "append", json!(2), within).await.unwrap_err();
    let announced = announce("alice", 3, within).await.unwrap_err();
    for fault in [appended, announced] {
        assert_eq!((fault.kind(), fault.ran), ("deadline", lattice_proto::Ran::Maybe), "{fault}");
    }
    lattice.nats.resume();
    announce("bob", 4, LATEST).await.unwrap();
    // What was sent to the server before is in the stream before it.
    wait_to_hear(&lattice, "first", "ledger.grown", &[1, 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_begin_and_end_with_what_is_declared() {
    let lattice = with_ledger(Lattice::start(2).await).await;
    assert_eq!(queues(&lattice).await, [""; 0]);
    lattice.publish(0, "orders.created", json!({ "number": 1 })).await.unwrap();
    lattice.apply(&app(&[("first", &hears("\"orders.created\"", ""))])).await;
    // At once, before the leader need have come to it.
    lattice.publish(0, "orders.created", json!({ "number": 2 })).await.unwrap();
    wait_to_hear(&lattice, "first", "orders.created", &[2]).await;
    assert_eq!(queues(&lattice).await, ["first_orders+created"]);
    // Other patterns, of which one is new.
    let other = hears("\"orders.changed\", \"stock.>\"", "");
    lattice.apply(&app(&[("first", &other)])).await;
    lattice.publish(1, "stock.tea.low", json!({ "number": 3 })).await.unwrap();
    lattice.publish(1, "orders.created", json!({ "number": 4 })).await.unwrap();
    wait_to_hear(&lattice, "first", "stock.tea.low", &[3]).await;
    let observe = async || queues(&lattice).await;
    wait_until("the old one is gone", LATEST, observe, |names| {
        *names == ["first_orders+changed", "first_stock+~"]
    })
    .await;
    assert_eq!(heard(&lattice, "first", "orders.created").await, [2]);
    lattice.delete(1, "hearers").await.unwrap();
    wait_until("nothing is left behind", LATEST, observe, |names| names.is_empty()).await;
    assert!(lattice.subscriptions(0, "").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_gone_back_to_hears_nothing_once_more() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    lattice.apply(&app(&[("first", &hears("\"orders.>\"", ""))])).await;
    lattice.publish(0, "orders.created", json!({ "number": 1 })).await.unwrap();
    wait_to_hear(&lattice, "first", "orders.created", &[1]).await;
    lattice.apply(&app(&[("first", "grants = { call = [\"ledger\"] }")])).await;
    let observe = async || queues(&lattice).await;
    wait_until("its queue is gone", LATEST, observe, |names| names.is_empty()).await;
    lattice.publish(0, "orders.created", json!({ "number": 2 })).await.unwrap();
    lattice.roll_back(0, "hearers", Some(1)).await.unwrap();
    // At once, before the leader need have come to it.
    lattice.publish(0, "orders.created", json!({ "number": 3 })).await.unwrap();
    wait_to_hear(&lattice, "first", "orders.created", &[1, 3]).await;
    let done = async || lattice.subscriptions(0, "first").await;
    wait_until("nothing waits", LATEST, done, |all| {
        all.iter().all(|one| one.begun && one.pending == 0 && one.in_hand == 0)
    })
    .await;
    assert_eq!(heard(&lattice, "first", "orders.created").await, [1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_subscribed_to_is_refused_when_it_is_deployed() {
    let lattice = Lattice::start(1).await;
    let cases = [
        (
            "subscribe = [{ topic = \"orders.>\", operation = \"order_placed\" }]",
            "no operation `order_placed`",
        ),
        ("subscribe = [\"orders.>\", \"*.created\"]", "stand for the same topics"),
        ("subscribe = [\"Orders created\"]", "no pattern of topics"),
    ];
    for (lines, word) in cases {
        let fault = lattice.try_apply(0, &app(&[("first", lines)])).await.unwrap_err();
        assert!(fault.message.contains(word), "{lines}: {fault}");
    }
    let fault =
        lattice.try_apply(0, &manifests::ledger_with("subscribe = [\"orders.>\"]")).await.unwrap_err();
    assert!(fault.message.contains("for no key"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_and_what_comes_of_it_is_one_trace() {
    let receiver = Receiver::start().await;
    let mut builder = Lattice::builder(2).label(0, "at=first").label(1, "at=second");
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let lattice = with_ledger(builder.start().await).await;
    let first = hears("\"orders.>\"", "placement = { require = [\"at=first\"] }");
    let second = hears("\"orders.>\"", "placement = { require = [\"at=second\"] }");
    let speaker = "grants = { publish = [\"orders.>\"] }";
    lattice.apply(&app(&[("first", &first), ("second", &second), ("speaker", speaker)])).await;
    let arguments = json!({ "topic": "orders.created", "number": 1 });
    let (_, trace) = lattice.call_traced(0, "speaker", "tell", arguments).await;
    let observe = async || Tree::of(&receiver.trace(&trace));
    let complete = |seen: &Result<Tree, String>| {
        let Ok(tree) = seen else { return false };
        let is_published = |span: &lattice_tests::otlp::Span| span.name == "publish";
        let Some(published) = tree.find(is_published) else { return false };
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for child in &published.children {
            *names.entry(&child.span.name).or_default() += 1;
        }
        names == [("process first", 1), ("process second", 1)].into()
            // What the subscribers call hangs under what they do.
            && tree.spans().iter().filter(|span| span.name == "ledger/append").count() >= 4
    };
    wait_until("one tree from the publisher to both who hear", LATEST, observe, complete).await;
    say(&format!("what was published:\n{}", Tree::of(&receiver.trace(&trace)).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_publish_and_see_what_waits() {
    let lattice = with_ledger(Lattice::start(1).await).await;
    lattice.apply(&app(&[("first", &hears("\"orders.>\"", "replicas = 0"))])).await;
    let Ready { admin, .. } = lattice.nodes[0].ready();
    let run = async |words: &[&str]| cli::lattice(admin, words).await;
    let said = run(&["publish", "orders.created", "{\"number\": 1}", "--id", "once"]).await;
    assert_eq!((said.code, said.stdout.trim()), (0, "published once"), "{said:?}");
    // Under one id it is stored once.
    let said = run(&["publish", "orders.created", "{\"number\": 1}", "--id", "once"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    for (words, says) in [
        (["publish", "orders created", "1"], "is no topic"),
        (["publish", "orders.created", "tea"], "is no JSON"),
    ] {
        let said = run(&words).await;
        assert!(said.code == 2 && said.stderr.contains(says), "{said:?}");
    }
    let listed = async || run(&["topics", "-o", "json"]).await.json();
    let listed = wait_for("it waits", LATEST, listed, |rows| rows[0]["pending"] == json!(1)).await;
    let row = &listed[0];
    assert_eq!(
        (&row["actor"], &row["topics"], &row["operation"], &row["begun"]),
        (&json!("first"), &json!("orders.>"), &json!("on_message"), &json!(true)),
        "{listed}"
    );
    let text = run(&["topics", "first"]).await.stdout;
    assert!(text.contains("orders.>") && text.contains("PENDING"), "{text}");
    lattice.scale(0, "first", 1).await.unwrap();
    wait_to_hear(&lattice, "first", "orders.created", &[1]).await;
    let told = run(&["topics", "nobody"]).await.stdout;
    assert!(told.contains("nobody subscribes"), "{told}");
}
