//! `wasi:blobstore` (`blobstore`, `container` and `types`): containers are object stores in JetStream. `grants.blobstore` says which ones a
//! guest may open and make.
//!
//! Rules:
//! 1. An object is read chunk by chunk and written as it comes. What is on its way takes a bounded room in the node's memory, and whoever is
//!    slow slows the other side.
//! 2. An object is there when its value is finished, and as a whole. That a guest drops a value whose body it has closed counts as that. A
//!    value whose body is open, or whose guest ends, leaves what was there.

mod incoming;
mod outgoing;

use futures::StreamExt;
use futures::stream::BoxStream;
use lattice_proto::StoreName;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::StreamReader;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{AsContextMut, StoreContextMut};

use super::storage::{begin, drop_resource, refuse, table};
use crate::bus::{self, Objects};
use crate::engine::Guest;
use incoming::Incoming;
use outgoing::Outgoing;

const VERSION: &str = "0.2.0-draft";

/// Streams and values take room in the node's memory, as so many calls to others do.
const ROOM: u32 = 16;

/// Names that one call gives, or takes.
const MANY: usize = 1_000;

/// The longest name of an object, in bytes.
const MAX_NAME: usize = 512;

#[derive(ComponentType, Lower)]
#[component(record)]
struct ContainerMetadata {
    name: String,
    #[component(name = "created-at")]
    created_at: u64,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct ObjectMetadata {
    name: String,
    container: String,
    #[component(name = "created-at")]
    created_at: u64,
    size: u64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct ObjectId {
    container: String,
    object: String,
}

/// A container that a guest has opened.
#[derive(Clone)]
struct Container {
    name: StoreName,
    objects: Objects,
}

/// Names of objects, as a guest asks for them.
struct Names {
    names: BoxStream<'static, Result<String, bus::Error>>,
    container: StoreName,
    _room: OwnedSemaphorePermit,
}

type Store<'a> = StoreContextMut<'a, Guest>;
type Given<T> = Result<T, String>;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(&format!("wasi:blobstore/types@{VERSION}"))?;
    outgoing::link(&mut types)?;
    incoming::link(&mut types)?;
    let mut container = linker.instance(&format!("wasi:blobstore/container@{VERSION}"))?;
    container.resource("container", ResourceType::host::<Container>(), drop_resource::<Container>)?;
    container.resource("stream-object-names", ResourceType::host::<Names>(), drop_resource::<Names>)?;
    link_container(&mut container)?;
    link_objects(&mut container)?;
    link_names(&mut container)?;
    link_blobstore(&mut linker.instance(&format!("wasi:blobstore/blobstore@{VERSION}"))?)
}

/// The container of this name, if the manifest grants it; it may not be there.
fn granted(store: Store<'_>, name: &str) -> Given<Container> {
    let name: StoreName = name.parse().map_err(|error: lattice_proto::id::Invalid| error.to_string())?;
    let home = store.data().home.clone();
    if home.settings.grants.blobstore.contain(&name) {
        return Ok(Container { objects: home.stores.container(&name), name });
    }
    Err(refuse(store, "container", "blobstore", &name))
}

/// Asks a container for something within the turn.
async fn ask<T>(
    mut store: Store<'_>,
    what: &'static str,
    container: &StoreName,
    asked: impl Future<Output = Result<T, String>>,
) -> Given<T> {
    let operation = begin(store.as_context_mut(), what, container.as_str())?;
    let given = operation.run(asked).await;
    store.data_mut().gave_way();
    given
}

fn push<T: Send + 'static>(store: &mut Store<'_>, what: T) -> Given<Resource<T>> {
    table(store).push(what).map_err(|_| "the guest holds too many resources".to_owned())
}

/// Room for one value or stream.
fn room(store: &Store<'_>) -> Given<OwnedSemaphorePermit> {
    let room = store.data().calls.clone().try_acquire_many_owned(ROOM);
    room.map_err(|_| "the guest holds too many values and streams; drop some".to_owned())
}

fn told(error: bus::Error) -> String {
    error.to_string()
}

/// Whether an object may be called so.
fn fits(name: &str) -> Given<()> {
    match (1..=MAX_NAME).contains(&name.len()) {
        true => Ok(()),
        false => {
            Err(format!("the name of an object has 1 to {MAX_NAME} bytes, and this one has {}", name.len()))
        }
    }
}

/// Seconds since 1970.
fn seconds(ms: i64) -> u64 {
    u64::try_from(ms / 1_000).unwrap_or_default()
}

/// When a container was made, and that it is there.
async fn made(container: &Container) -> Given<u64> {
    let made = container.objects.made_ms().await.map_err(told)?;
    made.map(seconds).ok_or_else(|| format!("there is no container `{}`", container.name))
}

