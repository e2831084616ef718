//! A component for the HTTP of WASI 0.3, which knows nothing of Lattice. `/echo` answers with the body, as it comes; `/late` with one that it
//! still makes when its answer is under way; the others misbehave.

#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used, reason = "what it cannot do is a trap, as of any guest")]

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Service);

struct Service;

impl wasip3::exports::http::handler::Guest for Service {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        match path.as_str() {
            "/echo" => {
                let (_, read) = wit_future::new(|| Ok(()));
                let (body, trailers) = Request::consume_body(request, read);
                Ok(Response::new(Fields::new(), Some(body), trailers).0)
            }
            "/late" => Ok(say(&["first", " second"], false)),
            "/half" => Ok(say(&["first"], true)),
            "/trap" => panic!("it was asked to"),
            "/error" => Err(ErrorCode::InternalError(Some("it was asked to".to_owned()))),
            _ => {
                let response = say(&[], false);
                response.set_status_code(404).unwrap();
                Ok(response)
            }
        }
    }
}

/// An answer that is made in parts, by a task that goes on when its head is told.
fn say(parts: &'static [&'static str], breaks_off: bool) -> Response {
    let (mut body, read) = wit_stream::new();
    let (trailers, end) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(read), end);
    wit_bindgen::spawn_local(async move {
        for part in parts {
            assert!(body.write_all(part.as_bytes().to_vec()).await.is_empty());
        }
        assert!(!breaks_off, "half an answer");
        drop(body);
        trailers.write(Ok(None)).await.unwrap();
    });
    response
}
