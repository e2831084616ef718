//! What a client is told that gets no answer of an actor's: an HTTP status, and `{"error": {"kind", "message", "ran"}}` in JSON, with
//! `code` and `details` where an actor itself said no. The kinds are those of faults, and a few that only HTTP knows.

use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use lattice_proto::{Fault, Ran};
use serde_json::json;

use super::{Body, whole};
use crate::router::status;

/// Why a request is not served.
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    message: String,
    ran: Ran,
    /// An actor's own code and details.
    rejection: Option<(String, Option<String>)>,
    /// The only methods that are served there.
    allow: Option<String>,
    /// Whether the rest of the request is left unread, so that the connection is of no further use.
    unread: bool,
}

impl Problem {
    /// One that only HTTP knows. Nothing ran.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, message, ran: Ran::No, rejection: None, allow: None, unread: false }
    }

    /// Other methods are served there.
    pub fn method(allow: &str) -> Self {
        let message = format!("only {allow} is served here");
        Self {
            allow: Some(allow.to_owned()),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
        }
    }

    /// The same, and the rest of the request is not read.
    pub fn unread(self) -> Self {
        Self { unread: true, ..self }
    }

    pub fn into_response(self, method: &Method) -> Response<Body> {
        let mut error = json!({ "kind": self.kind, "message": self.message, "ran": self.ran.as_str() });
        if let Some((code, details)) = self.rejection {
            error["code"] = json!(code);
            if let Some(details) = details {
                error["details"] = serde_json::from_str(&details).unwrap_or_else(|_| json!(details));
            }
        }
        let text = match method {
            &Method::HEAD => String::new(),
            _ => format!("{}\n", json!({ "error": error })),
        };
        let mut response = Response::new(whole(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(Ok(allow)) = self.allow.map(|allow| HeaderValue::from_str(&allow)) {
            headers.insert(ALLOW, allow);
        }
        if self.unread {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let status = StatusCode::from_u16(status(&fault)).unwrap_or(StatusCode::BAD_GATEWAY);
        let (kind, ran, message) = (fault.kind(), fault.ran(), fault.to_string());
        let rejection = match fault {
            Fault::Rejected(rejection) => Some((rejection.code, rejection.details)),
            _ => None,
        };
        Self { ran, rejection, ..Self::new(status, kind, message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http_body_util::BodyExt;
    use lattice_proto::fault::Rejection;

    async fn told(problem: Problem) -> (Response<()>, serde_json::Value) {
        let (head, body) = problem.into_response(&Method::POST).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn faults_keep_what_programs_match() {
        let rejection = Rejection {
            code: "sold-out".into(),
            message: "no tea".into(),
            details: Some(r#"{"left":0}"#.into()),
        };
        let (head, body) = told(Fault::Rejected(rejection).into()).await;
        assert_eq!(head.status(), StatusCode::CONFLICT);
        let error = &body["error"];
        assert_eq!(
            (&error["kind"], &error["code"], &error["details"]["left"]),
            (&json!("rejected"), &json!("sold-out"), &json!(0))
        );
        let (head, body) = told(Fault::Overloaded("x".into()).into()).await;
        assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(head.headers()[RETRY_AFTER], "1");
        assert_eq!(body["error"]["ran"], "no");
        let (head, _) = told(Problem::method("POST").unread()).await;
        assert_eq!(head.headers()[ALLOW], "POST");
        assert_eq!(head.headers()[CONNECTION], "close");
    }

    #[test]
    fn whoever_asks_for_the_head_gets_no_body() {
        use hyper::body::Body;
        let response = Problem::method("POST").into_response(&Method::HEAD);
        assert!(response.body().is_end_stream());
    }
}
