//! A body that comes from another node, frame by frame, as its reader makes room for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use lattice_proto::http::{BodyId, End, What, cost};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::{Bodies, LARGE_ROOM, ROOM, SILENCE};
use crate::replica::Broken;

/// Where the frames of one body arrive.
pub(super) struct Inlet(Mutex<Arrived>);

struct Arrived {
    /// What was not read yet. Bounded by `until`.
    queue: VecDeque<Bytes>,
    /// How it ended; said when the queue is empty.
    ended: Option<Result<End, Broken>>,
    /// Where the next frame begins.
    position: u64,
    /// How far the sender may go.
    until: u64,
    heard: Instant,
    reader: Option<Waker>,
}

impl Inlet {
    fn new(until: u64) -> Self {
        Self(Mutex::new(Arrived {
            queue: VecDeque::new(),
            ended: None,
            position: 0,
            until,
            heard: Instant::now(),
            reader: None,
        }))
    }

    /// Takes what the sender says, and gives what is to be answered.
    pub fn take(&self, what: What) -> Option<What> {
        let mut arrived = self.arrived();
        arrived.heard = Instant::now();
        if arrived.ended.is_some() {
            return None;
        }
        let position = match &what {
            What::Data(position, _) | What::Close(position, _) | What::Still(position) => *position,
            _ => arrived.position,
        };
        if position != arrived.position {
            arrived.ends(Err(Broken("a part of it was lost on its way".to_owned())));
            return Some(What::Left);
        }
        match what {
            What::Data(_, bytes) => {
                let end = arrived.position.saturating_add(cost(bytes.len()));
                if end > arrived.until {
                    arrived.ends(Err(Broken("more of it came than there is room for".to_owned())));
                    return Some(What::Left);
                }
                arrived.position = end;
                arrived.queue.push_back(bytes);
                arrived.wake();
                None
            }
            What::Close(_, end) => {
                arrived.ends(Ok(end));
                None
            }
            What::Broken(reason) => {
                arrived.ends(Err(Broken(reason)));
                None
            }
            // What was said of it before may be lost.
            What::Still(_) => Some(What::Credit(arrived.until)),
            What::Credit(_) | What::Left => None,
        }
    }

