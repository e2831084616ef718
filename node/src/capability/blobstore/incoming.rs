//! Objects as a guest reads them.

use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::StreamReader;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::pipe::AsyncReadStream;
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamResult};

use super::{Container, Given, Store, ask, drop_resource, push, room, table, told};
use crate::bus::{Chunks, Stored};
use crate::engine::Guest;

/// The most that is given at once; more is read as a stream.
const AT_ONCE: u64 = 16 << 20;

/// An object, or a part of it, that was not read yet.
pub(super) struct Incoming {
    container: Container,
    stored: Stored,
    start: u64,
    size: u64,
}

impl Incoming {
    /// The bytes from `start` to `end`, with both of them; what lies behind the object's end is not there.
    pub fn new(container: &Container, stored: Stored, start: u64, end: u64) -> Self {
        let size = end.saturating_add(1).min(stored.size).saturating_sub(start);
        Self { container: container.clone(), stored, start, size }
    }

    /// What it holds, chunk by chunk.
    async fn bytes(&self) -> Given<BoxStream<'static, io::Result<Bytes>>> {
        let chunks = self.container.objects.chunks(&self.stored).await.map_err(told)?;
        let (mut before, mut left) = (self.start, self.size);
        let part = bytes(chunks).map(move |chunk| {
            chunk.map(|mut chunk| {
                let skipped = usize::try_from(before).unwrap_or(usize::MAX).min(chunk.len());
                let mut wanted = chunk.split_off(skipped);
                before -= skipped as u64;
                wanted.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= wanted.len() as u64;
                wanted
            })
        });
        // Empty parts would look like the end.
        Ok(part.filter(|part| std::future::ready(!matches!(part, Ok(part) if part.is_empty()))).boxed())
    }
}

/// An object's bytes; an error ends them.
pub(super) fn bytes(chunks: Chunks) -> BoxStream<'static, io::Result<Bytes>> {
    let next = async |chunks: Option<Chunks>| {
        let mut chunks = chunks?;
        match chunks.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(chunks))),
            Ok(None) => None,
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    };
    stream::unfold(Some(chunks), next).boxed()
}

/// A stream that has its room for as long as it is there.
struct Roomy {
    stream: AsyncReadStream,
    _room: OwnedSemaphorePermit,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Roomy {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Roomy {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.read(size)
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

pub(super) fn link(types: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    types.resource("incoming-value", ResourceType::host::<Incoming>(), drop_resource::<Incoming>)?;
    types.func_wrap(
        "[method]incoming-value.size",
        |mut store: StoreContextMut<'_, Guest>, (this,): (Resource<Incoming>,)| {
            Ok((table(&mut store).get(&this)?.size,))
        },
    )?;
    types.func_wrap_async(
        "[static]incoming-value.incoming-value-consume-sync",
        |mut store: Store<'_>, (this,): (Resource<Incoming>,)| {
            Box::new(async move {
                let this = table(&mut store).delete(this)?;
                let read = async {
                    if this.size > AT_ONCE {
                        let size = this.size;
                        return Err(format!(
                            "it has {size} bytes, and at most {AT_ONCE} are given at once; read it as a stream"
                        ));
                    }
                    let mut all = Vec::new();
                    let mut reader = StreamReader::new(this.bytes().await?).take(this.size);
                    reader.read_to_end(&mut all).await.map_err(|error| error.to_string())?;
                    Ok(all)
                };
                Ok((ask(store, "blobstore consume", &this.container.name, read).await,))
            })
        },
    )?;
    types.func_wrap_async(
        "[static]incoming-value.incoming-value-consume-async",
        |mut store: Store<'_>, (this,): (Resource<Incoming>,)| {
            Box::new(async move {
                let this = table(&mut store).delete(this)?;
                let opened = async {
                    let room = room(&store)?;
                    let bytes = this.bytes().await?;
                    let stream = AsyncReadStream::new(StreamReader::new(bytes).take(this.size));
                    let stream: DynInputStream = Box::new(Roomy { stream, _room: room });
                    push(&mut store, stream)
                };
                Ok((opened.await,))
            })
        },
    )
}
