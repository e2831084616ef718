//! Who may ask for what: which role each method needs, and whether the token of a request has it.
//!
//! What is in no table is refused, so that a new method is nobody's until somebody says whose it is. A stream that has
//! begun goes on when its token ends; a token is looked at when something is asked for.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::error;
use super::tokens::{Refusal, Role, Tokens};

/// What somebody must show to use a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Supervisors and load balancers ask these, and learn no more than that the node is there.
    Nothing,
    /// A token with this role, or with more.
    Token(Role),
}

const READ: Needs = Needs::Token(Role::Read);
const TAP: Needs = Needs::Token(Role::Tap);
const WRITE: Needs = Needs::Token(Role::Write);

/// All paths that are served, but for those of the web page, which sees to itself.
const METHODS: [(&str, Needs); 42] = [
    ("/healthz", Needs::Nothing),
    ("/grpc.health.v1.Health/Check", Needs::Nothing),
    ("/grpc.health.v1.Health/Watch", Needs::Nothing),
    ("/metrics", READ),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", READ),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", READ),
    ("/lattice.admin.v1.Admin/ListNodes", READ),
    ("/lattice.admin.v1.Admin/ListActors", READ),
    ("/lattice.admin.v1.Admin/FindArtifacts", READ),
    ("/lattice.admin.v1.Admin/GetHistory", READ),
    ("/lattice.admin.v1.Admin/Explain", READ),
    ("/lattice.admin.v1.Admin/GetOperation", READ),
    ("/lattice.admin.v1.Admin/WatchOperation", READ),
    ("/lattice.admin.v1.Admin/GetCounters", READ),
    ("/lattice.admin.v1.Admin/WatchEvents", READ),
    ("/lattice.admin.v1.Admin/WatchLogs", READ),
    ("/lattice.admin.v1.Admin/WatchLattice", READ),
    ("/lattice.admin.v1.Admin/ListSubscriptions", READ),
    ("/lattice.admin.v1.Admin/ListDeadLetters", READ),
    ("/lattice.admin.v1.Admin/GetDeadLetter", READ),
    ("/lattice.admin.v1.Admin/InspectKey", READ),
    ("/lattice.admin.v1.Admin/GetState", READ),
    ("/lattice.admin.v1.Admin/ExportState", READ),
    ("/lattice.admin.v1.Admin/Tap", TAP),
    ("/lattice.admin.v1.Admin/PutState", WRITE),
    ("/lattice.admin.v1.Admin/DeleteState", WRITE),
    ("/lattice.admin.v1.Admin/PutArtifact", WRITE),
    ("/lattice.admin.v1.Admin/Apply", WRITE),
    ("/lattice.admin.v1.Admin/Delete", WRITE),
    ("/lattice.admin.v1.Admin/Scale", WRITE),
    ("/lattice.admin.v1.Admin/Rollback", WRITE),
    ("/lattice.admin.v1.Admin/Promote", WRITE),
    ("/lattice.admin.v1.Admin/Abort", WRITE),
    ("/lattice.admin.v1.Admin/Cordon", WRITE),
    ("/lattice.admin.v1.Admin/Uncordon", WRITE),
    ("/lattice.admin.v1.Admin/Drain", WRITE),
    ("/lattice.admin.v1.Admin/LabelNode", WRITE),
    ("/lattice.admin.v1.Admin/Call", WRITE),
    ("/lattice.admin.v1.Admin/Send", WRITE),
    ("/lattice.admin.v1.Admin/Publish", WRITE),
    ("/lattice.admin.v1.Admin/RetryDeadLetter", WRITE),
    ("/lattice.admin.v1.Admin/DropDeadLetter", WRITE),
];

fn needs(path: &str) -> Option<Needs> {
    METHODS.iter().find(|(known, _)| *known == path).map(|(_, needs)| *needs)
}

/// Whose token a request has shown: its name.
#[derive(Debug, Clone)]
pub(super) struct Holder(pub String);

/// Lets a request through, or answers it with the reason why not.
pub(super) async fn guard(
    State(tokens): State<watch::Receiver<Arc<Tokens>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let known = tokens.borrow().clone();
    match decide(&known, request.uri().path(), request.headers(), OffsetDateTime::now_utc()) {
        Ok(holder) => {
            if let Some(holder) = holder {
                request.extensions_mut().insert(holder);
            }
            next.run(request).await
        }
        Err(refused) => refuse(refused, request.headers()),
    }
}

/// Keeps out what another website makes a browser ask for. Browsers say where a request comes from, and other clients say
/// nothing; who follows a link to a page comes from elsewhere as well, and may.
pub(super) async fn from_elsewhere(request: Request, next: Next) -> Response {
    if !is_from_elsewhere(request.method(), request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "another website may not ask this node\n").into_response()
}

