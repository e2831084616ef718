//! The macros, with their documentation: here its examples can run.

/// Makes a trait the interface of an actor: a typed client for those who call it, and a trait for those who are it.
///
/// The operations are `async fn`s without `self`: what stands there is what travels. For a trait `Inventory` there is
/// then
/// - `ctx.actor::<dyn Inventory>(id)`, an `InventoryClient` with a method for each operation. Its arguments are cheap
///   to give: `&str` where the operation takes a `String`, a slice for a `Vec`, a value or a reference for other types.
///   Its calls are sent when they are awaited, and can be [joined](macro@crate::join).
/// - the trait itself, whose methods take `&self` and `ctx: &Context` before the parameters.
///   [`#[actor]`](macro@crate::actor) on its `impl` makes it an actor.
///
/// `#[idempotent]` on an operation says that running it twice does no more than running it once. The artifact carries
/// that to the routers, which then may try again when a reply was lost.
///
/// `#[interface(protobuf)]`, with the feature `protobuf`, makes every operation take one Protobuf message and give
/// one, as `prost` defines them.
///
/// # Examples
/// ```
/// use lattice_actor::testing::{Mesh, block_on};
/// use lattice_actor::{Context, Result, actor, interface};
///
/// #[interface]
/// pub trait Inventory {
///     /// Takes some away.
///     async fn reserve(sku: String, quantity: u32) -> Result<u32>;
///
///     /// How many are left.
///     #[idempotent]
///     async fn stock(sku: String) -> Result<u32>;
/// }
///
/// #[derive(Default)]
/// struct Endless;
///
/// #[actor]
/// impl Inventory for Endless {
///     async fn reserve(&self, _: &Context, _sku: String, quantity: u32) -> Result<u32> {
///         Ok(quantity)
///     }
///
///     async fn stock(&self, _: &Context, _sku: String) -> Result<u32> {
///         Ok(u32::MAX)
///     }
/// }
///
/// let ctx = Mesh::new().actor("inventory", Endless).context();
/// let inventory = ctx.actor::<dyn Inventory>("inventory");
/// assert_eq!(block_on(inventory.reserve("tea", 2)), Ok(2));
/// ```
///
/// An actor that lacks an operation does not compile:
/// ```compile_fail
/// use lattice_actor::{Context, Result, actor, interface};
///
/// #[interface]
/// pub trait Inventory {
///     async fn stock(sku: String) -> Result<u32>;
/// }
///
/// #[derive(Default)]
/// struct Empty;
///
/// #[actor]
/// impl Inventory for Empty {}
/// ```
pub use lattice_actor_macros::interface;

/// Makes an `impl` block the actor of this crate; the crate's Wasm build is then an artifact. One per crate.
///
/// On an inherent block, its `async fn`s are the actor's operations: `&self`, `ctx: &Context`, then parameters by
/// value, and a `Result<T>`. `#[idempotent]` works as in an [interface](macro@crate::interface). Helpers belong in
/// another block.
///
/// On `impl Inventory for Stock`, the actor has the operations of that interface. An actor of several interfaces, or
/// of one and operations of its own, lists those that it implements elsewhere: `#[actor(implements(Inventory))]`.
///
/// One method of an inherent block may be its check: `#[check] async fn check(&self) -> Result<()>`, with any error that
/// can be displayed. The node asks it before an instance gets its first message; see
/// [readiness](crate#readiness). It is no operation.
///
/// The struct must be `Default`: it is made when its check is asked or the first message arrives.
///
/// # Examples
/// ```
/// use lattice_actor::testing::{Mesh, block_on};
/// use lattice_actor::{Context, Rejection, Result, actor, interface};
///
/// #[interface]
/// pub trait Health {
///     #[idempotent]
///     async fn healthy() -> Result<bool>;
/// }
///
/// #[derive(Default)]
/// pub struct Divider;
///
/// #[actor(implements(Health))]
/// impl Divider {
///     #[check]
///     async fn ready(&self) -> Result<(), String> {
///         Ok(())
///     }
///
///     async fn divide(&self, _ctx: &Context, dividend: i64, divisor: i64) -> Result<i64> {
///         dividend.checked_div(divisor).ok_or_else(|| Rejection::new("no-quotient", "cannot divide by that").into())
///     }
/// }
///
/// impl Health for Divider {
///     async fn healthy(&self, _ctx: &Context) -> Result<bool> {
///         Ok(true)
///     }
/// }
///
/// let ctx = Mesh::new().actor("divider", Divider).context();
/// assert_eq!(block_on(ctx.actor::<dyn Health>("divider").healthy()), Ok(true));
/// ```
pub use lattice_actor_macros::actor;

/// Gives an error type its code: the name of the variant of an enum, or of a struct, in kebab case.
///
/// The type must also be `Display`, `Serialize` and `Deserialize`; see the [trait](trait@crate::ActorError).
pub use lattice_actor_macros::ActorError;
