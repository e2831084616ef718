//! The web page of a node: the lattice as a picture, its actors with charts and logs, and what happened. It only shows.
//!
//! Pages are made here, on the server, and a page that is open is sent its contents anew with each picture of the lattice
//! ([`live`]). Nothing is loaded from elsewhere, and browsers are told to load nothing else.

mod actor;
mod chart;
mod events;
mod graph;
mod layout;
mod live;
mod login;
mod number;
mod overview;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use lattice_proto::admin::Picture;
use lattice_proto::{ActorName, NodeName};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::tokens::Tokens;
use crate::events::Archive;
use crate::logs::Reader;
use crate::survey::Surveyor;

pub(super) use login::{cookie, refuse};

/// Pages that may be open at once on one node, each sent its contents once a second.
pub(super) const OPEN: usize = 256;

/// Pages that are made at once: some of them ask all nodes for lines, and read events.
pub(super) const MADE: usize = 16;

/// The longest form that is read.
const FORM: usize = 4_096;

/// How long a page waits for the first picture; then it is shown without.
const FIRST: Duration = Duration::from_secs(3);

/// Where browsers may load what from: this node, and nothing that stands in a page itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What pages are made of.
#[derive(Clone)]
pub(super) struct Web {
    pub surveyor: Surveyor,
    pub archive: Archive,
    pub lines: Reader,
    /// The node that serves them.
    pub node: NodeName,
    /// Who gets in, where somebody is asked.
    pub tokens: Option<watch::Receiver<Arc<Tokens>>>,
    /// Whether all of it is sent over TLS.
    pub secure: bool,
    /// Room for pages that are open, and for those that are made.
    pub open: Arc<Semaphore>,
    pub room: Arc<Semaphore>,
    pub rendered: Rendered,
    pub stop: CancellationToken,
}

/// What is shown until there is a picture.
const NOT_YET: &str = "<p class=\"note\">The nodes have not answered yet.</p>";

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Page {
    Overview {
        /// Whether all actors are listed.
        all: bool,
    },
    Actor(ActorName),
}

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    all: Option<String>,
}

/// The routes of the page.
pub(super) fn routes(web: Web) -> axum::Router {
    let css = ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("web/style.css"));
    let js = ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("web/live.js"));
    axum::Router::new()
        .route("/", get(overview))
        .route("/actors/{actor}", get(actor))
        .route("/events", get(events::page))
        .route("/live", get(live::stream))
        .route("/login", get(login::form).post(login::enter))
        .route("/logout", axum::routing::post(login::leave))
        .route("/assets/style.css", get(async move || css))
        .route("/assets/live.js", get(async move || js))
        .layer(DefaultBodyLimit::max(FORM))
        .layer(map_response(guarded))
        .with_state(web)
}

/// Whether a path is for browsers, which show a cookie instead of a token.
pub(super) fn is_for_browsers(path: &str) -> bool {
    is_page(path) || path == "/live"
}

/// Whether a path is one that people open, so that a refusal is to be a page as well.
fn is_page(path: &str) -> bool {
    let actor = path.strip_prefix("/actors/");
    matches!(path, "/" | "/events") || actor.is_some_and(|actor| !actor.is_empty() && !actor.contains('/'))
}

/// Whether a path is part of the way in, which is there for everybody.
pub(super) fn is_way_in(path: &str) -> bool {
    matches!(path, "/login" | "/logout") || path.starts_with("/assets/")
}

