//! A consumer that is made for one reader. The server would keep it for a while after the reader has gone, and allows
//! only so many on one stream: whoever lists something again and again would keep others from watching.

use async_nats::jetstream::stream::Stream;
use tokio::runtime::Handle;

use super::Connection;

/// Takes the consumer away when it is dropped.
pub(super) struct Temporary {
    connection: Connection,
    stream: Stream<()>,
    name: String,
}

impl Temporary {
    pub(super) fn new(connection: &Connection, stream: &Stream<()>, name: &str) -> Self {
        Self { connection: connection.clone(), stream: stream.clone(), name: name.to_owned() }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // While there is no connection the server takes it away by itself, a little later; so it does when the node ends.
        if let Ok(runtime) = Handle::try_current()
            && self.connection.is_up()
        {
            let (stream, name) = (self.stream.clone(), std::mem::take(&mut self.name));
            // That it is gone already is as good.
            runtime.spawn(async move { drop(stream.delete_consumer(&name).await) });
        }
    }
}
