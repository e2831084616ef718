//! Messages to whoever subscribes to their topics: publishing one, and looking at what waits.

use std::collections::BTreeMap;
use std::time::Instant;

use lattice_proto::admin::{
    self, ListSubscriptionsRequest, ListSubscriptionsResponse, PublishRequest, PublishResponse,
};
use lattice_proto::envelope::{ContentType, TraceContext};
use lattice_proto::{ActorName, Topic, subject};
use tonic::{Request, Status};

use super::page::Page;
use super::service::timeout;
use super::{Parts, error};
use crate::bus::Queued;
use crate::telemetry::{Scope, Span, metrics};
use crate::topics::Publication;

/// Publishes a message, and answers when it is stored.
pub(super) async fn publish(
    parts: &Parts,
    request: Request<PublishRequest>,
) -> Result<PublishResponse, Status> {
    let header = |name: &str| {
        request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (parent, state) = (header("traceparent"), header("tracestate"));
    let request = request.into_inner();
    let parent = if request.traceparent.is_empty() { parent } else { request.traceparent };
    let topic: Topic = request.topic.parse().map_err(error::invalid)?;
    let content_type = ContentType::parse(&request.content_type).map_err(error::invalid)?;
    let id = match request.request_id.as_str() {
        "" => parts.router.message_id(),
        id => id.parse().map_err(|problem| error::invalid(format!("request_id: {problem}")))?,
    };
    let deadline = Instant::now() + timeout(request.timeout_ms);
    let mut span = Span::publish(TraceContext::parse(&parent, &state).map(Scope::from), &topic);
    span.carries(&id);
    let trace = span.scope().map(|scope| scope.context);
    let what = Publication { id, topic, payload: request.payload, content_type, trace };
    let (publisher, _) = &parts.topics;
    match publisher.publish(&what, deadline, None).await {
        Ok(()) => {
            metrics::published("");
            Ok(PublishResponse { id: what.id.to_string() })
        }
        Err(fault) => {
            span.fail(&fault);
            Err(error::from_fault(&fault))
        }
    }
}

/// What is subscribed to, and what waits for it.
pub(super) async fn list(
    parts: &Parts,
    request: ListSubscriptionsRequest,
) -> Result<ListSubscriptionsResponse, Status> {
    let ListSubscriptionsRequest { actor, page_size, page_token } = request;
    let page = Page::<String>::parse("subscriptions", page_size, &page_token).map_err(error::invalid)?;
    let only: Option<ActorName> = match actor.as_str() {
        "" => None,
        actor => Some(actor.parse().map_err(error::invalid)?),
    };
    let (_, topics) = &parts.topics;
    let apps = parts.observer.apps().await.map_err(|error| error::from_bus(&error))?;
    let queues = topics.queues().await.map_err(|error| error::from_bus(&error))?;
    let queues: BTreeMap<String, Queued> =
        queues.into_iter().map(|queued| (queued.name.clone(), queued)).collect();
    let mut declared = BTreeMap::new();
    for app in &apps {
        let actors = app.actors.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| *name == only));
        for (name, actor) in actors {
            for subscription in &actor.settings.subscribe {
                let queue = subject::subscription(name, &subscription.topic);
                let shown = admin::Subscription {
                    app: app.app.to_string(),
                    actor: name.to_string(),
                    topics: subscription.topic.to_string(),
                    operation: subscription.operation.to_string(),
                    ..admin::Subscription::default()
                };
                declared.insert(queue.clone(), (queues.get(&queue), shown));
            }
        }
    }
    let fetch = async |(queued, shown): (Option<&Queued>, admin::Subscription)| {
        let Some(queued) = queued else { return Ok(Some(shown)) };
        let oldest = topics.oldest(queued).await.map_err(|error| error::from_bus(&error))?;
        let oldest_ms = oldest.and_then(|oldest| u64::try_from(oldest).ok());
        let (pending, in_hand) = (queued.pending, queued.in_hand);
        Ok::<_, Status>(Some(admin::Subscription { begun: true, pending, in_hand, oldest_ms, ..shown }))
    };
    let (subscriptions, next_page_token) = page.fetch(declared, fetch).await?;
    Ok(ListSubscriptionsResponse { subscriptions, next_page_token })
}
