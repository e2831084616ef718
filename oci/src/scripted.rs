//! A server on loopback that answers as a test says, and remembers what was asked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lattice_proto::manifest::Reach;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::{Access, Client, Error, Login};

/// What is answered to a head: all of it, or a part after which nothing comes any more.
pub enum Said {
    All(String),
    Part(String),
}

/// A server that runs until it is dropped.
pub struct Scripted {
    /// Host and port.
    pub host: String,
    asked: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Scripted {
    /// Answers each head so.
    pub async fn start(answer: impl Fn(&str) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let told = asked.clone();
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
                // What begins with something else than a method is TLS, and is answered as it comes.
                while !head.ends_with(b"\r\n\r\n") && head.first().is_none_or(u8::is_ascii_uppercase) {
                    match stream.read(&mut buffer).await {
                        Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                told.lock().unwrap().push(head.clone());
                match answer(&head) {
                    Said::All(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                    Said::Part(text) => {
                        stream.write_all(text.as_bytes()).await.unwrap();
                        held.push(stream);
                    }
                }
            }
        });
        Self { host, asked, _task: AbortOnDropHandle::new(task) }
    }

    /// The heads that came.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// An answer with this status line, these headers and this body.
pub fn answer(status: &str, headers: &str, body: &str) -> Said {
    Said::All(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

/// Who speaks with these in the clear, is led to public addresses and to those hosts, and does not wait long.
pub fn access(insecure: &[&Scripted], elsewhere: &[&Scripted]) -> Access {
    let hosts = |all: &[&Scripted]| all.iter().map(|server| server.host.clone()).collect::<BTreeSet<_>>();
    let (insecure, elsewhere) = (hosts(insecure), hosts(elsewhere));
    Access { insecure, ca: None, elsewhere, reach: Reach::Public, silence: Duration::from_millis(100) }
}

/// Gets `a:1` there, as somebody who is known.
pub async fn pull(registry: &Scripted, access: Access) -> Result<(), Error> {
    let reference = format!("oci://{}/a:1", registry.host).parse().unwrap();
    let login = Login { user: "ada".to_owned(), password: "secret".to_owned() };
    let mut pull = Client::new(access)?.resolve(&reference, Some(login)).await?;
    pull.fetch(|_| ()).await.map(drop)
}

/// The manifest of these bytes, as an answer.
pub fn manifest_of(bytes: &str) -> Said {
    let (digest, size) = (lattice_proto::Digest::of(bytes.as_bytes()), bytes.len());
    let layer = format!(r#"{{"mediaType":"application/wasm","digest":"{digest}","size":{size}}}"#);
    answer("200 OK", "", &format!(r#"{{"schemaVersion":2,"layers":[{layer}]}}"#))
}
