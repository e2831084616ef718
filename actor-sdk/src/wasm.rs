//! The component's side of the WIT world `actor`: its export.
//!
//! 1. The node calls `check`, where the actor has one, and then `handle`; the first call makes the actor and installs the
//!    logger.
//! 2. The message is taken apart, without a copy, into a `Context` and a `Message`.
//! 3. The actor answers; its error becomes the WIT failure of the same name.

pub mod check;
mod failure;
pub mod keyed;
pub mod topics;

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use self::bindings::exports::lattice::actor::handler::Guest;
use self::bindings::lattice::actor::types;
use crate::cause::Cause;
use crate::context::Origin;
use crate::mesh::Mesh;
use crate::{Actor, Context, Message, actor, logging};

/// What wit-bindgen makes of the WIT package.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../proto/wit",
        world: "actor",
        pub_export_macro: true,
        export_macro_name: "__export_handler",
        default_bindings_module: "lattice_actor::__private::bindings",
        runtime_path: "::lattice_actor::__private::wit_bindgen::rt",
        // The world of keyed actors takes its types from here.
        generate_unused_types: true,
    });
}

/// The export of an actor's component.
pub struct Exported<A>(PhantomData<A>);

impl<A: Actor + Default + 'static> Guest for Exported<A> {
    async fn handle(message: types::Message) -> Result<Vec<u8>, types::Failure> {
        let actor = instance::<A>();
        let types::Message {
            id,
            operation,
            payload,
            content_type,
            caller,
            remaining_ms,
            traceparent,
            attempt,
            ..
        } = message;
        let context = Context::new(
            Mesh,
            Origin {
                message_id: id,
                caller,
                deadline: deadline(remaining_ms),
                traceparent,
                attempt,
                cause: Cause::Call,
                key: None,
            },
        );
        let message = Message { operation, content_type, payload };
        actor::answer(actor, &context, message).await.map_err(Into::into)
    }
}

/// A deadline too far to be told is as good as one in a year.
fn deadline(remaining_ms: u64) -> Instant {
    let now = Instant::now();
    now.checked_add(Duration::from_millis(remaining_ms)).unwrap_or(now + YEAR)
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The one actor of this component instance. It lives as long as the instance, so it is leaked rather than counted.
fn instance<A: Default + 'static>() -> &'static A {
    thread_local! {
        static ACTOR: Cell<Option<&'static dyn Any>> = const { Cell::new(None) };
    }
    if let Some(actor) = ACTOR.get().and_then(<dyn Any>::downcast_ref) {
        return actor;
    }
    logging::install();
    let actor: &'static A = Box::leak(Box::default());
    ACTOR.set(Some(actor));
    actor
}
