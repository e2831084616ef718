//! Pages of a node, as a browser or Prometheus asks for them.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The type that it says it has.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// Asks the node with this admin address for a page; fails the test when nobody answers.
pub async fn get(admin: &str, path: &str) -> Page {
    get_as(admin, path, None).await
}

/// The same with the secret of a token.
pub async fn get_as(admin: &str, path: &str, token: Option<&str>) -> Page {
    let address = admin.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).header("host", address);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    let content_type = head.headers.get("content-type").map(|value| value.to_str().unwrap().to_owned());
    Page {
        status: head.status.as_u16(),
        content_type: content_type.unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}
