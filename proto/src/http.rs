//! HTTP requests that are served on another node than the one they came to, and the bodies that follow them.
//!
//! ```text
//! gateway's node ── Call, Opening: head, and the body's beginning ──▶ node of the replica
//!                ◀─ Reply, Answer: head, and the body's beginning ──
//!                ── Frame: the rest of the request's body ─────────▶
//!                ◀─ Frame: the rest of the answer's body ───────────
//! ```
//!
//! Most bodies are small and go whole with their heads. Of the others nobody sends more than the reader has said it has room for.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, response};
use prost::Message;

use crate::envelope::{Malformed, VERSION, check_version, decode, parse, wire};
use crate::id::Incarnation;

/// What a frame costs beside its bytes, so that many small ones take no more room than a few large ones.
pub const FRAME_COST: u64 = 64;

/// The most headers of one message, as many as the type that holds them takes.
const MAX_HEADERS: usize = 1_024;

/// The longest reason for which a body breaks off, in bytes.
const MAX_REASON: usize = 1_024;

/// The beginning of a body.
#[derive(Debug, Clone, Default)]
pub struct Beginning {
    /// Its first bytes.
    pub bytes: Bytes,
    /// There where these are all of them.
    pub end: Option<End>,
}

/// The end of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// What comes after it.
    pub trailers: Option<HeaderMap>,
}

/// A request that came from another node.
#[derive(Debug, Clone)]
pub struct Opening {
    /// By which the frames of both bodies are known.
    pub number: u64,
    /// With scheme and host.
    pub request: Request<Beginning>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer(pub Response<Beginning>);

/// A part of a body, or a word about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The incarnation that sends the frame.
    pub origin: Incarnation,
    /// Which body it is about.
    pub body: BodyId,
    /// What it says.
    pub what: What,
}

/// One of the two bodies of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyId {
    /// The request's.
    pub number: u64,
    /// Whether it is the body of the request, and not of the answer.
    pub of_request: bool,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// More of the body, from where it is so far.
    Data(u64, Bytes),
    /// All was said up to here.
    Close(u64, End),
    /// Nothing more at the moment, and it is here.
    Still(u64),
    /// It breaks off, for this reason.
    Broken(String),
    /// Whoever reads it has room up to here.
    Credit(u64),
    /// Nobody reads the rest.
    Left,
}

/// What so many bytes cost in a frame.
pub fn cost(bytes: usize) -> u64 {
    bytes as u64 + FRAME_COST
}

impl Opening {
    /// The head of a request and what goes with it, as the payload of a call.
    pub fn encode<B>(number: u64, request: &Request<B>, body: &Beginning) -> Bytes {
        let message = wire::HttpRequest {
            version: VERSION,
            number,
            method: request.method().as_str().to_owned(),
            uri: request.uri().to_string(),
            headers: headers_to_wire(request.headers()),
            body: Some(body.to_wire()),
        };
        message.encode_to_vec().into()
    }

    /// From the payload of a call.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let wire::HttpRequest { version, number, method, uri, headers, body } = decode(bytes)?;
        check_version(version)?;
        let mut request = Request::new(Beginning::from_wire(body)?);
        *request.method_mut() =
            Method::from_bytes(method.as_bytes()).map_err(|error| Malformed::field("method", error))?;
        *request.uri_mut() = parse::<Uri>("uri", &uri)?;
        *request.headers_mut() = headers_from_wire(headers)?;
        Ok(Self { number, request })
    }
}

impl Answer {
    /// The head of an answer and what goes with it, as the payload of a reply.
    pub fn encode(head: &response::Parts, body: &Beginning) -> Bytes {
        let message = wire::HttpResponse {
            version: VERSION,
            status: head.status.as_u16().into(),
            headers: headers_to_wire(&head.headers),
            body: Some(body.to_wire()),
        };
        message.encode_to_vec().into()
    }

