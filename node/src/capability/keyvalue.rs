//! `wasi:keyvalue` (`store`, `atomics` and `batch`), in the two drafts that components ask for. `grants.keyvalue` says which stores a
//! guest may open; an empty name means `default`.

use std::ops::RangeInclusive;

use futures::{StreamExt, TryStreamExt, stream};
use lattice_proto::StoreName;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{AsContextMut, StoreContextMut};

use super::storage::{begin, drop_resource, refuse, table};
use crate::engine::Guest;
use crate::stores::{self, Key, Swap, Values};

/// The store of an empty name.
const DEFAULT: &str = "default";

/// Keys of one batch.
const MANY: usize = 1_000;

/// Of these so many are on their way at once.
const AT_ONCE: usize = 8;

/// What one batch may give, in bytes.
const TOGETHER: usize = 16 << 20;

#[derive(ComponentType, Lower, Debug)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl From<stores::Error> for Error {
    fn from(error: stores::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// A page of keys; the drafts write the cursor differently.
#[derive(ComponentType, Lower)]
#[component(record)]
struct KeyResponse<C> {
    keys: Vec<String>,
    cursor: Option<C>,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    Store(Error),
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

/// A store that a guest has opened.
#[derive(Clone)]
struct Bucket {
    name: StoreName,
    values: Values,
}

/// A key as it was at a moment.
#[derive(Clone)]
struct Cas {
    bucket: Bucket,
    key: Key,
    revision: u64,
}

type Store<'a> = StoreContextMut<'a, Guest>;
type Given<T> = Result<T, Error>;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut store = linker.instance("wasi:keyvalue/store@0.2.0-draft")?;
    link_store(&mut store)?;
    link_list::<u64>(&mut store, Ok, |next| next)?;
    let mut atomics = linker.instance("wasi:keyvalue/atomics@0.2.0-draft")?;
    link_increment::<u64>(&mut atomics, 0..=i128::from(u64::MAX))?;
    link_batch(&mut linker.instance("wasi:keyvalue/batch@0.2.0-draft")?)?;

    let mut store = linker.instance("wasi:keyvalue/store@0.2.0-draft2")?;
    link_store(&mut store)?;
    let read = |cursor: String| cursor.parse().map_err(|_| Error::Other("a cursor of no listing".to_owned()));
    link_list::<String>(&mut store, read, |next| next.to_string())?;
    let mut atomics = linker.instance("wasi:keyvalue/atomics@0.2.0-draft2")?;
    link_increment::<i64>(&mut atomics, i128::from(i64::MIN)..=i128::from(i64::MAX))?;
    link_swap(&mut atomics)?;
    link_batch(&mut linker.instance("wasi:keyvalue/batch@0.2.0-draft2")?)
}

/// Opens a store, if the manifest grants it.
async fn open(mut store: Store<'_>, name: String) -> Given<Resource<Bucket>> {
    let name = if name.is_empty() { DEFAULT } else { &name };
    let name: StoreName = name.parse().map_err(|_| Error::NoSuchStore)?;
    let home = store.data().home.clone();
    if !home.settings.grants.keyvalue.contains(&name) {
        refuse(store, "key-value store", "keyvalue", &name);
        return Err(Error::AccessDenied);
    }
    let operation = begin(store.as_context_mut(), "keyvalue open", name.as_str())?;
    let values = operation.run(home.stores.values(&name)).await?;
    push(&mut store, Bucket { name, values })
}

fn push<T: Send + 'static>(store: &mut Store<'_>, what: T) -> Given<Resource<T>> {
    table(store).push(what).map_err(|_| Error::Other("the guest holds too many resources".to_owned()))
}