/// Puts to each answer what browsers are to keep to.
async fn guarded(mut answer: Response) -> Response {
    let rules: [(HeaderName, &str); 4] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in rules {
        answer.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    answer
}

async fn overview(State(web): State<Web>, Query(wanted): Query<Wanted>) -> Response {
    let Ok(_room) = web.room.try_acquire() else { return layout::busy(&web) };
    let page = Page::Overview { all: wanted.all.is_some() };
    let contents = match web.picture().await {
        Some(picture) => web.contents(&page, &picture).await,
        None => NOT_YET.into(),
    };
    layout::page(&web, "overview", Some(&page), html! { div #live { (PreEscaped(&contents)) } })
}

async fn actor(State(web): State<Web>, Path(actor): Path<String>) -> Response {
    let Ok(actor) = actor.parse::<ActorName>() else {
        return layout::problem(&web, StatusCode::NOT_FOUND, "There is no actor of that name.");
    };
    let Ok(_room) = web.room.try_acquire() else { return layout::busy(&web) };
    let page = Page::Actor(actor.clone());
    let contents = match web.picture().await {
        Some(picture) if !picture.actors.iter().any(|there| there.actor == actor.as_str()) => {
            return layout::problem(&web, StatusCode::NOT_FOUND, "No actor of that name is deployed.");
        }
        Some(picture) => web.contents(&page, &picture).await,
        None => NOT_YET.into(),
    };
    let (log, happened) = tokio::join!(actor::log(&web, &actor), events::about(&web, actor.as_str()));
    let all = html! { div #live { (PreEscaped(&contents)) } (happened) (log) };
    layout::page(&web, actor.as_str(), Some(&page), all)
}

impl Page {
    /// Where it is.
    fn path(&self) -> String {
        match self {
            Page::Overview { all: false } => "/".to_owned(),
            Page::Overview { all: true } => "/?all=1".to_owned(),
            Page::Actor(actor) => format!("/actors/{actor}"),
        }
    }

    /// Reads what a browser says of the page that it has open.
    fn parse(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Page::Overview { all: false }),
            "/?all=1" => Some(Page::Overview { all: true }),
            path => path.strip_prefix("/actors/")?.parse().ok().map(Page::Actor),
        }
    }

    /// Its contents, as they are in this picture.
    fn contents(&self, picture: &Picture, surveyor: &Surveyor) -> Markup {
        match self {
            Page::Overview { all } => overview::contents(picture, *all),
            Page::Actor(actor) => actor::contents(picture, actor.as_str(), &surveyor.trend(actor.as_str())),
        }
    }
}

/// The contents of pages in the latest picture that somebody asked for: whoever else has the same page open is shown the same.
#[derive(Clone, Default)]
pub(super) struct Rendered(Arc<Mutex<Latest>>);

type Latest = (Option<Arc<Picture>>, BTreeMap<Page, Arc<str>>);

impl Rendered {
    fn contents(&self, page: Page, picture: Arc<Picture>, surveyor: &Surveyor) -> Arc<str> {
        // Held while it is made, so that it is made once.
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.0.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &picture)) {
            *latest = (Some(picture.clone()), BTreeMap::new());
        }
        let make = || page.contents(&picture, surveyor).into_string().into();
        latest.1.entry(page.clone()).or_insert_with(make).clone()
    }
}

impl Web {
    /// The contents of a page as they are in this picture, made where it costs no call its turn.
    async fn contents(&self, page: &Page, picture: &Arc<Picture>) -> Arc<str> {
        let (rendered, surveyor) = (self.rendered.clone(), self.surveyor.clone());
        let (page, picture) = (page.clone(), picture.clone());
        let made = tokio::task::spawn_blocking(move || rendered.contents(page, picture, &surveyor)).await;
        made.unwrap_or_else(|_| NOT_YET.into())
    }

    /// A picture that is not older than the last round.
    async fn picture(&self) -> Option<Arc<Picture>> {
        let mut pictures = self.surveyor.watch();
        let first = async {
            loop {
                if let Some(picture) = pictures.borrow_and_update().clone() {
                    return Some(picture);
                }
                pictures.changed().await.ok()?;
            }
        };
        tokio::time::timeout(FIRST, first).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_by_their_paths() {
        for page in [
            Page::Overview { all: false },
            Page::Overview { all: true },
            Page::Actor("cart".parse().unwrap()),
        ] {
            assert_eq!(Page::parse(&page.path()), Some(page));
        }
        for forged in ["", "//", "/actors/", "/actors/../x", "/actors/<script>", "/?all=2", "/events"] {
            assert_eq!(Page::parse(forged), None, "{forged}");
        }
        assert!(
            is_page("/actors/cart")
                && !is_page("/actors/")
                && !is_page("/actors/a/b")
                && !is_page("/metrics")
        );
    }
}
