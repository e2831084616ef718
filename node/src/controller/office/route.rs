//! Writing one route, by compare-and-set on its own key.

use bytes::Bytes;

use crate::bus::{Error, Space};

/// What becomes of a route.
pub(super) enum Write {
    Put(Bytes),
    Remove,
}

/// `over` is the revision that is known; none where the key is not.
pub(super) async fn write_route(
    space: Space,
    key: String,
    over: Option<u64>,
    write: Write,
) -> Result<(), Error> {
    let over = match over {
        Some(over) => over,
        // A removed key has a revision too, which the mirror does not keep.
        None => space.get(&key).await?.map_or(0, |entry| entry.revision),
    };
    match write {
        Write::Put(route) => space.put_if(&key, route, over).await.map(|_| ()),
        Write::Remove => space.remove_if(&key, over).await,
    }
}