fn link_store(store: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    store.resource("bucket", ResourceType::host::<Bucket>(), drop_resource::<Bucket>)?;
    store.func_wrap_async("open", |store: Store<'_>, (name,): (String,)| {
        Box::new(async move { Ok((open(store, name).await,)) })
    })?;
    store.func_wrap_async(
        "[method]bucket.get",
        |mut store: Store<'_>, (bucket, key): (Resource<Bucket>, String)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                let get = async {
                    let (value, _) = bucket.values.get(&Key::new(&key)?).await?;
                    Ok::<_, stores::Error>(value.map(Vec::from))
                };
                Ok((ask(store, "keyvalue get", &bucket, get).await,))
            })
        },
    )?;
    store.func_wrap_async(
        "[method]bucket.set",
        |mut store: Store<'_>, (bucket, key, value): (Resource<Bucket>, String, Vec<u8>)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                let set = async { bucket.values.set(&Key::new(&key)?, value).await };
                Ok((ask(store, "keyvalue set", &bucket, set).await,))
            })
        },
    )?;
    store.func_wrap_async(
        "[method]bucket.delete",
        |mut store: Store<'_>, (bucket, key): (Resource<Bucket>, String)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                let delete = async { bucket.values.delete(&Key::new(&key)?).await };
                Ok((ask(store, "keyvalue delete", &bucket, delete).await,))
            })
        },
    )?;
    store.func_wrap_async(
        "[method]bucket.exists",
        |mut store: Store<'_>, (bucket, key): (Resource<Bucket>, String)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                let exists = async {
                    let (value, _) = bucket.values.get(&Key::new(&key)?).await?;
                    Ok::<_, stores::Error>(value.is_some())
                };
                Ok((ask(store, "keyvalue exists", &bucket, exists).await,))
            })
        },
    )
}

/// Asks a store for something within the turn.
async fn ask<T>(
    mut store: Store<'_>,
    what: &'static str,
    bucket: &Bucket,
    asked: impl Future<Output = Result<T, stores::Error>>,
) -> Given<T> {
    let operation = begin(store.as_context_mut(), what, bucket.name.as_str())?;
    let given = operation.run(asked).await;
    store.data_mut().gave_way();
    Ok(given?)
}

fn link_list<C>(
    store: &mut LinkerInstance<'_, Guest>,
    read: impl Fn(C) -> Given<u64> + Copy + Send + Sync + 'static,
    write: impl Fn(u64) -> C + Copy + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    C: Lift + Lower + Send + Sync + 'static,
{
    store.func_wrap_async(
        "[method]bucket.list-keys",
        move |mut store: Store<'_>, (bucket, cursor): (Resource<Bucket>, Option<C>)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                let from = match cursor.map(read).transpose() {
                    Ok(from) => from.unwrap_or_default(),
                    Err(error) => return Ok((Err(error),)),
                };
                let page = ask(store, "keyvalue list-keys", &bucket, bucket.values.keys(from)).await;
                Ok((page.map(|(keys, next)| KeyResponse { keys, cursor: next.map(write) }),))
            })
        },
    )
}

fn link_increment<N>(
    atomics: &mut LinkerInstance<'_, Guest>,
    range: RangeInclusive<i128>,
) -> wasmtime::Result<()>
where
    N: Lift + Lower + Into<i128> + TryFrom<i128> + Send + Sync + 'static,
{
    atomics.func_wrap_async(
        "increment",
        move |mut store: Store<'_>, (bucket, key, by): (Resource<Bucket>, String, N)| {
            let range = range.clone();
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                let increment = async {
                    let sum = bucket.values.increment(&Key::new(&key)?, by.into(), range).await?;
                    N::try_from(sum).map_err(|_| stores::Error::OutOfRange)
                };
                Ok((ask(store, "keyvalue increment", &bucket, increment).await,))
            })
        },
    )
}