    /// It breaks off, unless all of it is there.
    pub fn breaks(&self, reason: &str) {
        let mut arrived = self.arrived();
        if arrived.ended.is_none() {
            arrived.ends(Err(Broken(reason.to_owned())));
        }
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    fn ends(&mut self, how: Result<End, Broken>) {
        self.ended = Some(how);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// What its reader holds.
pub(in crate::router) struct Arriving {
    bodies: Bodies,
    id: BodyId,
    inlet: Arc<Inlet>,
    /// What was read so far, as it counts.
    read: u64,
    room: u64,
    /// There where the room is a large one.
    large: Option<OwnedSemaphorePermit>,
    /// The sender is being told of more room.
    telling: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    late: Pin<Box<Sleep>>,
    /// Whether all was read, or nothing is to be.
    over: bool,
}

impl Arriving {
    /// The body of a request: nothing of it comes before somebody reads it.
    pub fn of_request(bodies: &Bodies, number: u64) -> Self {
        Self::new(bodies, BodyId { number, of_request: true }, 0)
    }

    /// The body of an answer that is yet to come.
    pub fn of_answer(bodies: &Bodies, number: u64) -> Self {
        Self::new(bodies, BodyId { number, of_request: false }, ROOM)
    }

    fn new(bodies: &Bodies, id: BodyId, until: u64) -> Self {
        let inlet = Arc::new(Inlet::new(until));
        let other = bodies.open().arriving.insert(id, inlet.clone());
        // No node uses a number twice, and one that does so all the same has two bodies in one.
        if let Some(other) = other {
            other.breaks("its sender has begun another one in its place");
        }
        Self {
            bodies: bodies.clone(),
            id,
            inlet,
            read: 0,
            room: ROOM,
            large: None,
            telling: None,
            late: Box::pin(tokio::time::sleep(SILENCE)),
            over: false,
        }
    }

    /// Its sender is at it from now on.
    pub fn begins(&self) {
        self.inlet.arrived().heard = Instant::now();
    }

    /// There is no such body: nobody is told that it is not read.
    pub fn forget(mut self) {
        self.over = true;
    }

    /// Gives the sender more room when half of it is free, and has it told.
    fn makes_room(&mut self, task: &mut Context<'_>) {
        let mut arrived = self.inlet.arrived();
        if arrived.ended.is_none() && arrived.until - self.read <= self.room / 2 {
            if self.read > 0 && self.large.is_none() {
                self.large = self.bodies.shared.common.large.clone().try_acquire_owned().ok();
                if self.large.is_some() {
                    self.room = LARGE_ROOM;
                }
            }
            arrived.until = self.read + self.room;
            self.telling = Some(Box::pin(self.bodies.say(self.id, What::Credit(arrived.until))));
        }
        drop(arrived);
        if self.telling.as_mut().is_some_and(|telling| telling.as_mut().poll(task).is_ready()) {
            self.telling = None;
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.makes_room(task);
        let (bytes, ended) = {
            let mut arrived = self.inlet.arrived();
            let bytes = arrived.queue.pop_front();
            let ended = if bytes.is_none() { arrived.ended.take() } else { None };
            if bytes.is_none() && ended.is_none() {
                arrived.reader = Some(task.waker().clone());
            }
            (bytes, ended)
        };
        if let Some(bytes) = bytes {
            self.read += cost(bytes.len());
            self.makes_room(task);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(ended) = ended {
            self.over = true;
            return Poll::Ready(match ended {
                Ok(End { trailers }) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(broken) => Some(Err(broken)),
            });
        }
        loop {
            ready!(self.late.as_mut().poll(task));
            let until = self.inlet.arrived().heard + SILENCE;
            if until <= Instant::now() {
                return Poll::Ready(Some(Err(Broken("its sender has fallen silent".to_owned()))));
            }
            self.late.as_mut().reset(until.into());
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut open = self.bodies.open();
        // Another one may be in its place.
        if open.arriving.get(&self.id).is_some_and(|inlet| Arc::ptr_eq(inlet, &self.inlet)) {
            open.arriving.remove(&self.id);
        }
        drop(open);
        if !self.over {
            self.bodies.say_last(self.id, What::Left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(position: u64, bytes: &'static str) -> What {
        What::Data(position, Bytes::from_static(bytes.as_bytes()))
    }

    fn ended(inlet: &Inlet) -> Option<Result<End, String>> {
        inlet.arrived().ended.clone().map(|ended| ended.map_err(|broken| broken.0))
    }

    #[test]
    fn frames_in_their_order_are_taken_and_a_gap_breaks_it_off() {
        let inlet = Inlet::new(1_000);
        assert_eq!(inlet.take(data(0, "abc")), None);
        assert_eq!(inlet.take(What::Still(cost(3))), Some(What::Credit(1_000)));
        assert_eq!(inlet.take(data(cost(3), "de")), None);
        assert_eq!(inlet.arrived().queue.len(), 2);
        // One frame is missing before this one.
        assert_eq!(inlet.take(data(cost(3) + cost(2) + cost(1), "g")), Some(What::Left));
        assert_eq!(ended(&inlet), Some(Err("a part of it was lost on its way".to_owned())));
        assert_eq!(inlet.take(What::Close(cost(3) + cost(2), End::default())), None);
        assert!(ended(&inlet).unwrap().is_err(), "what broke off stays so");
    }

    #[test]
    fn an_end_after_a_gap_is_none() {
        let inlet = Inlet::new(1_000);
        assert_eq!(inlet.take(What::Close(cost(1), End::default())), Some(What::Left));
        assert!(ended(&inlet).unwrap().is_err());
    }

    #[test]
    fn more_than_there_is_room_for_is_not_taken() {
        let inlet = Inlet::new(cost(3));
        assert_eq!(inlet.take(data(0, "abcd")), Some(What::Left));
        assert!(inlet.arrived().queue.is_empty());
        assert!(ended(&inlet).unwrap().is_err());
        let small = Inlet::new(3 * cost(1));
        for n in 0..3 {
            assert_eq!(small.take(data(n * cost(1), "a")), None);
        }
        assert_eq!(small.take(data(3 * cost(1), "a")), Some(What::Left), "many small ones take room, too");
    }

    #[test]
    fn a_lost_node_breaks_off_what_is_not_whole() {
        let inlet = Inlet::new(1_000);
        inlet.take(What::Close(0, End::default()));
        inlet.breaks("gone");
        assert_eq!(ended(&inlet), Some(Ok(End::default())));
    }
}
