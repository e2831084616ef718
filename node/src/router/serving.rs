//! HTTP requests that came to another node, and are served by a replica of this one.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use lattice_proto::Fault;
use lattice_proto::http::{Answer, Beginning, Opening};
use tokio::sync::oneshot;

use super::bodies::{Arriving, Bodies, Leaving};
use super::handled::Answering;
use crate::replica::{Begun, Exchange, Response, SMALL};

/// A request that was given to a replica.
pub(super) struct Opened {
    number: u64,
    bodies: Bodies,
    head: oneshot::Receiver<Response>,
}

/// A request of another node.
///
/// # Errors
/// When it is none.
pub(super) fn open(bodies: &Bodies, payload: Bytes) -> Result<(Exchange, Opened), Fault> {
    let opening = Opening::decode(payload).map_err(|error| Fault::Malformed(error.to_string()))?;
    let Opening { number, request } = opening;
    let request = request.map(|Beginning { bytes, end }| {
        let begun = match end {
            Some(end) => Begun::whole(bytes, end),
            None => Begun::new(bytes, Arriving::of_request(bodies, number).boxed_unsync()),
        };
        begun.into_body()
    });
    let (exchange, head) = Exchange::new(request);
    Ok((exchange, Opened { number, bodies: bodies.clone(), head }))
}

impl Opened {
    /// Answers as soon as the guest does. Why there is no answer says the turn.
    pub fn answer_by(self, answering: Arc<Answering>) {
        let Self { number, bodies, head } = self;
        bodies.clone().spawn(async move {
            let Ok(response) = head.await else { return };
            let (head, body) = response.into_parts();
            let (beginning, rest) = body.cut(SMALL.min(bodies.chunk()));
            // There before the reply: its reader may be quick.
            let rest = rest.map(|rest| (Leaving::of_answer(&bodies, number), rest));
            let posted = answering.answer(Ok(Answer::encode(&head, &beginning)), false);
            // The node may end when all that was asked is answered, and bodies are counted by themselves.
            drop(answering);
            if let Some((leaving, (read, body))) = rest.filter(|_| posted) {
                leaving.send(read, body).await;
            }
        });
    }
}