fn link_blobstore(blobstore: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    blobstore.func_wrap_async("create-container", |mut store: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let created = async {
                let container = granted(store.as_context_mut(), &name)?;
                let stores = store.data().home.stores.clone();
                let create = async {
                    match container.objects.made_ms().await.map_err(told)? {
                        Some(_) => Err(format!("there is a container `{}` already", container.name)),
                        None => {
                            stores.make_container(&container.name).await.map_err(|error| error.to_string())
                        }
                    }
                };
                ask(store.as_context_mut(), "blobstore create-container", &container.name, create).await?;
                push(&mut store, container)
            };
            Ok((created.await,))
        })
    })?;
    blobstore.func_wrap_async("get-container", |mut store: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let found = async {
                let container = granted(store.as_context_mut(), &name)?;
                ask(store.as_context_mut(), "blobstore get-container", &container.name, made(&container))
                    .await?;
                push(&mut store, container)
            };
            Ok((found.await,))
        })
    })?;
    blobstore.func_wrap_async("delete-container", |mut store: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let deleted = async {
                let container = granted(store.as_context_mut(), &name)?;
                let delete = async {
                    made(&container).await?;
                    container.objects.destroy().await.map_err(told)
                };
                ask(store, "blobstore delete-container", &container.name, delete).await
            };
            Ok((deleted.await,))
        })
    })?;
    blobstore.func_wrap_async("container-exists", |mut store: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let exists = async {
                let container = granted(store.as_context_mut(), &name)?;
                let look = async { container.objects.made_ms().await.map_err(told) };
                let made = ask(store, "blobstore container-exists", &container.name, look).await?;
                Ok::<_, String>(made.is_some())
            };
            Ok((exists.await,))
        })
    })?;
    blobstore.func_wrap_async("copy-object", |store: Store<'_>, (from, to): (ObjectId, ObjectId)| {
        Box::new(async move { Ok((copy(store, from, to, After::Keep).await,)) })
    })?;
    blobstore.func_wrap_async("move-object", |store: Store<'_>, (from, to): (ObjectId, ObjectId)| {
        Box::new(async move { Ok((copy(store, from, to, After::Remove).await,)) })
    })
}

/// What becomes of an object that was copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Keep,
    Remove,
}

/// Copies an object, chunk by chunk, under another name or into another container.
async fn copy(mut store: Store<'_>, from: ObjectId, to: ObjectId, after: After) -> Given<()> {
    fits(&to.object)?;
    let source = granted(store.as_context_mut(), &from.container)?;
    let target = granted(store.as_context_mut(), &to.container)?;
    let _room = room(&store)?;
    let what = if after == After::Remove { "blobstore move-object" } else { "blobstore copy-object" };
    let is_same = source.name == target.name && from.object == to.object;
    let copied = async {
        let stored = source.objects.look(&from.object).await.map_err(told)?;
        let stored = stored.ok_or_else(|| missing(&source.name, &from.object))?;
        made(&target).await?;
        if is_same {
            return Ok(());
        }
        let chunks = source.objects.chunks(&stored).await.map_err(told)?;
        let mut reader = StreamReader::new(incoming::bytes(chunks));
        target.objects.put(&to.object, &mut reader).await.map_err(told)?;
        match after {
            After::Keep => Ok(()),
            After::Remove => source.objects.remove(&from.object).await.map_err(told),
        }
    };
    ask(store, what, &target.name, copied).await
}

fn missing(container: &StoreName, name: &str) -> String {
    let short: String = name.chars().take(80).collect();
    format!("there is no object `{}` in container `{container}`", short.escape_debug())
}

fn link_container(container: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    container.func_wrap(
        "[method]container.name",
        |mut store: Store<'_>, (this,): (Resource<Container>,)| {
            let name: Given<String> = Ok(table(&mut store).get(&this)?.name.to_string());
            Ok((name,))
        },
    )?;
    container.func_wrap_async(
        "[method]container.info",
        |mut store: Store<'_>, (this,): (Resource<Container>,)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let made = ask(store, "blobstore info", &this.name, made(&this)).await;
                Ok((made.map(|created_at| ContainerMetadata { name: this.name.to_string(), created_at }),))
            })
        },
    )?;
    container.func_wrap_async(
        "[method]container.clear",
        |mut store: Store<'_>, (this,): (Resource<Container>,)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let clear = async { this.objects.clear().await.map_err(told) };
                Ok((ask(store, "blobstore clear", &this.name, clear).await,))
            })
        },
    )
}

