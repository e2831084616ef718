//! A body on its way to another node, as fast as that one reads it.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use lattice_proto::http::{BodyId, End, FRAME_COST, What, cost};
use tokio::sync::watch;

use super::{BEAT, Bodies, ROOM, SILENCE};
use crate::replica::Body;

/// What its reader said last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// How far it has room.
    until: u64,
}

impl Told {
    /// The reader says how far it has room, which never gets less.
    pub fn hears(&mut self, until: u64) {
        self.until = self.until.max(until);
    }
}

/// What its sender holds. Dropped before the end, the body breaks off.
pub(in crate::router) struct Leaving {
    bodies: Bodies,
    id: BodyId,
    told: watch::Receiver<Told>,
    position: u64,
    /// When the reader was asked first whether it is still there, since it last said anything.
    asked: Option<Instant>,
    over: bool,
}

impl Leaving {
    /// The body of a request: nothing of it is sent before somebody reads it.
    pub fn of_request(bodies: &Bodies, number: u64) -> Self {
        Self::new(bodies, BodyId { number, of_request: true }, 0)
    }

    /// What follows of the body of an answer.
    pub fn of_answer(bodies: &Bodies, number: u64) -> Self {
        Self::new(bodies, BodyId { number, of_request: false }, ROOM)
    }

    fn new(bodies: &Bodies, id: BodyId, until: u64) -> Self {
        let (reader, told) = watch::channel(Told { until });
        bodies.open().leaving.insert(id, reader);
        Self { bodies: bodies.clone(), id, told, position: 0, asked: None, over: false }
    }

    /// Waits until the reader has room; false when it never will.
    pub async fn is_wanted(&mut self) -> bool {
        while self.told.borrow_and_update().until <= self.position + FRAME_COST {
            if !self.listens().await {
                return false;
            }
        }
        true
    }

    /// Sends these bytes, and then the body, to its end.
    pub async fn send(mut self, first: Bytes, mut body: Body) {
        if !self.data(first).await {
            return;
        }
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                reads = self.listens() => match reads {
                    true => continue,
                    false => return,
                },
            };
            let trailers = match frame.map(|frame| frame.map(hyper::body::Frame::into_data)) {
                Some(Ok(Ok(data))) => match self.data(data).await {
                    true => continue,
                    false => return,
                },
                Some(Ok(Err(frame))) => frame.into_trailers().ok(),
                Some(Err(broken)) => {
                    self.over = true;
                    return self.say(What::Broken(broken.0)).await;
                }
                None => None,
            };
            self.over = true;
            return self.say(What::Close(self.position, End { trailers })).await;
        }
    }

    /// Sends some bytes; false when nobody reads them.
    async fn data(&mut self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            if !self.is_wanted().await {
                return false;
            }
            let room = self.told.borrow().until - self.position - FRAME_COST;
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(self.bodies.chunk());
            let part = bytes.split_to(room.min(bytes.len()));
            let position = self.position;
            self.position += cost(part.len());
            self.say(What::Data(position, part)).await;
        }
        true
    }

    /// Waits for a word of the reader, and says now and then that this end is still there. False when nobody is there.
    async fn listens(&mut self) -> bool {
        match tokio::time::timeout(BEAT, self.told.changed()).await {
            Ok(Ok(())) => {
                self.asked = None;
                true
            }
            // It was left, or the node is lost.
            Ok(Err(_)) => {
                self.over = true;
                false
            }
            // A reader that has room says nothing unasked, so its silence counts from the first question.
            Err(_) if self.asked.is_some_and(|asked| asked.elapsed() > SILENCE) => false,
            Err(_) => {
                self.asked.get_or_insert_with(Instant::now);
                self.say(What::Still(self.position)).await;
                true
            }
        }
    }

    async fn say(&self, what: What) {
        self.bodies.say(self.id, what).await;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut open = self.bodies.open();
        // Another one may be in its place.
        if open.leaving.get(&self.id).is_some_and(|reader| reader.subscribe().same_channel(&self.told)) {
            open.leaving.remove(&self.id);
        }
        drop(open);
        if !self.over {
            self.bodies.say_last(self.id, What::Broken("its sender gave up".to_owned()));
        }
    }
}
