//! The way in for browsers, which cannot send a token by themselves: a form that puts it into a cookie.
//!
//! A browser sends a cookie along with whatever it is led to, and to every program on this host. So it counts for these pages
//! only, and has the secret of a token that reads and does nothing else.

use std::sync::Arc;

use axum::extract::{Form, Query, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::super::access::secret;
use super::super::tokens::{Refusal, Role, Tokens};
use super::Web;
use super::layout::{answer, document};

/// The cookie's name.
const NAME: &str = "lattice-token";

/// The longest secret that is looked at.
const LONGEST: usize = 512;

/// What whoever shows a token that does more is told.
const TOO_MUCH: &str = "that token may do more than read, which is more than a browser should keep; make one that reads: \
                        lattice token new --role read";

/// How long a browser keeps the cookie, in seconds: a working day.
const KEPT: u32 = 12 * 3_600;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
pub(super) struct Entered {
    token: String,
    #[serde(default)]
    to: String,
}

/// Lets those who have logged in see pages, and programs that send a token.
pub(super) async fn guard(
    State(tokens): State<watch::Receiver<Arc<Tokens>>>,
    request: Request,
    next: Next,
) -> Response {
    let known = tokens.borrow().clone();
    if shows(&known, request.headers(), OffsetDateTime::now_utc()) {
        return next.run(request).await;
    }
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    // Whoever sends a token is no browser that could be led to the form.
    if !super::is_page(path) || request.headers().contains_key(AUTHORIZATION) {
        return (StatusCode::UNAUTHORIZED, "log in first, at /login\n").into_response();
    }
    let to: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
    (StatusCode::SEE_OTHER, [(LOCATION, format!("/login?to={to}"))]).into_response()
}

fn shows(tokens: &Tokens, headers: &HeaderMap, now: OffsetDateTime) -> bool {
    let cookie = cookie(headers).and_then(|secret| tokens.admit(secret.as_bytes(), now).ok());
    // A cookie is seen by more programs than a token should be that changes things.
    cookie.is_some_and(|token| token.role == Role::Read)
        || secret(headers).is_ok_and(|secret| tokens.admit(secret, now).is_ok())
}

/// The secret in a request's cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == NAME).map(|(_, secret)| secret).filter(|secret| !secret.is_empty())
}

pub(super) async fn form(State(web): State<Web>, Query(Back { to }): Query<Back>) -> Response {
    if web.tokens.is_none() {
        return to_page("/", None);
    }
    answer(StatusCode::OK, ask(&to, None))
}

pub(super) async fn enter(State(web): State<Web>, Form(Entered { token, to }): Form<Entered>) -> Response {
    let Some(tokens) = &web.tokens else { return to_page("/", None) };
    let token = token.trim();
    let fits = (1..=LONGEST).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    let known = tokens.borrow().clone();
    let admitted =
        if fits { known.admit(token.as_bytes(), OffsetDateTime::now_utc()) } else { Err(Refusal::Unknown) };
    let problem = match admitted {
        Ok(known) if known.role > Role::Read => TOO_MUCH.to_owned(),
        Ok(_) => return to_page(&to, Some(&set(token, KEPT, web.secure))),
        Err(refusal) => refusal.to_string(),
    };
    answer(StatusCode::UNAUTHORIZED, ask(&to, Some(&problem)))
}

pub(super) async fn leave(State(web): State<Web>) -> Response {
    to_page("/login", Some(&set("", 0, web.secure)))
}

fn set(secret: &str, seconds: u32, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{NAME}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// Sends the browser to a page of this node; to the first one where it is none.
fn to_page(to: &str, cookie: Option<&str>) -> Response {
    let headers = [(LOCATION, if super::is_page(to) || to == "/login" { to } else { "/" })];
    match cookie {
        Some(cookie) => (StatusCode::SEE_OTHER, headers, [(SET_COOKIE, cookie)]).into_response(),
        None => (StatusCode::SEE_OTHER, headers).into_response(),
    }
}

fn ask(to: &str, problem: Option<&str>) -> Markup {
    let body = html! {
        main .login {
            h1 { "Lattice" }
            @if let Some(problem) = problem { p .problem role="alert" { (problem) } }
            form method="post" action="/login" {
                input type="hidden" name="to" value=(to);
                label for="token" { "The secret of a token with the role " code { "read" } }
                input #token name="token" type="password" autocomplete="current-password" required autofocus;
                button { "Log in" }
            }
        }
    };
    document("log in", None, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers), None);
        headers.insert(COOKIE, "a=b; lattice-token=secret=1; c=d".parse().unwrap());
        assert_eq!(cookie(&headers), Some("secret=1"));
        headers.insert(COOKIE, "lattice-token=".parse().unwrap());
        assert_eq!(cookie(&headers), None);
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        let to = |to: &str| to_page(to, None).headers()[LOCATION].to_str().unwrap().to_owned();
        assert_eq!(to("/actors/cart"), "/actors/cart");
        for forged in
            ["//evil.example", "https://evil.example", "/actors/a/b", "", "/live", "/live?page=/", "/logout"]
        {
            assert_eq!(to(forged), "/", "{forged}");
        }
        assert!(set("x", 1, true).ends_with("Secure") && !set("x", 1, false).contains("Secure"));
    }
}
