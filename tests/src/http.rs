//! Pages of a node, as a browser or Prometheus asks for them.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// What came back.
#[derive(Debug)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// What it says of itself.
    pub headers: HeaderMap,
    /// The text.
    pub body: String,
}

impl Page {
    /// A header; nothing where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Asks the node with this admin address for a page; fails the test when nobody answers.
pub async fn get(admin: &str, path: &str) -> Page {
    get_with(admin, path, &[]).await
}

/// The same with the secret of a token.
pub async fn get_as(admin: &str, path: &str, token: Option<&str>) -> Page {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    get_with(admin, path, &headers).await
}

/// The same with these headers.
pub async fn get_with(admin: &str, path: &str, headers: &[(&str, &str)]) -> Page {
    ask(admin, "GET", path, headers, "").await
}

/// Sends a form, as a browser does.
pub async fn post(admin: &str, path: &str, form: &str) -> Page {
    post_with(admin, path, &[("content-type", "application/x-www-form-urlencoded")], form).await
}

/// Posts this with these headers.
pub async fn post_with(admin: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
    ask(admin, "POST", path, headers, body).await
}

/// What a page that is open is sent.
pub struct Events {
    opened: Opened,
    read: String,
}

impl Events {
    /// Opens a stream; the answer where it is refused.
    pub async fn open(admin: &str, path: &str) -> Result<Self, Page> {
        let opened = open(admin, "GET", path, &[("accept", "text/event-stream")], "").await;
        if opened.answer.status() != 200 {
            return Err(whole(opened).await);
        }
        Ok(Self { opened, read: String::new() })
    }

    /// The text of the next event; none when the node has ended the stream.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
                let text: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
                let (text, any) = (text.join("\n"), !text.is_empty());
                self.read = rest.to_owned();
                if any {
                    return Some(text);
                }
                continue;
            }
            let frame = self.opened.answer.body_mut().frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.read.push_str(&String::from_utf8_lossy(data));
            }
        }
    }
}

/// An answer that is not read yet, and the connection that it comes by.
struct Opened {
    answer: Response<Incoming>,
    _connection: AbortOnDropHandle<hyper::Result<()>>,
}

/// Asks by this method, with these headers.
pub async fn ask(at: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
    whole(open(at, method, path, headers, body).await).await
}

async fn open(admin: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Opened {
    let address = admin.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    Opened { answer: sender.send_request(request).await.unwrap(), _connection: connection }
}

async fn whole(opened: Opened) -> Page {
    let (head, body) = opened.answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Page {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}
