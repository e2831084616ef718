//! A component for the standard's HTTP, which knows nothing of Lattice. What it does is said by the path: `/echo` answers with the body, as
//! it comes; `/flood?BYTES` with so many; `/ask?URL` with what a server answers; the others misbehave.

#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used, reason = "what it cannot do is a trap, as of any guest")]

use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

mod ask;

wasip2::http::proxy::export!(Web);

struct Web;

/// Written and read at once.
const PART: usize = 16 << 10;

impl wasip2::exports::http::incoming_handler::Guest for Web {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        match path {
            "/echo" => echo(&request, answer(out, &[])),
            "/headers" => {
                let all = request.headers().entries();
                let lines =
                    all.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)));
                say(answer(out, &[]), lines.collect::<String>().as_bytes());
            }
            "/flood" => {
                let body = answer(out, &[]);
                let stream = body.write().unwrap();
                let (mut left, part) = (query.parse::<usize>().unwrap(), [b'x'; PART]);
                while left > 0 {
                    let now = left.min(PART);
                    if write(&stream, &part[..now]).is_err() {
                        return;
                    }
                    left -= now;
                }
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            "/ask" => ask::one(&request, query, out),
            "/ask-many" => ask::many(query, out),
            "/api" | "/api/v1" => say(answer(out, &[]), b"served"),
            "/trap" => panic!("it was asked to"),
            "/spin" => loop {
                std::hint::black_box(());
            },
            "/sleep" => {
                std::thread::sleep(std::time::Duration::from_millis(query.parse().unwrap()));
                say(answer(out, &[]), b"awake");
            }
            "/count" => {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
                say(answer(out, &[]), count.to_string().as_bytes());
            }
            // No answer at all.
            "/silent" => {}
            // The head, a part of the body, and then no more.
            "/half" => {
                let body = answer(out, &[("content-length", "10")]);
                let stream = body.write().unwrap();
                write(&stream, b"half").unwrap();
                panic!("half an answer");
            }
            // The same without a word of how much it will be.
            "/endless-half" => {
                let body = answer(out, &[]);
                let stream = body.write().unwrap();
                write(&stream, b"half").unwrap();
                panic!("half an endless answer");
            }
            // As much as was announced is not written, and the guest says that all is well.
            "/short" => {
                let body = answer(out, &[("content-length", "10")]);
                let stream = body.write().unwrap();
                write(&stream, b"short").unwrap();
                drop(stream);
                let _ = OutgoingBody::finish(body, None);
            }
            // The same, and what it holds of the answer is never given back.
            "/leak" => {
                let length: &[(&str, &str)] = if query == "10" { &[("content-length", "10")] } else { &[] };
                let body = answer(out, length);
                let stream = body.write().unwrap();
                write(&stream, b"leak").unwrap();
                std::mem::forget((stream, body));
            }
            // Events, each when it happens, for as long as somebody listens.
            "/events" => {
                let body =
                    answer(out, &[("content-type", "text/event-stream"), ("cache-control", "no-cache")]);
                let stream = body.write().unwrap();
                let every = std::time::Duration::from_millis(query.parse().unwrap());
                for number in 0.. {
                    if write(&stream, format!("id: {number}\ndata: tick {number}\n\n").as_bytes()).is_err() {
                        return;
                    }
                    std::thread::sleep(every);
                }
            }
            "/hoard" => {
                let mut all: Vec<Vec<u8>> = Vec::new();
                loop {
                    all.push(vec![1; 1 << 20]);
                }
            }
            _ => {
                let response = OutgoingResponse::new(Fields::new());
                response.set_status_code(404).unwrap();
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                OutgoingBody::finish(body, None).unwrap();
            }
        }
    }
}

fn answer(out: ResponseOutparam, headers: &[(&str, &str)]) -> OutgoingBody {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).unwrap();
    }
    let response = OutgoingResponse::new(fields);
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    body
}

fn say(body: OutgoingBody, bytes: &[u8]) {
    let stream = body.write().unwrap();
    for part in bytes.chunks(PART) {
        write(&stream, part).unwrap();
    }
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}

fn write(stream: &wasip2::io::streams::OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        // What one call takes is 4 KiB at most.
        let (now, later) = bytes.split_at(bytes.len().min(4_096));
        stream.blocking_write_and_flush(now)?;
        bytes = later;
    }
    Ok(())
}

fn echo(request: &IncomingRequest, body: OutgoingBody) {
    let incoming = request.consume().unwrap();
    let (from, to) = (incoming.stream().unwrap(), body.write().unwrap());
    loop {
        match from.blocking_read(PART as u64) {
            Ok(part) => {
                if write(&to, &part).is_err() {
                    return;
                }
            }
            Err(StreamError::Closed) => break,
            Err(error) => panic!("the request broke off: {error:?}"),
        }
    }
    drop((from, to));
    IncomingBody::finish(incoming);
    OutgoingBody::finish(body, None).unwrap();
}
