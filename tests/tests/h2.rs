//! HTTP/2 of the gateway, frame by frame: the cases of RFC 9113 and RFC 7541 in which a client does what it may not, and those in which it does
//! what a server must bear. No suite for this is in a package registry, so each case names its section.

use std::time::Duration;

use lattice_tests::{Lattice, http, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LATEST: Duration = Duration::from_secs(30);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames (section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

// Flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

// Codes of errors (section 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn frames(all: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
    all.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect()
}

/// Headers as literals that are not kept (RFC 7541, 6.2.2), so that nothing depends on what came before.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127, "a length of one byte");
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const WHOLE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/api")];

/// A request with these headers beside what every request has.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    block(&[&WHOLE, more].concat())
}

/// What a connection says that is of account here.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It is to end, for this reason.
    Goaway(u32),
    /// A request ends, for this reason.
    Reset(u32),
    /// A request has an answer: the first byte of its headers, which stands for the status.
    Answer(u8),
    Pong([u8; 8]),
    /// It has ended.
    Closed,
}

/// `:status: 200` (RFC 7541, appendix A).
const OK: Said = Said::Answer(0x88);
const NOT_FOUND: Said = Said::Answer(0x8d);
const BAD_REQUEST: Said = Said::Answer(0x8c);

struct Client(TcpStream);

impl Client {
    async fn open(at: &str) -> Self {
        let mut stream = TcpStream::connect(at.trim_start_matches("http://")).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, bytes: &[u8]) {
        // What is refused early may end the connection before all was sent.
        let _ = self.0.write_all(bytes).await;
    }

