//! HTTP requests that come to one node and are served on another: nothing is lost of them, nothing is made up, and nobody holds more of a
//! body than its share.

use std::time::Duration;

use lattice_tests::http;
use lattice_tests::otlp::{Receiver, Tree};
use lattice_tests::{Builder, Lattice, cli, number, say, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LATEST: Duration = Duration::from_secs(30);

/// The web component on nodes with this label.
fn app(at: &str, lines: &str) -> String {
    format!(
        "[app]\nname = \"web\"\n\n[actors.web]\nartifact = \"web.wasm\"\nhttp = {{}}\n\
         placement = {{ require = [\"at={at}\"] }}\n{lines}\n"
    )
}

/// The first node is the one that is asked; the others can serve.
fn builder(nodes: usize) -> Builder {
    let builder = Lattice::builder(nodes).label(0, "at=front").arg("--http").arg("127.0.0.1:0");
    (1..nodes).fold(builder, |builder, node| builder.label(node, "at=back"))
}

/// Where the gateway of a node is, once it knows the routes.
async fn gateway(lattice: &Lattice, node: usize) -> String {
    let at = lattice.nodes[node].ready().http.clone().expect("it has a gateway");
    let ask = async || http::get(&at, "/nothing").await;
    wait_for("its routes", LATEST, ask, |page| page.status == 404 && page.body.is_empty()).await;
    at
}

/// Requests that run, as the node says that serves them.
async fn running(lattice: &Lattice) -> u64 {
    let picture = cli::lattice(&lattice.nodes[0].ready().admin, &["-o", "json", "top", "web"]).await.json();
    picture["actors"][0]["in_flight"].as_u64().expect("it is shown")
}

async fn begin(at: &str, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at.trim_start_matches("http://")).await.unwrap();
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_served_by_another_node_in_one_trace() {
    let receiver = Receiver::start().await;
    let mut builder = builder(2);
    for (key, value) in receiver.env() {
        builder = builder.env(key, &value);
    }
    let lattice = builder.start().await;
    lattice.apply(&app("back", "")).await;
    let at = gateway(&lattice, 0).await;
    let page = http::get(&at, "/headers").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("x-forwarded-for: 127.0.0.1"), "{page:?}");
    // Bodies of every size around the limits: what goes with the head, what one frame holds, what there is room for.
    let sizes = [0, 1, 31 << 10, (31 << 10) + 1, 32 << 10, 64 << 10, (64 << 10) + 1, 512 << 10, 3 << 20];
    for size in sizes {
        let body: String = (0..size).map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap())).collect();
        let page = http::ask(&at, "POST", "/echo", &[], &body).await;
        assert_eq!((page.status, page.body.len()), (200, size), "{size}");
        assert!(page.body == body, "{size} bytes came back as others");
        let page = http::get(&at, &format!("/flood?{size}")).await;
        assert_eq!((page.status, page.body.len()), (200, size), "{size}");
    }
    let many = (0..64).map(|n| {
        let at = at.clone();
        async move { http::ask(&at, "POST", "/echo", &[], &n.to_string().repeat(10_000)).await }
    });
    for (n, page) in futures::future::join_all(many).await.into_iter().enumerate() {
        assert_eq!((page.status, page.body), (200, n.to_string().repeat(10_000)));
    }

    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7");
    let traced = [("traceparent", &*format!("00-{trace}-{parent}-01"))];
    assert_eq!(http::get_with(&at, "/api", &traced).await.status, 200);
    let spans = async || {
        let mut spans = receiver.trace(trace);
        // The client's own span is not sent to the collector.
        for span in spans.iter_mut().filter(|span| span.parent_span_id == parent) {
            span.parent_span_id.clear();
        }
        Tree::of(&spans)
    };
    let complete = |seen: &Result<Tree, String>| {
        seen.as_ref().is_ok_and(|tree| tree.processes("service.instance.id").len() == 2)
    };
    let tree = wait_for("one tree over two processes", LATEST, spans, complete).await;
    say(&format!("a request over two nodes:\n{}", tree.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream_through_two_nodes_and_a_slow_reader_slows_the_writer() {
    let size = usize::try_from(number("LATTICE_BODY_MIB").unwrap_or(64)).unwrap() << 20;
    let lattice = builder(2).start().await;
    lattice.apply(&app("back", "")).await;
    let at = gateway(&lattice, 0).await;
    let memory = || lattice.nodes.iter().map(|node| node.resident_bytes()).collect::<Vec<_>>();
    let before = memory();
    let mut most = before.clone();
    let mut look = || {
        for (most, now) in most.iter_mut().zip(memory()) {
            *most = now.max(*most);
        }
        most.iter().zip(&before).map(|(most, before)| most.saturating_sub(*before) >> 20).max().unwrap()
    };

    let stream = begin(&at, &format!("POST /echo HTTP/1.1\r\nContent-Length: {size}")).await;
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        let part = [b'\x01'; 64 << 10];
        for _ in 0..size / part.len() {
            write.write_all(&part).await.unwrap();
        }
        write
    });
    let (mut count, mut part) = (0, vec![0; 64 << 10]);
    loop {
        let got = read.read(&mut part).await.unwrap();
        if got == 0 {
            break;
        }
        count += part[..got].iter().filter(|byte| **byte == 1).count();
        look();
    }
    drop(sending.await.unwrap());
    assert_eq!(count, size);
    say(&format!(
        "measured: {} MiB there and back over two nodes; the one that grew more did by {} MiB",
        size >> 20,
        look()
    ));
    assert!(look() < 64, "{} MiB", look());

    // Nobody reads, so nobody writes: the client's own bytes are not taken any more either.
    let (_unread, mut write) =
        begin(&at, &format!("POST /echo HTTP/1.1\r\nContent-Length: {}", 1u64 << 40)).await.into_split();
    let part = [b'\x01'; 64 << 10];
    let mut taken = 0;
    while let Ok(wrote) = tokio::time::timeout(Duration::from_secs(2), write.write(&part)).await {
        taken += wrote.unwrap();
        look();
        assert!(taken < 256 << 20, "it takes whatever comes");
    }
    assert!(look() < 64, "{} MiB for {taken} bytes", look());
    assert_eq!(running(&lattice).await, 1);
    // Whose client goes ends, on the other node too.
    drop((_unread, write));
    wait_for("the guest has ended", LATEST, async || running(&lattice).await, |running| *running == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_on_its_way_never_looks_whole() {
    let mut lattice = builder(2).start().await;
    lattice.apply(&app("back", "")).await;
    let at = gateway(&lattice, 0).await;
    let mut part = vec![0; 64 << 10];

    // NATS forgets what is on its way: it stands still with some of it, and dies. What was read before is right, and if anything was
    // lost it ends as no answer ends.
    let size = 1 << 30;
    let mut stream = begin(&at, &format!("GET /flood?{size} HTTP/1.1")).await;
    stream.read_exact(&mut part).await.unwrap();
    let mut read = letters(&part);
    lattice.server(0).pause();
    while let Ok(got) = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut part)).await {
        read += letters(&part[..got.unwrap()]);
    }
    lattice.server(0).kill();
    lattice.server(0).restart().await;
    let (whole, rest_read) = rest(&mut stream).await;
    read += rest_read;
    say(&format!(
        "measured: of {size} bytes {read} came, {}",
        if whole { "and no frame was lost" } else { "and then it broke off" }
    ));
    assert_eq!(whole, read == size, "{read} of {size} bytes came");
    wait_for("the guest has ended", LATEST, async || running(&lattice).await, |running| *running == 0).await;

    // The node that serves dies.
    let again = async || http::get(&at, "/api").await;
    wait_for("it is served again", LATEST, again, |page| page.status == 200).await;
    let mut stream = begin(&at, "GET /flood?4000000000 HTTP/1.1").await;
    stream.read_exact(&mut part).await.unwrap();
    let killed = lattice.nodes[1].kill();
    let (whole, _) = rest(&mut stream).await;
    let took = killed.elapsed();
    assert!(!whole, "its node is gone");
    say(&format!("measured: an answer whose node is killed breaks off after {} ms", took.as_millis()));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// Of a flood. No head has one of these.
fn letters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'x').count()
}

