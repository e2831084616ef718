//! The way to other actors in the Wasm build: the functions that the node gives.
//!
//! Natively, `testing::mesh` stands in its place with the same methods.

use std::cell::OnceCell;
use std::time::SystemTime;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::Result;
use crate::call::Outgoing;
use crate::wasm::bindings::lattice::actor::mesh;
use crate::wasm::bindings::lattice::actor::types::CallOptions;
use crate::wasm::topics::bindings::lattice::actor::topics;

/// The node, of which a guest has one.
#[derive(Clone, Debug)]
pub(crate) struct Mesh;

impl Mesh {
    pub(crate) fn self_id(&self) -> &str {
        thread_local! {
            static SELF_ID: OnceCell<&'static str> = const { OnceCell::new() };
        }
        // An instance keeps its ID for life, so it is asked for once and leaked.
        SELF_ID.with(|id| *id.get_or_init(|| mesh::self_id().leak()))
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    pub(crate) fn call(&self, outgoing: Outgoing) -> LocalBoxFuture<'static, Result<Vec<u8>>> {
        let Outgoing { to, operation, payload, content_type, timeout } = outgoing;
        let timeout_ms = timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let options = CallOptions { content_type: content_type.to_owned(), timeout_ms };
        async move {
            #[cfg(feature = "tracing")]
            crate::spans::before_call();
            mesh::call(to, operation, payload, options).await.map_err(Into::into)
        }
        .boxed_local()
    }

    pub(crate) fn publish(
        &self,
        topic: String,
        payload: Vec<u8>,
        content_type: &'static str,
    ) -> LocalBoxFuture<'static, Result<()>> {
        async move {
            #[cfg(feature = "tracing")]
            crate::spans::before_call();
            topics::publish(topic, payload, content_type.to_owned()).await.map_err(Into::into)
        }
        .boxed_local()
    }

    pub(crate) fn topic(&self) -> Option<String> {
        topics::current()
    }
}