    /// From the payload of a reply.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let wire::HttpResponse { version, status, headers, body } = decode(bytes)?;
        check_version(version)?;
        let mut response = Response::new(Beginning::from_wire(body)?);
        let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        *response.status_mut() = status.ok_or_else(|| Malformed::field("status", "no status of HTTP"))?;
        *response.headers_mut() = headers_from_wire(headers)?;
        Ok(Self(response))
    }
}

impl Beginning {
    fn to_wire(&self) -> wire::HttpBeginning {
        wire::HttpBeginning { bytes: self.bytes.clone(), end: self.end.as_ref().map(End::to_wire) }
    }

    fn from_wire(beginning: Option<wire::HttpBeginning>) -> Result<Self, Malformed> {
        let wire::HttpBeginning { bytes, end } =
            beginning.ok_or_else(|| Malformed::field("body", "missing"))?;
        Ok(Self { bytes, end: end.map(End::from_wire).transpose()? })
    }
}

impl End {
    fn to_wire(&self) -> wire::HttpEnd {
        wire::HttpEnd { trailers: self.trailers.as_ref().map(headers_to_wire).unwrap_or_default() }
    }

    fn from_wire(end: wire::HttpEnd) -> Result<Self, Malformed> {
        let trailers = headers_from_wire(end.trailers)?;
        Ok(Self { trailers: (!trailers.is_empty()).then_some(trailers) })
    }
}

impl Frame {
    /// As bytes for the wire.
    pub fn encode(self) -> Bytes {
        use wire::http_frame::What as Wire;
        let what = match self.what {
            What::Data(position, bytes) => Wire::Data(wire::HttpData { position, bytes }),
            What::Close(position, end) => Wire::Close(wire::HttpClose { position, end: Some(end.to_wire()) }),
            What::Still(position) => Wire::Still(position),
            What::Broken(mut reason) => {
                reason.truncate(reason.floor_char_boundary(MAX_REASON));
                Wire::Broken(reason)
            }
            What::Credit(until) => Wire::Credit(until),
            What::Left => Wire::Left(wire::HttpLeft {}),
        };
        let BodyId { number, of_request } = self.body;
        let origin = self.origin.as_str().to_owned();
        let message = wire::HttpFrame { version: VERSION, origin, number, of_request, what: Some(what) };
        message.encode_to_vec().into()
    }

    /// From the wire. Data shares the given buffer.
    ///
    /// # Errors
    /// When it is no frame.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        use wire::http_frame::What as Wire;
        let wire::HttpFrame { version, origin, number, of_request, what } = decode(bytes)?;
        check_version(version)?;
        let what = match what.ok_or_else(|| Malformed::field("what", "missing"))? {
            Wire::Data(wire::HttpData { position, bytes }) => What::Data(position, bytes),
            Wire::Close(wire::HttpClose { position, end }) => {
                What::Close(position, End::from_wire(end.unwrap_or_default())?)
            }
            Wire::Still(position) => What::Still(position),
            Wire::Broken(reason) if reason.len() <= MAX_REASON => What::Broken(reason),
            Wire::Broken(_) => return Err(Malformed::field("broken", "longer than 1024 bytes")),
            Wire::Credit(until) => What::Credit(until),
            Wire::Left(wire::HttpLeft {}) => What::Left,
        };
        Ok(Self { origin: parse("origin", &origin)?, body: BodyId { number, of_request }, what })
    }
}