fn link_objects(container: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    container.func_wrap_async(
        "[method]container.get-data",
        |mut store: Store<'_>, (this, name, start, end): (Resource<Container>, String, u64, u64)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let got = async {
                    let look = async {
                        let stored = this.objects.look(&name).await.map_err(told)?;
                        stored.ok_or_else(|| missing(&this.name, &name))
                    };
                    let stored = ask(store.as_context_mut(), "blobstore get-data", &this.name, look).await?;
                    push(&mut store, Incoming::new(&this, stored, start, end))
                };
                Ok((got.await,))
            })
        },
    )?;
    container.func_wrap(
        "[method]container.write-data",
        |mut store: Store<'_>, (this, name, data): (Resource<Container>, String, Resource<Outgoing>)| {
            let this = table(&mut store).get(&this)?.clone();
            let begun = fits(&name).and_then(|()| {
                let data = table(&mut store).get_mut(&data).map_err(|error| error.to_string())?;
                data.write_to(this, name)
            });
            Ok((begun,))
        },
    )?;
    container.func_wrap_async(
        "[method]container.delete-object",
        |mut store: Store<'_>, (this, name): (Resource<Container>, String)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let delete = async { this.objects.remove(&name).await.map_err(told) };
                Ok((ask(store, "blobstore delete-object", &this.name, delete).await,))
            })
        },
    )?;
    container.func_wrap_async(
        "[method]container.delete-objects",
        |mut store: Store<'_>, (this, names): (Resource<Container>, Vec<String>)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let delete = async {
                    if names.len() > MANY {
                        let count = names.len();
                        return Err(format!(
                            "at most {MANY} objects are deleted together, and these are {count}"
                        ));
                    }
                    for name in &names {
                        this.objects.remove(name).await.map_err(told)?;
                    }
                    Ok(())
                };
                Ok((ask(store, "blobstore delete-objects", &this.name, delete).await,))
            })
        },
    )?;
    container.func_wrap_async(
        "[method]container.has-object",
        |mut store: Store<'_>, (this, name): (Resource<Container>, String)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let look = async { this.objects.look(&name).await.map_err(told) };
                let found = ask(store, "blobstore has-object", &this.name, look).await;
                Ok((found.map(|found| found.is_some()),))
            })
        },
    )?;
    container.func_wrap_async(
        "[method]container.object-info",
        |mut store: Store<'_>, (this, name): (Resource<Container>, String)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let look = async {
                    let stored = this.objects.look(&name).await.map_err(told)?;
                    stored.ok_or_else(|| missing(&this.name, &name))
                };
                let stored = ask(store, "blobstore object-info", &this.name, look).await;
                let container = this.name.to_string();
                let info = stored.map(|stored| ObjectMetadata {
                    name,
                    container,
                    created_at: seconds(stored.stored_ms),
                    size: stored.size,
                });
                Ok((info,))
            })
        },
    )
}

fn link_names(container: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    container.func_wrap_async(
        "[method]container.list-objects",
        |mut store: Store<'_>, (this,): (Resource<Container>,)| {
            Box::new(async move {
                let this = table(&mut store).get(&this)?.clone();
                let listed = async {
                    let room = room(&store)?;
                    let list = async { this.objects.names().await.map_err(told) };
                    let names =
                        ask(store.as_context_mut(), "blobstore list-objects", &this.name, list).await?;
                    push(&mut store, Names { names, container: this.name.clone(), _room: room })
                };
                Ok((listed.await,))
            })
        },
    )?;
    container.func_wrap_async(
        "[method]stream-object-names.read-stream-object-names",
        |mut store: Store<'_>, (this, count): (Resource<Names>, u64)| {
            Box::new(async move { Ok((next_names(&mut store, &this, count).await?,)) })
        },
    )?;
    container.func_wrap_async(
        "[method]stream-object-names.skip-stream-object-names",
        |mut store: Store<'_>, (this, count): (Resource<Names>, u64)| {
            Box::new(async move {
                let skipped = next_names(&mut store, &this, count).await?;
                Ok((skipped.map(|(names, end)| (names.len() as u64, end)),))
            })
        },
    )
}

/// The next names, fewer than were asked for where these are too many for one call; and whether there are no more.
async fn next_names(
    store: &mut Store<'_>,
    this: &Resource<Names>,
    count: u64,
) -> wasmtime::Result<Given<(Vec<String>, bool)>> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(MANY);
    let held = table(store).get_mut(this)?;
    let container = held.container.clone();
    let mut names = std::mem::replace(&mut held.names, futures::stream::empty().boxed());
    let read = async {
        let mut read = Vec::new();
        while read.len() < count {
            match names.next().await {
                Some(name) => read.push(name.map_err(told)?),
                None => return Ok((read, true)),
            }
        }
        Ok((read, false))
    };
    let given = ask(store.as_context_mut(), "blobstore read-stream-object-names", &container, read).await;
    // A listing that broke off goes on where it was.
    table(store).get_mut(this)?.names = names;
    Ok(given)
}
