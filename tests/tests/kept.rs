//! What components keep by the standard's interfaces is in NATS: it is shared by all replicas, outlives nodes, and is opened by those only
//! to whom it was granted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use lattice_tests::http::{self, Page};
use lattice_tests::otlp::Receiver;
use lattice_tests::{Lattice, cli, published, say, wait_for};

use crate::standard::{LATEST, app, gateway, get};

/// A lattice whose nodes have gateways.
async fn start(nodes: usize) -> Lattice {
    Lattice::builder(nodes).arg("--http").arg("127.0.0.1:0").start().await
}

/// The keeper, on each node, that may open two stores.
fn keeper() -> String {
    let lines = "http = {}\nreplicas = \"each\"\ngrants = { keyvalue = [\"default\", \"sessions\"], log = true }\n\
                 config = { colour = \"green\", shape = \"round\" }";
    app("keeper", "keeper.wasm", lines)
}

/// A key-value bucket, as any NATS client sees it.
async fn bucket(lattice: &Lattice, store: &str) -> jetstream::kv::Store {
    let context = jetstream::new(lattice.nats.client().await);
    context.get_key_value(format!("lat_{}_keyvalue_{store}", lattice.id())).await.unwrap()
}

/// An object store, as any NATS client sees it.
async fn objects(lattice: &Lattice, container: &str) -> jetstream::object_store::ObjectStore {
    let context = jetstream::new(lattice.nats.client().await);
    context.get_object_store(format!("lat_{}_blobs_{container}", lattice.id())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_and_swaps_of_two_replicas_lose_no_update_and_outlive_the_nodes() {
    let mut lattice = start(2).await;
    lattice.apply(&keeper()).await;
    lattice.wait_for_spread(0, "keeper", &[1, 1], LATEST).await;
    let gates: Vec<String> = (0..2).map(|node| gateway(&lattice, node)).collect();
    for gate in &gates {
        assert_eq!(get(gate, "/get?&visits", &[]).await.body, "nothing");
    }
    for (path, times) in [("/increment?&visits", 100), ("/swap?default&swaps", 40)] {
        let each = (0..times).map(|nth| http::get(&gates[nth % 2], path));
        let answers: Vec<Page> = futures::future::join_all(each).await;
        let counted: BTreeSet<usize> =
            answers.iter().map(|page| page.body.parse().unwrap_or_else(|_| panic!("{page:?}"))).collect();
        assert_eq!(counted, (1..=times).collect(), "{path}: each has a number of its own");
    }
    // The empty name is the default store, whichever draft asks; what is there is text that people can read.
    let values = bucket(&lattice, "default").await;
    assert_eq!(values.get("visits").await.unwrap().unwrap(), "100");
    assert_eq!(values.get("swaps").await.unwrap().unwrap(), "40");
    // Keys are what a guest likes, and stores are apart.
    assert_eq!(http::get(&gates[0], "/set?sessions&a/b%20*.&there").await.body, "()");
    assert_eq!(http::get(&gates[1], "/get?sessions&a/b%20*.").await.body, "there");
    assert_eq!(http::get(&gates[1], "/get?default&a/b%20*.").await.body, "nothing");
    assert_eq!(http::get(&gates[0], "/down?default&visits").await.body, "Ok(97)");

    lattice.restart_everything(LATEST).await;
    lattice.wait_for_spread(0, "keeper", &[1, 1], LATEST).await;
    let gate = gateway(&lattice, 1);
    assert_eq!(get(&gate, "/increment?&visits&3", &[]).await.body, "100");
    assert_eq!(http::get(&gate, "/exists?&visits").await.body, "true");
    assert_eq!(http::get(&gate, "/delete?&visits").await.body, "()");
    assert_eq!(http::get(&gate, "/exists?&visits").await.body, "false");
    assert_eq!(http::get(&gate, "/increment?&visits").await.body, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_listed_in_pages_by_both_drafts() {
    let lattice = start(1).await;
    lattice.apply(&keeper()).await;
    let page = get(&gateway(&lattice, 0), "/many?sessions&some&1200", &[]).await;
    let wanted = "1200 keys in 2 pages, 1200 by the other draft; read [Some(\"some/0\"), None], gone true";
    assert_eq!(page.body, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_granted_or_is_too_large_is_refused_and_says_so() {
    let lattice = start(1).await;
    for (lines, wanted) in [
        ("http = {}", "grants = { keyvalue = [\"default\"] }"),
        ("http = {}\ngrants = { blobstore = [\"*\"] }", "grants = { keyvalue = [\"default\"] }"),
    ] {
        let fault = lattice.try_apply(0, &app("keeper", "keeper.wasm", lines)).await.unwrap_err();
        assert!(fault.message.contains(wanted), "{fault}");
    }
    lattice.apply(&keeper()).await;
    let gate = gateway(&lattice, 0);
    assert_eq!(get(&gate, "/get?others&a", &[]).await.body, "Error::AccessDenied");
    assert_eq!(http::get(&gate, "/get?No%20Name&a").await.body, "Error::NoSuchStore");
    let mut lines = || cli::lattice(&lattice.nodes[0].ready().admin, &["logs", "keeper"]);
    wait_for("the refusal is told", LATEST, &mut lines, |said| {
        said.stdout.contains("may not open the key-value store `others`; add it to `grants.keyvalue`")
    })
    .await;

    let table = [
        // The server takes 8 MiB in one message.
        ("/large?&a&8388608".to_owned(), "this NATS server carries at most"),
        (format!("/set?&{}&b", "x".repeat(257)), "1 to 256 bytes, and this one has 257"),
        ("/set?&&b".to_owned(), "1 to 256 bytes, and this one has 0"),
    ];
    for (path, wanted) in table {
        let page = http::get(&gate, &path).await;
        assert!(page.body.starts_with("Error::Other") && page.body.contains(wanted), "{page:?}");
    }
    assert_eq!(http::get(&gate, "/large?&a&500000").await.body, "()");
    assert_eq!(http::get(&gate, "/get?&a").await.body.len(), 500_000);
    let page = http::get(&gate, "/increment?&a").await;
    assert!(page.body.contains("no number"), "{page:?}");
    http::get(&gate, "/set?&most&18446744073709551615").await;
    let page = http::get(&gate, "/increment?&most").await;
    assert!(page.body.contains("out of its range"), "{page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nats_a_store_says_so_at_once_and_is_there_again_with_it() {
    let mut lattice = start(1).await;
    lattice.apply(&keeper()).await;
    let gate = gateway(&lattice, 0);
    assert_eq!(get(&gate, "/increment?&a", &[]).await.body, "1");
    lattice.nats.stop().await;
    let away = async || http::get(&gate, "/increment?&a").await;
    let since = Instant::now();
    let page = wait_for("it says so", LATEST, away, |page| page.body.contains("cannot be reached")).await;
    assert!(page.body.starts_with("Error::Other"), "{page:?}");
    say(&format!("measured: told after {:?}", since.elapsed()));
    for path in ["/set?&a&b", "/get?&a", "/delete?&a", "/get?sessions&a", "/many?&a&2"] {
        let page = http::get(&gate, path).await;
        assert!(page.body.contains("cannot be reached"), "{path}: {page:?}");
    }
    lattice.nats.restart().await;
    let back = wait_for("it is back", LATEST, away, |page| page.body.parse::<u64>().is_ok()).await;
    assert_eq!(back.body, "2", "what failed was not counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_lines_and_spans_are_those_of_the_actor_and_its_turn() {
    let receiver = Receiver::start().await;
    let mut builder = Lattice::builder(1).arg("--http").arg("127.0.0.1:0");
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let lattice = builder.start().await;
    lattice.apply(&keeper()).await;
    let gate = gateway(&lattice, 0);
    let page = get(&gate, "/config?colour", &[]).await;
    let all = "Ok([(\"colour\", \"green\"), (\"shape\", \"round\")])";
    assert_eq!(page.body, format!("Ok(Some(\"green\")) of {all}"));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    http::get_with(&gate, "/log", &[("traceparent", &parent)]).await;
    http::get_with(&gate, "/increment?&a", &[("traceparent", &parent)]).await;
    http::get_with(&gate, "/increment?others&a", &[("traceparent", &parent)]).await;

    let words = ["-o", "json", "logs", "keeper"];
    let lines = async || cli::lattice(&lattice.nodes[0].ready().admin, &words).await.stdout;
    let lines = wait_for("its lines", LATEST, lines, |lines| lines.contains("worst")).await;
    for (text, level) in [("the standard's warning", "warn"), ("the standard's worst", "error")] {
        // Each line is a document of its own, over several lines of text.
        let line = lines.split("\n}").find(|line| line.contains(text)).unwrap_or_else(|| panic!("{lines}"));
        assert!(line.to_lowercase().contains(level) && line.contains(trace), "{line}");
    }
    let spans = async || receiver.trace(trace);
    let has = |name: &'static str| move |span: &lattice_tests::otlp::Span| span.name == name;
    let spans =
        wait_for("its spans", LATEST, spans, |spans| spans.iter().any(has("keyvalue increment"))).await;
    for name in ["keyvalue open", "keyvalue increment"] {
        let span = spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{spans:?}"));
        assert_eq!(span.attributes["lattice.store"], "default", "{span:?}");
        let turn = spans.iter().find(|other| other.span_id == span.parent_span_id);
        assert_eq!(turn.map(|turn| turn.name.as_str()), Some("turn"), "{spans:?}");
    }

    // Without a configuration there is nothing to find, and without the grant nothing is heard.
    lattice.apply(&app("keeper", "keeper.wasm", "http = {}\ngrants = { keyvalue = [\"a\"] }")).await;
    let bare = async || http::get(&gate, "/config?colour").await.body;
    wait_for("none", LATEST, bare, |body| body == "Ok(None) of Ok([])").await;
    http::get(&gate, "/log").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_component_keeps_an_object_that_all_nodes_see() {
    let Some(components) = published::components("a_published_component_keeps_an_object").await else {
        return;
    };
    let mut lattice = start(2).await;
    let artifact = published::put(&mut lattice.admin(0), &components, "http_blobstore.wasm").await;
    let fault = lattice.try_apply(0, &app("hi", &artifact, "http = {}")).await.unwrap_err();
    assert!(fault.message.contains("grants = { blobstore = [\"photos\"] }"), "{fault}");
    let lines = "http = {}\nreplicas = \"each\"\ngrants = { blobstore = [\"my-container-real\"] }";
    lattice.apply(&app("hi", &artifact, lines)).await;
    let said = "What a component of others was told to keep.";
    for node in 0..2 {
        let gate = gateway(&lattice, node);
        get(&gate, "/", &[]).await;
        let page = http::post_with(&gate, "/", &[], said).await;
        assert_eq!((page.status, page.body.as_str()), (200, said), "{page:?}");
    }
    let info = objects(&lattice, "my-container-real").await.info("hi.txt").await.unwrap();
    assert_eq!(info.size, said.len());
    lattice.restart_node(1).await;
    let gate = gateway(&lattice, 1);
    let again = async || http::post_with(&gate, "/", &[], said).await;
    wait_for("it answers again", LATEST, again, |page| page.body == said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_component_stores_large_files_that_another_replica_gives() {
    const SIZE: usize = 48 << 20;
    let Some(components) = published::components("a_published_component_stores_large_files").await else {
        return;
    };
    let mut lattice = start(2).await;
    let artifact = published::put(&mut lattice.admin(0), &components, "blobby.wasm").await;
    let lines = "http = {}\nreplicas = \"each\"\nlimits = { turn = \"5s\" }\ngrants = { blobstore = [\"*\"], log = true }";
    lattice.apply(&app("blobby", &artifact, lines)).await;
    lattice.wait_for_spread(0, "blobby", &[1, 1], LATEST).await;
    let gates: Vec<String> = (0..2).map(|node| gateway(&lattice, node)).collect();
    for gate in &gates {
        assert_eq!(get(gate, "/none", &[]).await.status, 404);
    }
    let page = http::ask(&gates[0], "PUT", "/small", &[], "a small file").await;
    assert!(page.status < 300, "{page:?}");
    assert_eq!(http::get(&gates[1], "/small").await.body, "a small file");
    let again = http::ask(&gates[1], "PUT", "/small", &[], "another").await;
    assert!(again.status < 300, "{again:?}");
    assert_eq!(http::get(&gates[0], "/small").await.body, "another");

    // Never as a whole in a node's memory, on the way in or out.
    let large = "0123456789abcdef".repeat(SIZE / 16);
    let before: Vec<u64> = lattice.nodes.iter().map(|node| node.resident_bytes()).collect();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let watched = async {
        let (mut most, mut look) = (before.clone(), tokio::time::interval(Duration::from_millis(10)));
        while stopped.try_recv().is_err() {
            for (most, node) in most.iter_mut().zip(&lattice.nodes) {
                *most = (*most).max(node.resident_bytes());
            }
            look.tick().await;
        }
        most
    };
    let there_and_back = async {
        let page = http::ask(&gates[0], "PUT", "/large", &[], &large).await;
        let read = http::get(&gates[1], "/large").await;
        let _ = stop.send(());
        (page, read)
    };
    let (most, (page, read)) = tokio::join!(watched, there_and_back);
    assert!(page.status < 300, "{page:?}");
    assert!(read.body == large, "{} of {SIZE} bytes", read.body.len());
    let grown: Vec<u64> =
        most.iter().zip(&before).map(|(most, before)| most.saturating_sub(*before) >> 20).collect();
    say(&format!(
        "measured: {} MiB written by one node and read by another, which grew by {grown:?} MiB",
        SIZE >> 20
    ));
    assert!(grown.iter().all(|grown| *grown < SIZE as u64 >> 21), "{grown:?}");

    let info = objects(&lattice, "default").await.info("large").await.unwrap();
    assert_eq!(info.size, SIZE);
    lattice.restart_node(0).await;
    let gate = gateway(&lattice, 0);
    let again = async || http::get(&gate, "/small").await;
    wait_for("it answers again", LATEST, again, |page| page.body == "another").await;
    let page = http::ask(&gates[1], "DELETE", "/small", &[], "").await;
    assert!(page.status < 300, "{page:?}");
    assert_eq!(http::get(&gates[1], "/small").await.status, 404);

    // Without the name in the manifest it has no container.
    let lines = "http = {}\nreplicas = \"each\"\ngrants = { blobstore = [\"others\"], log = true }";
    lattice.apply(&app("blobby", &artifact, lines)).await;
    let refused = async || http::get(&gates[1], "/large").await.status;
    wait_for("it is refused", LATEST, refused, |status| *status >= 400).await;
    let lines = async || cli::lattice(&lattice.nodes[1].ready().admin, &["logs", "blobby"]).await.stdout;
    wait_for("and told", LATEST, lines, |lines| lines.contains("add it to `grants.blobstore`")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_component_finds_its_configuration_and_is_heard() {
    let Some(components) = published::components("a_published_component_finds_its_configuration").await
    else {
        return;
    };
    let lattice = start(1).await;
    let artifact = published::put(&mut lattice.admin(0), &components, "http_counter.wasm").await;
    // What is missing is named one after the other.
    for (grants, wanted) in [("log = true", "wasi:keyvalue"), ("keyvalue = [\"default\"]", "wasi:blobstore")]
    {
        let lines = format!("http = {{}}\ngrants = {{ {grants} }}");
        let fault = lattice.try_apply(0, &app("counter", &artifact, &lines)).await.unwrap_err();
        assert!(fault.message.contains(wanted), "{fault}");
    }
    let lines = "http = {}\nconfig = { greeting = \"hello\" }\n\
                 grants = { log = true, keyvalue = [\"default\"], blobstore = [\"http-responses\"] }";
    lattice.apply(&app("counter", &artifact, lines)).await;
    // It asks another site before it counts, which it may not here.
    assert_eq!(get(&gateway(&lattice, 0), "/", &[]).await.status, 500);
    let lines = async || cli::lattice(&lattice.nodes[0].ready().admin, &["logs", "counter"]).await.stdout;
    let heard = |lines: &String| {
        lines.contains("Starting HTTP counter request processing")
            && lines.contains("greeting")
            && lines.contains("Error processing request")
    };
    wait_for("its lines", LATEST, lines, heard).await;
}
