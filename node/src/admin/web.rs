//! The web page of a node: the lattice as a picture, its actors with charts and logs, slow and failed calls step by step, and what
//! happened. It only shows.
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
mod traces;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use lattice_proto::admin::Picture;
use lattice_proto::{ActorName, NodeName};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::tokens::Tokens;
use crate::events::Archive;
use crate::logs::Reader;
use crate::survey::{Sample, Surveyor};

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
    pub traces: crate::traces::Reader,
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

/// The routes of the page. Where somebody is asked, pages are for those who have logged in; what leads there is for everybody.
pub(super) fn routes(web: Web) -> axum::Router {
    let css = ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("web/style.css"));
    let js = ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("web/live.js"));
    let mut pages = axum::Router::new()
        .route("/", get(overview))
        .route("/actors/{actor}", get(actor))
        .route("/events", get(events::page))
        .route("/traces", get(traces::list))
        .route("/traces/{id}", get(traces::one))
        .route("/live", get(live::stream));
    if let Some(tokens) = &web.tokens {
        pages = pages.route_layer(from_fn_with_state(tokens.clone(), login::guard));
    }
    axum::Router::new()
        .route("/login", get(login::form).post(login::enter))
        .route("/logout", axum::routing::post(login::leave))
        .route("/assets/style.css", get(async move || css))
        .route("/assets/live.js", get(async move || js))
        .merge(pages)
        .layer(DefaultBodyLimit::max(FORM))
        .layer(map_response(guarded))
        .with_state(web)
}

/// Whether this is the path of a page, with its query.
fn is_page(path: &str) -> bool {
    let trace = path.strip_prefix("/traces/").and_then(traces::parse);
    matches!(path, "/events" | "/traces") || trace.is_some() || Page::parse(path).is_some()
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
    web.picture().await;
    let contents = web.contents(&page).await;
    layout::page(&web, "overview", Some(&page), html! { div #live { (PreEscaped(&contents)) } })
}

async fn actor(State(web): State<Web>, Path(actor): Path<String>) -> Response {
    let Ok(actor) = actor.parse::<ActorName>() else {
        return layout::problem(&web, StatusCode::NOT_FOUND, "There is no actor of that name.");
    };
    let Ok(_room) = web.room.try_acquire() else { return layout::busy(&web) };
    let page = Page::Actor(actor.clone());
    let picture = web.picture().await;
    // While it cannot be told what is declared nobody knows.
    let is_missing = |picture: &Picture| {
        picture.problem.is_empty() && !picture.actors.iter().any(|there| there.actor == actor.as_str())
    };
    if picture.as_deref().is_some_and(is_missing) {
        return layout::problem(&web, StatusCode::NOT_FOUND, "No actor of that name is deployed.");
    }
    let contents = web.contents(&page).await;
    let (log, happened, slow) = tokio::join!(
        actor::log(&web, &actor),
        events::about(&web, actor.as_str()),
        traces::about(&web, &actor)
    );
    let all = html! { div #live { (PreEscaped(&contents)) } (slow) (happened) (log) };
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

    /// Its contents, as they are in this picture, with what was before.
    fn contents(&self, picture: &Picture, past: &[Sample]) -> Markup {
        match self {
            Page::Overview { all } => overview::contents(picture, *all),
            Page::Actor(actor) => actor::contents(picture, actor.as_str(), past),
        }
    }
}

/// The contents of pages in the latest picture: whoever else has the same page open is shown the same.
#[derive(Clone, Default)]
pub(super) struct Rendered(Arc<Mutex<Latest>>);

/// The contents of one page, which the first who wants them makes.
type Place = Arc<OnceCell<Arc<str>>>;

/// The picture, and each page that somebody asked for since.
type Latest = (Weak<Picture>, BTreeMap<Page, Place>);

impl Rendered {
    /// The latest picture, and the place for the contents of a page in it. The lock is held for a look only.
    fn place(&self, page: &Page, surveyor: &Surveyor) -> Option<(Arc<Picture>, Place)> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, pages) = &mut *latest;
        // Under the lock, so that nobody comes with an earlier one.
        let picture = surveyor.latest()?;
        if of.as_ptr() != Arc::as_ptr(&picture) {
            *of = Arc::downgrade(&picture);
            pages.clear();
        }
        Some((picture, pages.entry(page.clone()).or_default().clone()))
    }
}

impl Web {
    /// The contents of a page as they are now, made where it costs no call its turn.
    async fn contents(&self, page: &Page) -> Arc<str> {
        let Some((picture, place)) = self.rendered.place(page, &self.surveyor) else { return NOT_YET.into() };
        let make = async {
            let page = page.clone();
            let past = match &page {
                Page::Overview { .. } => Arc::default(),
                Page::Actor(actor) => self.surveyor.past(actor).await,
            };
            let made =
                tokio::task::spawn_blocking(move || page.contents(&picture, &past).into_string().into());
            made.await.unwrap_or_else(|_| NOT_YET.into())
        };
        place.get_or_init(|| make).await.clone()
    }

    /// The latest picture, which is waited for where there is none yet.
    async fn picture(&self) -> Option<Arc<Picture>> {
        let mut pictures = self.surveyor.watch();
        if let Some(picture) = self.surveyor.latest() {
            return Some(picture);
        }
        tokio::time::timeout(FIRST, pictures.next()).await.ok().flatten()
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
            is_page("/events")
                && is_page("/?all=1")
                && is_page("/traces")
                && !is_page("/metrics")
                && !is_page("/live")
        );
    }
}