fn headers_to_wire(headers: &HeaderMap) -> Vec<wire::HttpHeader> {
    let one = |(name, value): (&HeaderName, &HeaderValue)| wire::HttpHeader {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    headers.iter().map(one).collect()
}

fn headers_from_wire(headers: Vec<wire::HttpHeader>) -> Result<HeaderMap, Malformed> {
    if headers.len() > MAX_HEADERS {
        return Err(Malformed::field("headers", format!("more than {MAX_HEADERS}")));
    }
    let invalid = |error: &dyn std::fmt::Display| Malformed::field("headers", error);
    let mut map = HeaderMap::new();
    for wire::HttpHeader { name, value } in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| invalid(&error))?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|error| invalid(&error))?;
        map.try_append(name, value).map_err(|error| invalid(&error))?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static [u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        pairs.iter().map(header).collect()
    }

    fn frame(what: What) -> Frame {
        Frame { origin: Incarnation::generate(), body: BodyId { number: 7, of_request: true }, what }
    }

    #[test]
    fn a_request_and_its_answer_come_out_as_they_went_in() {
        let trailers = headers(&[("x-sum", b"\xff\x20\x41")]);
        let body = Beginning {
            bytes: Bytes::from_static(b"\0\xffbody"),
            end: Some(End { trailers: Some(trailers.clone()) }),
        };
        let mut request = Request::builder().method("PROPFIND").uri("https://shop.example:1/a%20b?c=d");
        request.headers_mut().unwrap().append("x-two", HeaderValue::from_static("1"));
        request.headers_mut().unwrap().append("x-two", HeaderValue::from_static("2"));
        let request = request.body(()).unwrap();
        let read = Opening::decode(Opening::encode(u64::MAX, &request, &body)).unwrap();
        assert_eq!(read.number, u64::MAX);
        assert_eq!(read.request.method(), "PROPFIND");
        assert_eq!(read.request.uri(), "https://shop.example:1/a%20b?c=d");
        assert_eq!(read.request.headers().get_all("x-two").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(read.request.body().bytes, body.bytes);
        assert_eq!(read.request.body().end, body.end);

        let (answer, ()) = Response::builder().status(418).body(()).unwrap().into_parts();
        let Answer(read) = Answer::decode(Answer::encode(&answer, &Beginning::default())).unwrap();
        assert_eq!((read.status().as_u16(), read.body().end.is_some()), (418, false));
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        for what in [
            What::Data(3, Bytes::from_static(b"abc")),
            What::Close(9, End::default()),
            What::Close(9, End { trailers: Some(headers(&[("x", b"y")])) }),
            What::Still(0),
            What::Broken("the guest ended".into()),
            What::Credit(u64::MAX),
            What::Left,
        ] {
            let frame = frame(what);
            assert_eq!(Frame::decode(frame.clone().encode()).unwrap(), frame);
        }
    }

    #[test]
    fn what_is_no_message_of_http_is_refused() {
        let request = |change: &dyn Fn(&mut wire::HttpRequest)| {
            let mut message = wire::HttpRequest {
                version: VERSION,
                method: "GET".into(),
                uri: "http://a/".into(),
                body: Some(wire::HttpBeginning::default()),
                ..Default::default()
            };
            change(&mut message);
            Opening::decode(message.encode_to_vec().into()).is_ok()
        };
        let header = |name: &str, value: &'static [u8]| wire::HttpHeader {
            name: name.to_owned(),
            value: Bytes::from_static(value),
        };
        assert!(request(&|_| {}));
        assert!(!request(&|message| message.version = VERSION + 1));
        assert!(!request(&|message| message.method = "G T".into()));
        assert!(!request(&|message| message.uri = "http://a b/".into()));
        assert!(!request(&|message| message.body = None));
        assert!(!request(&|message| message.headers = vec![header("a b", b"")]));
        assert!(!request(&|message| message.headers = vec![header("a", b"b\r\nc: d")]));
        assert!(!request(&|message| message.headers = vec![header("a", b"b"); MAX_HEADERS + 1]));
        let response = wire::HttpResponse { version: VERSION, status: 1_000, ..Default::default() };
        assert!(Answer::decode(response.encode_to_vec().into()).is_err());
    }

    #[test]
    fn a_long_reason_is_cut_where_a_character_ends() {
        let frame = frame(What::Broken("é".repeat(MAX_REASON)));
        let Frame { what: What::Broken(reason), .. } = Frame::decode(frame.encode()).unwrap() else {
            panic!()
        };
        assert_eq!(reason.len(), MAX_REASON);
    }
}