/// Reads to the end, and tells whether it is that of a whole body, and how much of a flood there was.
async fn rest(stream: &mut TcpStream) -> (bool, usize) {
    let (mut part, mut last, mut count) = (vec![0; 64 << 10], Vec::new(), 0);
    let read = async {
        while let Ok(got @ 1..) = stream.read(&mut part).await {
            count += letters(&part[..got]);
            last = part[got.saturating_sub(5)..got].to_vec();
        }
    };
    tokio::time::timeout(LATEST, read).await.expect("it ends");
    (last == b"0\r\n\r\n", count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_requests_survive_the_loss_of_a_node() {
    let mut lattice = builder(3).start().await;
    lattice.apply(&app("back", "replicas = 2\nconcurrency = 64")).await;
    let at = gateway(&lattice, 0).await;
    lattice.wait_for_spread(0, "web", &[1, 1], LATEST).await;
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let at = at.clone();
            tokio::spawn(async move { http::get(&at, "/sleep?2000").await })
        })
        .collect();
    // Those of the node that dies are not answered, and are long enough to be under way then.
    let lost = lattice.nodes[1].ready().admin.clone();
    wait_for("some run there", LATEST, async || in_flight(&lost).await, |running| *running > 0).await;
    lattice.nodes[1].kill();
    for asked in asking {
        let page = asked.await.unwrap();
        assert_eq!((page.status, page.body.as_str()), (200, "awake"), "{page:?}");
    }
}

