//! Unit tests of actors, natively: a mesh of closures and real actors, and a context that says what the test wants.
//!
//! Messages pass through the same encoding as in a lattice. Nodes, retries, deadlines and grants are left out: a
//! call reaches its actor, or there is none of that ID. Everything runs on the test's own thread.
//!
//! ```
//! use lattice_actor::serde_json::json;
//! use lattice_actor::testing::{Mesh, block_on};
//! use lattice_actor::{CallError, Context, Result, actor, interface};
//!
//! #[interface]
//! pub trait Pricing {
//!     async fn price(sku: String) -> Result<u64>;
//! }
//!
//! #[derive(Default)]
//! pub struct Till;
//!
//! #[actor]
//! impl Till {
//!     async fn total(&self, ctx: &Context, sku: String, quantity: u64) -> Result<u64> {
//!         Ok(ctx.actor::<dyn Pricing>("pricing").price(&sku).await? * quantity)
//!     }
//! }
//!
//! // Another actor answered by a closure.
//! let mesh = Mesh::new().answer("pricing", "price", |_| Ok(250));
//! assert_eq!(block_on(Till.total(&mesh.context(), "tea".into(), 2)), Ok(500));
//! assert_eq!(mesh.calls()[0].arguments["sku"], "tea");
//!
//! // A failure.
//! let mesh = Mesh::new().fail("pricing", "price", CallError::NoReplica("pricing".into()));
//! assert!(block_on(Till.total(&mesh.context(), "tea".into(), 2)).is_err());
//!
//! // The actor itself as part of the mesh, called as anyone calls it.
//! let mesh = Mesh::new().actor("till", Till).answer("pricing", "price", |_| Ok(250));
//! let reply = block_on(mesh.context().call("till", "total", &json!({ "sku": "tea", "quantity": 2 })));
//! assert_eq!(reply, Ok(500));
//! ```

mod context;
pub(crate) mod mesh;

pub use futures::executor::block_on;

pub use self::context::TestContext;
pub use self::mesh::{Mesh, Recorded};
