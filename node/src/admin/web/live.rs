//! Sends an open page its contents with each picture of the lattice, by server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{Page, Web};

/// How often something is sent that says nothing, so that nobody on the way closes the connection.
const ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
pub(super) struct Opened {
    page: String,
}

pub(super) async fn stream(State(web): State<Web>, Query(opened): Query<Opened>) -> Response {
    let Some(page) = Page::parse(&opened.page) else {
        return (StatusCode::BAD_REQUEST, "there is no such page").into_response();
    };
    let Ok(place) = web.open.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages of this node are open").into_response();
    };
    // What is there already is in the page.
    let state = Some((web.surveyor.watch(), page, web, place));
    let stream = futures::stream::unfold(state, async |state| {
        let (mut pictures, page, web, place) = state?;
        web.stop.clone().run_until_cancelled(pictures.next()).await??;
        let contents = web.contents(&page).await;
        let event = Event::default().data(&*contents);
        Some((Ok::<_, Infallible>(event), Some((pictures, page, web, place))))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}