    /// The next thing of account.
    async fn hear(&mut self) -> Said {
        tokio::time::timeout(LATEST, async {
            loop {
                let mut head = [0; 9];
                if self.0.read_exact(&mut head).await.is_err() {
                    return Said::Closed;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                if self.0.read_exact(&mut payload).await.is_err() {
                    return Said::Closed;
                }
                let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
                match (head[3], head[4]) {
                    // That nothing is wrong is said when the node stops, which it does not here.
                    (GOAWAY, _) => return Said::Goaway(number(4)),
                    (RST_STREAM, _) => return Said::Reset(number(0)),
                    // Some begin by saying how large their table is.
                    (HEADERS, _) => {
                        let status = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                        return Said::Answer(*status.unwrap());
                    }
                    (PING, flags) if flags & ACK != 0 => return Said::Pong(payload.try_into().unwrap()),
                    _ => {}
                }
            }
        })
        .await
        .expect("it says something, or ends")
    }
}

async fn start() -> (Lattice, String) {
    let lattice = Lattice::builder(1).arg("--http").arg("127.0.0.1:0").start().await;
    lattice.apply("[app]\nname = \"web\"\n\n[actors.web]\nartifact = \"web.wasm\"\nhttp = {}\n").await;
    let at = lattice.nodes[0].ready().http.clone().expect("it has a gateway");
    let ask = async || http::get(&at, "/api").await.status;
    wait_for("its route", LATEST, ask, |status| *status == 200).await;
    (lattice, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_connection_ends_it() {
    let (_lattice, at) = start().await;
    let get = with(&[]);
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings = |id, value| frame(SETTINGS, 0, 0, &setting(id, value));
    let (too_large, half) = (vec![0; 16_385], &get[..get.len() - 3]);
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("4.2 a frame over the limit", frame(DATA, 0, 1, &too_large), FRAME_SIZE_ERROR),
        (
            "4.3 an index that there is not",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f]),
            COMPRESSION_ERROR,
        ),
        ("RFC 7541 6.1 index 0", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]), COMPRESSION_ERROR),
        (
            "RFC 7541 5.2 a text that ends early",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, half),
            COMPRESSION_ERROR,
        ),
        (
            "RFC 7541 6.3 a table over the limit",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0x7f]),
            COMPRESSION_ERROR,
        ),
        (
            "4.3 another frame amid headers",
            frames(&[(HEADERS, END_STREAM, 1, &get), (PING, 0, 0, &[0; 8])]),
            PROTOCOL_ERROR,
        ),
        (
            "4.3 headers of another stream amid headers",
            frames(&[(HEADERS, END_STREAM, 1, &get), (HEADERS, END_HEADERS | END_STREAM, 3, &get)]),
            PROTOCOL_ERROR,
        ),
        ("5.1 data on a stream that is idle", frame(DATA, END_STREAM, 1, b"x"), PROTOCOL_ERROR),
        ("5.1 a reset of a stream that is idle", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL_ERROR),
        ("5.1 room for a stream that is idle", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL_ERROR),
        (
            "5.1.1 a stream of an even number",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &get),
            PROTOCOL_ERROR,
        ),
        (
            "5.1.1 a number that is less than before",
            frames(&[
                (HEADERS, END_HEADERS | END_STREAM, 5, &get),
                (HEADERS, END_HEADERS | END_STREAM, 3, &get),
            ]),
            PROTOCOL_ERROR,
        ),
        ("6.1 data on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        (
            "6.1 more padding than there is",
            frames(&[(HEADERS, END_HEADERS, 1, &get), (DATA, PADDED, 1, &[9, 0])]),
            PROTOCOL_ERROR,
        ),
        ("6.2 headers on stream 0", frame(HEADERS, END_HEADERS | END_STREAM, 0, &get), PROTOCOL_ERROR),
        ("6.3 a priority on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("6.4 a reset on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        (
            "6.4 a reset of another length",
            frames(&[(HEADERS, END_HEADERS, 1, &get), (RST_STREAM, 0, 1, &[0; 3])]),
            FRAME_SIZE_ERROR,
        ),
        ("6.5 settings on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("6.5 settings of another length", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE_ERROR),
        ("6.5 an acknowledgement with settings", frame(SETTINGS, ACK, 0, &setting(1, 1)), FRAME_SIZE_ERROR),
        ("6.5.2 pushes that are 2", settings(2, 2), PROTOCOL_ERROR),
        ("6.5.2 a window over the limit", settings(4, 1 << 31), FLOW_CONTROL_ERROR),
        ("6.5.2 frames that are too small", settings(5, 16_383), PROTOCOL_ERROR),
        ("6.5.2 frames that are too large", settings(5, 1 << 24), PROTOCOL_ERROR),
        ("6.6 a push of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        ("6.7 a ping on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("6.7 a ping of another length", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("6.8 a farewell on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("6.9 no room at all", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("6.9 room of another length", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE_ERROR),
        (
            "6.9.1 room over the limit",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()),
            FLOW_CONTROL_ERROR,
        ),
        ("6.10 a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &get), PROTOCOL_ERROR),
        (
            "6.10 a continuation on stream 0",
            frames(&[(HEADERS, END_STREAM, 1, &get), (CONTINUATION, END_HEADERS, 0, &[])]),
            PROTOCOL_ERROR,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, code) in cases {
        let mut client = Client::open(&at).await;
        client.send(&bytes).await;
        // What was asked before may be answered first.
        let mut said = client.hear().await;
        while matches!(said, Said::Answer(_)) {
            said = client.hear().await;
        }
        // The library has the general code for what it cannot read at all, where the RFC names a more exact one.
        if said != Said::Goaway(code) && said != Said::Goaway(PROTOCOL_ERROR) {
            wrong.push(format!("{name}: {said:?} in place of {code}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut stranger = TcpStream::connect(at.trim_start_matches("http://")).await.unwrap();
    let _ = stranger.write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    let mut read = Vec::new();
    let ended = tokio::time::timeout(LATEST, stream_to_end(&mut stranger, &mut read)).await;
    assert!(ended.is_ok(), "3.4 another preface: {read:?}");
    assert_eq!(http::get(&at, "/api").await.status, 200, "it is still here");
}

async fn stream_to_end(stream: &mut TcpStream, read: &mut Vec<u8>) {
    let _ = stream.read_to_end(read).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_malformed_is_refused_and_no_guest_sees_it() {
    let (_lattice, at) = start().await;
    let without = |name: &str| WHOLE.into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("8.2.1 a name in capitals", with(&[("X-Name", "1")])),
        ("8.2.1 a name with a space", with(&[("x name", "1")])),
        ("8.2.1 a name with a colon", with(&[("x:name", "1")])),
        ("8.2.1 an empty name", with(&[("", "1")])),
        ("8.2.1 a value with a line break", with(&[("x", "1\r\ny: 2")])),
        ("8.2.1 a value with a zero byte", with(&[("x", "1\0")])),
        ("8.2.2 connection", with(&[("connection", "close")])),
        ("8.2.2 proxy-connection", with(&[("proxy-connection", "close")])),
        ("8.2.2 keep-alive", with(&[("keep-alive", "timeout=5")])),
        ("8.2.2 transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("8.2.2 upgrade", with(&[("upgrade", "h2c")])),
        ("8.2.2 te", with(&[("te", "gzip")])),
        ("8.3 a pseudo-header of answers", with(&[(":status", "200")])),
        ("8.3 one that there is not", with(&[(":other", "1")])),
        ("8.3 one after the others", block(&[&[("x", "1")][..], &WHOLE].concat())),
        ("8.3.1 two methods", with(&[(":method", "POST")])),
        ("8.3.1 two paths", with(&[(":path", "/other")])),
        ("8.3.1 no method", block(&without(":method"))),
        ("8.3.1 no scheme", block(&without(":scheme"))),
        ("8.3.1 no path", block(&without(":path"))),
        ("8.3.1 an empty path", block(&[&without(":path")[..], &[(":path", "")]].concat())),
        ("8.3.1 no host at all", block(&without(":authority"))),
        ("8.1.1 a length that is not kept", with(&[("content-length", "5")])),
        ("8.1.1 two lengths", with(&[("content-length", "0"), ("content-length", "1")])),
    ];
    let mut wrong = Vec::new();
    for (name, headers) in cases {
        let mut client = Client::open(&at).await;
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers)).await;
        let said = client.hear().await;
        if ![Said::Reset(PROTOCOL_ERROR), Said::Goaway(PROTOCOL_ERROR), BAD_REQUEST].contains(&said) {
            wrong.push(format!("{name}: {said:?}"));
        }
    }
    // 8.1.1: more of a body than was announced, and 5.1: some of it after its end.
    let post = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/echo"),
        ("content-length", "2"),
    ]);
    let mut client = Client::open(&at).await;
    client.send(&frames(&[(HEADERS, END_HEADERS, 1, &post), (DATA, END_STREAM, 1, b"abc")])).await;
    let mut said = client.hear().await;
    if matches!(said, Said::Answer(_)) {
        said = client.hear().await;
    }
    if said != Said::Reset(PROTOCOL_ERROR) && said != Said::Goaway(PROTOCOL_ERROR) {
        wrong.push(format!("8.1.1 a body that is too long: {said:?}"));
    }
    let mut client = Client::open(&at).await;
    let sleep =
        block(&[(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/sleep?1000")]);
    client
        .send(&frames(&[(HEADERS, END_HEADERS | END_STREAM, 1, &sleep), (DATA, END_STREAM, 1, b"x")]))
        .await;
    let said = client.hear().await;
    let ends = [Said::Reset(STREAM_CLOSED), Said::Goaway(STREAM_CLOSED), Said::Goaway(PROTOCOL_ERROR)];
    if !ends.contains(&said) {
        wrong.push(format!("5.1 data after the end: {said:?}"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_must_bear_it_bears() {
    let (_lattice, at) = start().await;
    let get = with(&[]);
    let mut client = Client::open(&at).await;
    // 4.1 and 5.5: types, flags and settings that nobody knows.
    client.send(&frame(0x42, 0xff, 0, b"?")).await;
    client.send(&frame(SETTINGS, 0, 0, &[0x42, 0x42, 0, 0, 0, 1])).await;
    client.send(&frame(PING, 0, 0, b"lattice!")).await;
    assert_eq!(client.hear().await, Said::Pong(*b"lattice!"), "6.7");
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get)).await;
    assert_eq!(client.hear().await, OK);
    // 4.3: headers in parts, 6.2: with padding; 5.1.1: numbers may be left out.
    let parts = frames(&[
        (HEADERS, END_STREAM, 5, &get[..7]),
        (CONTINUATION, 0, 5, &get[7..9]),
        (CONTINUATION, END_HEADERS, 5, &get[9..]),
    ]);
    client.send(&parts).await;
    assert_eq!(client.hear().await, OK);
    let padded = [&[3], &get[..], &[0; 3]].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 7, &padded)).await;
    assert_eq!(client.hear().await, OK);
    let nothing = block(&[&WHOLE[..3], &[(":path", "/nothing")]].concat());
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 9, &nothing)).await;
    assert_eq!(client.hear().await, NOT_FOUND);
    // 8.2.3: cookies in parts; 8.2.2: the only `te`; 8.3.1: the host by its header.
    let more = with(&[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), ("host", "x")]);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 11, &more)).await;
    assert_eq!(client.hear().await, OK);
}

/// Floods that have brought servers down: requests that are cancelled as they come (CVE-2023-44487), headers without end
/// (CVE-2024-27316), and words that have to be answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_their_connection_and_cost_little() {
    let (lattice, at) = start().await;
    let node = &lattice.nodes[0];
    let before = node.resident_bytes();
    let get = with(&[]);
    let resets: Vec<u8> = (0..20_000u32)
        .flat_map(|n| {
            let stream = 2 * n + 1;
            frames(&[
                (HEADERS, END_HEADERS | END_STREAM, stream, &get),
                (RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            ])
        })
        .collect();
    let mut endless = frame(HEADERS, END_STREAM, 1, &get);
    let filler = block(&[("x", &"y".repeat(120))]).repeat(100);
    endless.extend((0..5_000).flat_map(|_| frame(CONTINUATION, 0, 1, &filler)));
    for (name, flood) in [("resets", resets), ("headers", endless)] {
        let mut client = Client::open(&at).await;
        client.send(&flood).await;
        let mut said = client.hear().await;
        while matches!(said, Said::Answer(_) | Said::Reset(_)) {
            said = client.hear().await;
        }
        let ends = [
            Said::Goaway(ENHANCE_YOUR_CALM),
            Said::Goaway(PROTOCOL_ERROR),
            Said::Goaway(COMPRESSION_ERROR),
            Said::Closed,
        ];
        assert!(ends.contains(&said), "{name}: {said:?}");
    }
    // Pings whose answers nobody reads: what they take is bounded by what one connection may hold back.
    let mut deaf = Client::open(&at).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(10_000);
    for _ in 0..1_000 {
        match tokio::time::timeout(Duration::from_millis(500), deaf.0.write_all(&pings)).await {
            Ok(Ok(())) => {}
            // It takes no more, or has ended.
            _ => break,
        }
    }
    let grown = node.resident_bytes().saturating_sub(before) >> 20;
    assert!(grown < 64, "it grew by {grown} MiB");
    assert_eq!(http::get(&at, "/api").await.status, 200, "it is still here");
}