/// Requests that run on a node, as it says itself.
async fn in_flight(admin: &str) -> u64 {
    let page = http::get(admin, "/metrics").await.body;
    let mut lines = page.lines().filter(|line| line.contains("actor=\"web\""));
    let line = lines.find(|line| line.starts_with("lattice_actor_in_flight{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Server-sent events, of which there is no end: on the node that makes them, and through another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_reach_whoever_listens_one_by_one() {
    let lattice = builder(2).start().await;
    lattice.apply(&app("back", "")).await;
    for node in 0..2 {
        let at = gateway(&lattice, node).await;
        let mut stream = begin(&at, "GET /events?20 HTTP/1.1").await;
        let (mut read, mut part) = (String::new(), vec![0; 4 << 10]);
        let listens = async {
            while !read.contains("data: tick 25\n\n") {
                let got = stream.read(&mut part).await.unwrap();
                assert!(got > 0, "it ended: {read}");
                let came = String::from_utf8_lossy(&part[..got]);
                read.push_str(&came);
            }
        };
        tokio::time::timeout(LATEST, listens).await.expect("they come");
        assert!(read.to_ascii_lowercase().contains("content-type: text/event-stream"), "{read}");
        for number in 0..=25 {
            assert_eq!(read.matches(&format!("id: {number}\n")).count(), 1, "{number}: {read}");
        }
        drop(stream);
        wait_for("the guest has ended", LATEST, async || running(&lattice).await, |running| *running == 0)
            .await;
    }
}

/// A body that comes in small pieces and then pauses for longer than either end may be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_and_pauses_goes_on() {
    /// After which an end that says nothing is taken for lost; what waits for more has to say so meanwhile.
    const SILENCE: Duration = Duration::from_secs(16);
    let lattice = builder(2).start().await;
    lattice.apply(&app("back", "")).await;
    let at = gateway(&lattice, 0).await;
    let mut stream = begin(&at, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked").await;
    let part = async |stream: &mut TcpStream, bytes: &str| {
        stream.write_all(format!("{:x}\r\n{bytes}\r\n", bytes.len()).as_bytes()).await.unwrap();
    };
    for _ in 0..10 {
        part(&mut stream, "a trickle").await;
    }
    // The pause is what is tested, and no condition is waited for.
    tokio::time::sleep(SILENCE + Duration::from_secs(4)).await;
    part(&mut stream, "the rest").await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    tokio::time::timeout(LATEST, stream.read_to_end(&mut read)).await.expect("it ends").unwrap();
    let read = String::from_utf8(read).unwrap();
    assert!(read.ends_with("0\r\n\r\n"), "{read}");
    assert_eq!((read.matches("a trickle").count(), read.matches("the rest").count()), (10, 1), "{read}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_wakes_what_runs_on_demand_elsewhere() {
    let lattice = builder(2).start().await;
    lattice.apply(&app("back", "replicas = { min = 0, max = 1, target_inflight = 8 }")).await;
    let at = lattice.nodes[0].ready().http.clone().unwrap();
    let ask = async || http::ask(&at, "POST", "/echo", &[], "awake").await;
    let page = wait_for("its route", LATEST, ask, |page| {
        !page.body.contains("no-route") && !page.body.contains("unavailable")
    })
    .await;
    assert_eq!((page.status, page.body.as_str()), (200, "awake"), "{page:?}");
}