fn is_from_elsewhere(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: &str, values: &[&str]| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| values.contains(&value))
    };
    let follows = *method == Method::GET && says("sec-fetch-mode", &["navigate"]);
    !follows && says("sec-fetch-site", &["cross-site", "same-site"])
}

/// Keeps out whoever asks for this node by a name that is none of its machine's own, where nobody is asked for a token. A browser
/// that does so was led here by whoever owns that name, and would let that one's pages read the answers.
pub(super) async fn by_another_name(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let asked = request.uri().authority().map(Authority::as_str).or(host);
    if asked.is_none_or(is_of_this_machine) {
        return next.run(request).await;
    }
    let text = "this node has no tokens, so that it is for its own machine only: ask for it as localhost or by its address, or \
                give it --admin-tokens";
    refuse(error::denied(text), request.headers())
}

fn is_of_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok()
}

/// The answer to what there is nothing for.
pub(super) async fn unserved(request: Request) -> Response {
    refuse(error::unserved(request.uri().path()), request.headers())
}

/// A refusal as the client understands it: to one that does not speak gRPC, whose refusals are HTTP's 200, it would be a
/// success without contents.
fn refuse(refused: Status, headers: &HeaderMap) -> Response {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if kind.starts_with(b"application/grpc") {
        return refused.into_http();
    }
    let status = match refused.code() {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::NOT_FOUND,
    };
    (status, format!("{}\n", refused.message())).into_response()
}

