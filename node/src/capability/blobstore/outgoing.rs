//! Objects as a guest writes them. What it writes waits in a short queue until the object store has taken what came before, and the guest
//! waits with it.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream;
use futures::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::io::StreamReader;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::{Container, Given, Store, ask, push, room, table, told};
use crate::engine::Guest;

/// Parts that wait. A full queue makes the guest wait; before the value goes anywhere it is an error, as nobody would take them.
const QUEUE: usize = 32;

/// The largest of them, in bytes.
const PART: usize = 16 << 10;

/// What is stored together, in bytes: as large as the store's own chunks are.
const CHUNK: usize = 128 << 10;

/// A value that a guest makes.
pub(super) struct Outgoing {
    /// The guest takes it to write.
    parts: Option<mpsc::Sender<Bytes>>,
    /// Whoever stores the value takes it.
    queue: Option<mpsc::Receiver<Bytes>>,
    /// Sent when the value is finished; dropped with it where it is not.
    finish: oneshot::Sender<()>,
    finished: Option<oneshot::Receiver<()>>,
    /// Whether there is somebody who stores it.
    taken: tokio::sync::watch::Sender<bool>,
    storing: Option<(Container, JoinHandle<Result<(), String>>)>,
    _room: OwnedSemaphorePermit,
}

impl Outgoing {
    fn new(room: OwnedSemaphorePermit) -> Self {
        let (parts, queue) = mpsc::channel(QUEUE);
        let (finish, finished) = oneshot::channel();
        Self {
            parts: Some(parts),
            queue: Some(queue),
            finish,
            finished: Some(finished),
            taken: tokio::sync::watch::Sender::new(false),
            storing: None,
            _room: room,
        }
    }

    /// Begins to store it under a name. It is there when it is finished.
    pub fn write_to(&mut self, container: Container, name: String) -> Given<()> {
        let (Some(queue), Some(finished)) = (self.queue.take(), self.finished.take()) else {
            return Err("the value was written to a container already".to_owned());
        };
        self.taken.send_replace(true);
        let objects = container.objects.clone();
        let storing = tokio::spawn(async move {
            let mut reader = StreamReader::new(parts(queue, finished));
            objects.put(&name, &mut reader).await.map_err(told)
        });
        self.storing = Some((container, storing));
        Ok(())
    }

    /// Whether it goes somewhere, and its body was written to its end.
    fn is_whole(&self) -> bool {
        self.storing.is_some() && self.parts.is_none() && self.taken.receiver_count() == 0
    }

    /// Waits until it is stored.
    async fn finish(self, store: Store<'_>) -> Given<()> {
        let (container, storing) = self.storing.ok_or("the value was written to no container")?;
        let finish = self.finish;
        let stored = async {
            // Not before the turn may have effects: from then on the object is there. Whoever has given up says why.
            let _ = finish.send(());
            let stored = storing.await;
            stored.unwrap_or_else(|_| Err("storing the value ended unexpectedly".to_owned()))
        };
        ask(store, "blobstore finish", &container.name, stored).await
    }
}

/// What comes of a value, in larger parts. It ends when the value is finished, and with an error if it never is.
fn parts(
    queue: mpsc::Receiver<Bytes>,
    finished: oneshot::Receiver<()>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let next = async |state: Option<(mpsc::Receiver<Bytes>, Option<oneshot::Receiver<()>>)>| {
        let (mut queue, mut finished) = state?;
        let first = loop {
            let Some(waiting) = &mut finished else { break queue.recv().await? };
            tokio::select! {
                biased;
                Some(part) = queue.recv() => break part,
                outcome = waiting => {
                    if outcome.is_err() {
                        let reason = "the value was dropped before it was finished";
                        return Some((Err(io::Error::other(reason)), None));
                    }
                    // What was written before is in the queue.
                    queue.close();
                    finished = None;
                }
            }
        };
        let mut part = BytesMut::from(first);
        while part.len() < CHUNK
            && let Ok(more) = queue.try_recv()
        {
            part.extend_from_slice(&more);
        }
        Some((Ok(part.freeze()), Some((queue, finished))))
    };
    stream::unfold(Some((queue, Some(finished))), next).boxed()
}

/// Where a guest writes a value.
struct Body {
    parts: mpsc::Sender<Bytes>,
    taken: tokio::sync::watch::Receiver<bool>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Body {
    async fn ready(&mut self) {
        if *self.taken.borrow() {
            // An end is told by whatever is done next.
            let _ = self.parts.reserve().await;
        }
    }
}

impl OutputStream for Body {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PART {
            return Err(StreamError::trap("more was written than was permitted"));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.parts.try_send(bytes).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => StreamError::Closed,
            mpsc::error::TrySendError::Full(_) => StreamError::trap("more was written than was permitted"),
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.parts.is_closed() {
            return Err(StreamError::Closed);
        }
        match self.parts.capacity() {
            0 if !*self.taken.borrow() => Err(StreamError::LastOperationFailed(wasmtime::format_err!(
                "so much is written to a value only after `container.write-data` has said where it goes"
            ))),
            0 => Ok(0),
            _ => Ok(PART),
        }
    }
}

pub(super) fn link(types: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    types.resource_async(
        "outgoing-value",
        ResourceType::host::<Outgoing>(),
        |mut store: Store<'_>, rep| {
            Box::new(async move {
                let value = table(&mut store).delete(Resource::<Outgoing>::new_own(rep))?;
                // Published components write a value to its end, and never finish it. It has no other way to say that it failed.
                if value.is_whole() {
                    let stored = value.finish(store).await;
                    stored
                        .map_err(|reason| wasmtime::format_err!("a value could not be stored: {reason}"))?;
                }
                Ok(())
            })
        },
    )?;
    types.func_wrap("[static]outgoing-value.new-outgoing-value", |mut store: Store<'_>, (): ()| {
        // The interface has no error for it.
        let room = room(&store).map_err(wasmtime::Error::msg)?;
        Ok((table(&mut store).push(Outgoing::new(room))?,))
    })?;
    types.func_wrap(
        "[method]outgoing-value.outgoing-value-write-body",
        |mut store: Store<'_>, (this,): (Resource<Outgoing>,)| {
            let this = table(&mut store).get_mut(&this)?;
            let Some(parts) = this.parts.take() else { return Ok((Err(()),)) };
            let body: DynOutputStream = Box::new(Body { parts, taken: this.taken.subscribe() });
            Ok((push(&mut store, body).map_err(drop),))
        },
    )?;
    types.func_wrap_async(
        "[static]outgoing-value.finish",
        |mut store: Store<'_>, (this,): (Resource<Outgoing>,)| {
            Box::new(async move {
                let value = table(&mut store).delete(this)?;
                Ok((value.finish(store).await,))
            })
        },
    )
}
