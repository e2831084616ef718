//! A context made up by a test.

use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::context::{Context, Origin};
use crate::testing::Mesh;

/// The turn that a test makes up. It derefs to the [`Context`] that operations take.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use lattice_actor::testing::Mesh;
///
/// let ctx = Mesh::new()
///     .context()
///     .with_self_id("storefront")
///     .with_caller("web")
///     .with_remaining(Duration::from_secs(1));
/// assert_eq!(ctx.self_id(), "storefront");
/// assert_eq!(ctx.caller(), Some("web"));
/// assert!(ctx.remaining() <= Duration::from_secs(1));
/// ```
#[derive(Debug)]
pub struct TestContext(Context);

impl TestContext {
    /// The first attempt of a message from outside, to the actor `under-test`, with half a minute left.
    pub(super) fn new(mesh: Mesh) -> Self {
        let origin = Origin {
            message_id: "test-message".into(),
            caller: None,
            deadline: Instant::now() + Duration::from_secs(30),
            traceparent: None,
            attempt: 1,
            cause: Cause::Call,
            key: None,
        };
        TestContext(Context::new(mesh, origin))
    }

    /// Sets the actor's own ID.
    #[must_use]
    pub fn with_self_id(mut self, id: impl Into<String>) -> Self {
        self.0.mesh = self.0.mesh.named(id.into());
        self
    }

    /// Sets who calls: an actor's ID, or `external` for a plain NATS client. Without it the call is one through the
    /// admin API.
    #[must_use]
    pub fn with_caller(mut self, caller: impl Into<String>) -> Self {
        self.0.origin.caller = Some(caller.into());
        self
    }

    /// Sets the topic that the message was published to.
    #[must_use]
    pub fn with_topic(mut self, topic: impl Into<String>) -> Self {
        self.0.mesh = self.0.mesh.heard_by(topic.into());
        self
    }

    /// Sets why there is a turn. Only a turn of a keyed actor has another cause than a call, and a test has those made.
    pub(super) fn with_cause(mut self, cause: Cause) -> Self {
        self.0.origin.cause = cause;
        self
    }

    /// Sets how much time is left.
    #[must_use]
    pub fn with_remaining(mut self, remaining: Duration) -> Self {
        self.0.origin.deadline = Instant::now() + remaining;
        self
    }

    /// Sets the trace context.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.0.origin.traceparent = Some(traceparent.into());
        self
    }

    /// Sets the message's ID and the attempt.
    #[must_use]
    pub fn with_message(mut self, id: impl Into<String>, attempt: u32) -> Self {
        self.0.origin.message_id = id.into();
        self.0.origin.attempt = attempt;
        self
    }
}

impl TestContext {
    pub(super) fn into_context(self) -> Context {
        self.0
    }
}

impl Deref for TestContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.0
    }
}