fn decide(
    tokens: &Tokens,
    path: &str,
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<Option<Holder>, Status> {
    let needs = needs(path);
    if needs == Some(Needs::Nothing) {
        return Ok(None);
    }
    let token = match tokens.admit(secret(headers)?, now) {
        Ok(token) => token,
        Err(refusal @ Refusal::Unknown) => return Err(error::unauthenticated("unauthenticated", refusal)),
        Err(refusal @ Refusal::Expired { .. }) => {
            return Err(error::unauthenticated("token-expired", refusal));
        }
    };
    // Strangers are not told what there is, so this comes after the token.
    let Some(Needs::Token(role)) = needs else { return Err(error::unserved(path)) };
    if token.role >= role {
        return Ok(Some(Holder(token.name.clone())));
    }
    let method = path.rsplit('/').next().unwrap_or(path);
    Err(error::denied(format!(
        "`{method}` needs the role `{}`, and the token `{}` has `{}`; ask with a token of that role",
        role.as_str(),
        token.name,
        token.role.as_str(),
    )))
}

/// The secret that a program sends.
pub(super) fn secret(headers: &HeaderMap) -> Result<&[u8], Status> {
    let missing = || {
        error::unauthenticated(
            "unauthenticated",
            "this node asks for a token; give the file with its secret by --admin-token, or send `authorization: \
             Bearer …`",
        )
    };
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?.as_bytes();
    match value.split_first_chunk::<7>() {
        // An empty secret has a digest as well, which some slip may have written into a tokens file.
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
            Some(secret.trim_ascii()).filter(|secret| !secret.is_empty()).ok_or_else(missing)
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::HeaderValue;
    use lattice_proto::Digest;
    use lattice_proto::admin::{self, ERROR_METADATA, ErrorInfo};
    use prost::Message;

    use super::*;

    #[test]
    fn other_websites_are_kept_out_and_links_are_followed() {
        let asked = |method: Method, site: &'static str, mode: &'static str| {
            let pairs = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            let said = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let headers =
                said.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            is_from_elsewhere(&method, &headers)
        };
        assert!(asked(Method::POST, "cross-site", "no-cors") && asked(Method::GET, "cross-site", "cors"));
        assert!(asked(Method::POST, "same-site", "navigate") && asked(Method::GET, "same-site", ""));
        assert!(!asked(Method::GET, "cross-site", "navigate") && !asked(Method::GET, "none", "navigate"));
        assert!(!asked(Method::POST, "same-origin", "navigate") && !asked(Method::POST, "", ""));
    }

    #[test]
    fn names_of_this_machine_are_told_from_others() {
        for own in
            ["localhost", "LocalHost:7700", "a.localhost:1", "127.0.0.1:7700", "[::1]:7700", "192.0.2.1"]
        {
            assert!(is_of_this_machine(own), "{own}");
        }
        for other in [
            "evil.example:7700",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "notlocalhost",
            "a b",
        ] {
            assert!(!is_of_this_machine(other), "{other}");
        }
    }

    #[test]
    fn every_method_that_is_served_has_its_row() {
        let mut served = vec!["/healthz".to_owned(), "/metrics".to_owned()];
        for descriptors in [
            admin::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            let set = prost_types::FileDescriptorSet::decode(descriptors).unwrap();
            for file in set.file {
                for service in &file.service {
                    let paths = service
                        .method
                        .iter()
                        .map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                    served.extend(paths);
                }
            }
        }
        let mut known: Vec<_> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
        served.sort();
        known.sort();
        assert_eq!(known, served);
    }

    #[test]
    fn what_only_looks_needs_read_and_all_else_needs_write() {
        for (path, needs) in METHODS {
            let Some(method) = path.strip_prefix("/lattice.admin.v1.Admin/") else { continue };
            let looks = ["List", "Get", "Watch", "Explain", "Find", "Inspect", "Export"]
                .iter()
                .any(|word| method.starts_with(word));
            let wanted = match method {
                // What actors are told is more than how they are.
                "Tap" => TAP,
                _ if looks => READ,
                _ => WRITE,
            };
            assert_eq!(needs, wanted, "{method}");
        }
    }

    fn tokens() -> Tokens {
        let entry = |name: &str, role: &str, more: &str| {
            let digest = Digest::of(name.as_bytes());
            format!(
                "[[token]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{}\"\n{more}\n",
                digest.hex()
            )
        };
        let text = entry("reader", "read", "")
            + &entry("writer", "write", "")
            + &entry("tapper", "tap", "")
            + &entry("old", "write", "expires = 2020-01-01T00:00:00Z");
        Tokens::parse(&text, Path::new("tokens.toml")).unwrap()
    }

    fn ask(authorization: Option<&str>, path: &str) -> Result<Option<String>, (Code, String, String)> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let decided = decide(&tokens(), path, &headers, now).map(|holder| holder.map(|holder| holder.0));
        decided.map_err(|status| {
            let info = status.metadata().get_bin(ERROR_METADATA).unwrap().to_bytes().unwrap();
            let info = ErrorInfo::decode(info).unwrap();
            assert_eq!((info.ran.as_str(), info.message.as_str()), ("no", status.message()));
            (status.code(), info.kind, info.message)
        })
    }

    #[test]
    fn each_refusal_says_why() {
        let (look, change) = ("/lattice.admin.v1.Admin/ListNodes", "/lattice.admin.v1.Admin/Scale");
        let cases = [
            (None, look, Code::Unauthenticated, "unauthenticated", "--admin-token"),
            (Some("Basic reader"), look, Code::Unauthenticated, "unauthenticated", "Bearer"),
            (Some("Bearer"), look, Code::Unauthenticated, "unauthenticated", "Bearer"),
            (Some("Bearer nobody"), look, Code::Unauthenticated, "unauthenticated", "no such token"),
            (Some("Bearer old"), look, Code::Unauthenticated, "token-expired", "2020-01-01T00:00:00Z"),
            (Some("Bearer reader"), change, Code::PermissionDenied, "denied", "`write`"),
            (Some("Bearer tapper"), change, Code::PermissionDenied, "denied", "`write`"),
            (Some("Bearer reader"), "/lattice.admin.v1.Admin/Tap", Code::PermissionDenied, "denied", "`tap`"),
            (
                Some("Bearer writer"),
                "/lattice.admin.v1.Admin/New",
                Code::Unimplemented,
                "unimplemented",
                "New",
            ),
            (Some("Bearer writer"), "/nothing", Code::Unimplemented, "unimplemented", "/nothing"),
            (None, "/metrics", Code::Unauthenticated, "unauthenticated", ""),
            (None, "/lattice.admin.v1.Admin/New", Code::Unauthenticated, "unauthenticated", ""),
        ];
        for (authorization, path, code, kind, word) in cases {
            let refused = ask(authorization, path).unwrap_err();
            assert_eq!((refused.0, refused.1.as_str()), (code, kind), "{authorization:?} {path}");
            assert!(refused.2.contains(word), "{}", refused.2);
        }
        let tap = "/lattice.admin.v1.Admin/Tap";
        for (authorization, path, holder) in [
            (Some("Bearer reader"), look, Some("reader")),
            (Some("bearer  writer"), look, Some("writer")),
            (Some("BEARER writer"), change, Some("writer")),
            (Some("Bearer tapper"), tap, Some("tapper")),
            (Some("Bearer tapper"), look, Some("tapper")),
            (None, "/healthz", None),
            (Some("Bearer reader"), "/metrics", Some("reader")),
            (Some("Bearer nobody"), "/grpc.health.v1.Health/Check", None),
        ] {
            assert_eq!(ask(authorization, path), Ok(holder.map(str::to_owned)), "{authorization:?} {path}");
        }
    }
}