fn link_swap(atomics: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    atomics.resource("cas", ResourceType::host::<Cas>(), drop_resource::<Cas>)?;
    atomics.func_wrap_async(
        "[static]cas.new",
        |mut store: Store<'_>, (bucket, key): (Resource<Bucket>, String)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                let look = async {
                    let key = Key::new(&key)?;
                    let (_, revision) = bucket.values.get(&key).await?;
                    Ok::<_, stores::Error>(Cas { bucket: bucket.clone(), key, revision })
                };
                let cas = ask(store.as_context_mut(), "keyvalue cas", &bucket, look).await;
                Ok((cas.and_then(|cas| push(&mut store, cas)),))
            })
        },
    )?;
    atomics.func_wrap_async("[method]cas.current", |mut store: Store<'_>, (cas,): (Resource<Cas>,)| {
        Box::new(async move {
            let cas = table(&mut store).get(&cas)?.clone();
            // It is read again, so that a handle takes no room. If it is another one by now, the swap will fail.
            let look = async {
                let (value, _) = cas.bucket.values.get(&cas.key).await?;
                Ok::<_, stores::Error>(value.map(Vec::from))
            };
            Ok((ask(store, "keyvalue get", &cas.bucket, look).await,))
        })
    })?;
    atomics.func_wrap_async("swap", |mut store: Store<'_>, (cas, value): (Resource<Cas>, Vec<u8>)| {
        Box::new(async move {
            let cas = table(&mut store).delete(cas)?;
            let swap = async {
                let swapped = cas.bucket.values.swap(&cas.key, value, cas.revision).await?;
                let late = swapped == Swap::Late;
                // Whoever was late gets a handle on what is there now.
                Ok::<_, stores::Error>(if late {
                    Some(cas.bucket.values.get(&cas.key).await?.1)
                } else {
                    None
                })
            };
            let swapped = ask(store.as_context_mut(), "keyvalue swap", &cas.bucket, swap).await;
            let newer = match swapped {
                Ok(newer) => newer,
                Err(error) => return Ok((Err(CasError::Store(error)),)),
            };
            let Some(revision) = newer else { return Ok((Ok(()),)) };
            let again = push(&mut store, Cas { revision, ..cas });
            Ok((Err(again.map_or_else(CasError::Store, CasError::Failed)),))
        })
    })
}

/// Whether so many keys may be asked for together.
fn few(count: usize) -> Given<()> {
    match count > MANY {
        true => Err(Error::Other(format!("a batch has at most {MANY} keys, and this one has {count}"))),
        false => Ok(()),
    }
}

fn link_batch(batch: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    type Pair = (String, Vec<u8>);
    batch.func_wrap_async(
        "get-many",
        |mut store: Store<'_>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                if let Err(error) = few(keys.len()) {
                    return Ok((Err(error),));
                }
                let get = async {
                    let each = stream::iter(keys).map(|key| get_one(&bucket.values, key)).buffered(AT_ONCE);
                    let sum = each.try_fold((Vec::new(), 0), async |(mut all, bytes), pair: Option<Pair>| {
                        let bytes = bytes + pair.as_ref().map_or(0, |(_, value)| value.len());
                        if bytes > TOGETHER {
                            return Err(format!(
                                "the values have more than {TOGETHER} bytes together; ask for fewer"
                            ));
                        }
                        all.push(pair);
                        Ok((all, bytes))
                    });
                    sum.await.map(|(all, _)| all)
                };
                let operation = begin(store.as_context_mut(), "keyvalue get-many", bucket.name.as_str());
                let given: Given<Vec<Option<Pair>>> = match operation {
                    Ok(operation) => operation.run(get).await.map_err(Error::Other),
                    Err(reason) => Err(Error::Other(reason)),
                };
                store.data_mut().gave_way();
                Ok((given,))
            })
        },
    )?;
    batch.func_wrap_async(
        "set-many",
        |mut store: Store<'_>, (bucket, pairs): (Resource<Bucket>, Vec<Pair>)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                if let Err(error) = few(pairs.len()) {
                    return Ok((Err(error),));
                }
                let set = async {
                    for (key, value) in pairs {
                        bucket.values.set(&Key::new(&key)?, value).await?;
                    }
                    Ok(())
                };
                Ok((ask(store, "keyvalue set-many", &bucket, set).await,))
            })
        },
    )?;
    batch.func_wrap_async(
        "delete-many",
        |mut store: Store<'_>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            Box::new(async move {
                let bucket = table(&mut store).get(&bucket)?.clone();
                if let Err(error) = few(keys.len()) {
                    return Ok((Err(error),));
                }
                let delete = async {
                    for key in keys {
                        bucket.values.delete(&Key::new(&key)?).await?;
                    }
                    Ok(())
                };
                Ok((ask(store, "keyvalue delete-many", &bucket, delete).await,))
            })
        },
    )
}

/// A key with its value, where it has one.
async fn get_one(values: &Values, key: String) -> Result<Option<(String, Vec<u8>)>, String> {
    let read = async { values.get(&Key::new(&key)?).await };
    let (value, _) = read.await.map_err(|error: stores::Error| error.to_string())?;
    Ok(value.map(|value| (key, value.into())))
}
