//! Whose a request is: the routes of all apps, as they were declared last.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use lattice_proto::manifest::HttpRoutes;
use tokio::sync::watch;

use crate::bus::Error;
use crate::controller::Observer;

/// The pause before what could not be read is read again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long what changes again and again may be read once.
const GATHER: Duration = Duration::from_millis(50);

/// Keeps the routes fresh for as long as it is let. Those that were known last stay while NATS is away.
pub(super) async fn follow(observer: Observer, routes: watch::Sender<Option<Arc<HttpRoutes>>>) {
    let mut changes = observer.watch_catalog();
    loop {
        match read(&observer).await {
            Ok(read) => {
                routes.send_replace(Some(Arc::new(read)));
                changes.next().await;
                tokio::time::sleep(GATHER).await;
                while changes.next().now_or_never().is_some() {}
            }
            Err(error) => {
                tracing::debug!(%error, "the routes of the HTTP gateway cannot be read; they stay as they are");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn read(observer: &Observer) -> Result<HttpRoutes, Error> {
    let mut routes = HttpRoutes::default();
    for app in observer.apps().await? {
        for (name, actor) in &app.actors {
            for route in &actor.settings.http {
                if let Err(other) = routes.add(name, route) {
                    // Declared by versions that did not look.
                    tracing::warn!(actor = %name, %other, %route, "two actors are to answer the same requests; the second does not");
                }
            }
        }
    }
    Ok(routes)
}
