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
//!
//! # Keyed actors
//! [`Mesh::keyed`] adds a keyed actor by its name. Its keys wake with their first message and are asked as in a lattice,
//! by typed clients or by name. The test sees what a lattice would keep for a [`Key`], says when what was sent is delivered
//! and how time passes, and puts actors to sleep, to see them wake from their bytes. Each turn is committed when it ends.
//!
//! ```
//! use std::time::Duration;
//! use lattice_actor::serde_json::json;
//! use lattice_actor::testing::{Mesh, block_on};
//! use lattice_actor::{Context, Result, Schedule, Turn, keyed};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! pub struct Plant { watered: u32 }
//!
//! #[keyed]
//! impl Plant {
//!     async fn water(&mut self, ctx: &Turn) -> Result<u32> {
//!         self.watered += 1;
//!         ctx.remind("thirst", Schedule::after(Duration::from_secs(3600)), ctx.myself::<Self>().complain())?;
//!         Ok(self.watered)
//!     }
//!
//!     async fn complain(&mut self, ctx: &Turn) -> Result<()> {
//!         ctx.send(ctx.call::<()>("gardener", "come", &json!({ "to": ctx.key() })))
//!     }
//! }
//!
//! let mesh = Mesh::new().keyed::<Plant>("plant").answer("gardener", "come", |_| Ok(()));
//! let ctx = mesh.context();
//! let (plant, fern) = (ctx.actor::<Plant>("plant/fern"), mesh.key("plant/fern"));
//! assert_eq!(block_on(plant.water()), Ok(1));
//! assert_eq!(fern.state(), Some(json!({ "watered": 1 })));
//! assert_eq!(fern.reminders()[0].due, mesh.now() + Duration::from_secs(3600));
//!
//! // Time passes, the reminder comes, and what it sends is delivered.
//! assert_eq!(mesh.advance(Duration::from_secs(3600)), []);
//! assert_eq!(mesh.sent()[0].arguments, json!({ "to": "fern" }));
//! assert_eq!(mesh.deliver(), []);
//!
//! // It goes on with what was saved.
//! fern.restart();
//! assert_eq!(block_on(plant.water()), Ok(2));
//! ```

mod context;
mod due;
mod key;
mod keys;
pub(crate) mod mesh;

pub use futures::executor::block_on;

pub use self::context::TestContext;
pub use self::key::{Key, Reminder, Sent};
pub use self::mesh::{Mesh, Published, Recorded};
