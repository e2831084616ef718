//! The frame that all pages share.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::{Page, Web};

/// HTML as a browser takes it.
pub(super) fn answer(status: StatusCode, markup: Markup) -> Response {
    (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], markup.into_string()).into_response()
}

/// A page of which the part called `live` is sent anew.
pub(super) fn page(web: &Web, title: &str, live: Option<&Page>, contents: Markup) -> Response {
    let path = live.map(Page::path);
    let at = |this: bool| this.then_some("page");
    let body = html! {
        header .bar {
            a .brand href="/" { "Lattice" }
            nav aria-label="Pages" {
                a href="/" aria-current=[at(matches!(live, Some(Page::Overview { .. })))] { "Overview" }
                a href="/traces" aria-current=[at(title == "traces")] { "Traces" }
                a href="/events" aria-current=[at(title == "events")] { "Events" }
            }
            span .served { "served by " (web.node) }
            @if live.is_some() { button #pause type="button" aria-pressed="false" { "Pause" } }
            @if web.tokens.is_some() {
                form method="post" action="/logout" { button { "Log out" } }
            }
        }
        p #away .away hidden { "This node does not answer at the moment; what is shown is old." }
        main { (contents) }
    };
    answer(StatusCode::OK, document(title, path.as_deref(), &body))
}

/// What is said when too many pages are made at once.
pub(super) fn busy(web: &Web) -> Response {
    problem(
        web,
        StatusCode::SERVICE_UNAVAILABLE,
        "Too many pages are asked for at the moment; try again in a second.",
    )
}

/// A page that says what is wrong.
pub(super) fn problem(web: &Web, status: StatusCode, text: &str) -> Response {
    let body = html! {
        header .bar { a .brand href="/" { "Lattice" } span .served { "served by " (web.node) } }
        main { h1 { (status.as_u16()) } p { (text) } p { a href="/" { "To the overview" } } }
    };
    answer(status, document(text, None, &body))
}

/// The whole of a page.
pub(super) fn document(title: &str, live: Option<&str>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Lattice" }
                link rel="stylesheet" href="/assets/style.css";
                link rel="icon" href="data:,";
                @if live.is_some() {
                    // Without scripts the page is loaded anew.
                    noscript { meta http-equiv="refresh" content="5"; }
                    script src="/assets/live.js" defer {}
                }
            }
            body data-live=[live] { (body) }
        }
    }
}
