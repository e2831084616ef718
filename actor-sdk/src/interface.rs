//! What ties a client to the interface it calls, and to the actor it calls.

use std::rc::Rc;
use std::time::Duration;

use crate::Operation;
use crate::mesh::Mesh;

/// The interface behind a `dyn Trait` that [`macro@crate::interface`] made; never implemented by hand.
pub trait Interface {
    /// Calls an actor that implements it.
    type Client;

    /// What such an actor can do.
    const OPERATIONS: &'static [Operation];

    /// A client of that actor.
    fn client(callee: Callee) -> Self::Client;
}

/// The actor that a client calls, and for how long at most.
#[derive(Clone, Debug)]
pub struct Callee {
    pub(crate) mesh: Mesh,
    pub(crate) id: Rc<str>,
    pub(crate) timeout: Option<Duration>,
}

impl Callee {
    /// Lets each further call last so long at most.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        Callee { timeout: Some(limit), ..self }
    }
}
