//! The macros, with their documentation: here its examples can run.

/// Makes a trait the interface of an actor: a typed client for those who call it, and a trait for those who are it.
///
/// The operations are `async fn`s without `self`: what stands there is what travels. Only an operation that changes the
/// state of a keyed actor has `&mut self`, and an interface with one is for [keyed](macro@crate::keyed) actors. For a trait `Inventory` there is
/// then
/// - `ctx.actor::<dyn Inventory>(id)`, an `InventoryClient` with a method for each operation. Its arguments are cheap
///   to give: `&str` where the operation takes a `String`, a slice for a `Vec`, a value or a reference for other types.
///   Its calls are sent when they are awaited, and can be [joined](macro@crate::join).
/// - the trait itself, whose methods take `&self` and `ctx: &Context` before the parameters, or `&mut self` and
///   `ctx: &Turn`. [`#[actor]`](macro@crate::actor) or [`#[keyed]`](macro@crate::keyed) on its `impl` makes it an actor.
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

/// Makes an `impl` block the keyed actor of this crate: a struct that is its state, one for each key in the whole lattice.
///
/// On an inherent block, its `async fn`s are the actor's operations, as with [`actor`](macro@crate::actor). The receiver
/// says what an operation does:
/// - `&mut self` may change the state. It takes `ctx: &Turn`, which [sends](crate::Turn::send) and
///   [reminds](crate::Turn::remind), or `ctx: &Context`. When it ends well, the state is saved if it is not as before, and
///   its reply, sends and reminders leave after that. When it ends with an error, all is as if it had not begun.
/// - `&self` reads: it takes `ctx: &Context` and saves nothing.
///
/// The struct must be `Default`, which is the state of a key that has none yet, and `Serialize` and `DeserializeOwned`:
/// between its messages an actor may fall asleep, and wake on another node with what was saved. What serde skips is lost
/// then. A `BTreeMap` is written the same each time; a `HashMap` is not, and costs commits that change nothing.
///
/// `ctx.actor::<Cart>("cart/alice")` is a client of these operations, where the struct is known; `ctx.myself::<Self>()` is
/// one of the actor itself. Others share an [interface](macro@crate::interface), in which an operation that changes the
/// state has `&mut self` as well. `#[keyed] impl Cart for Basket` or `#[keyed(implements(Cart))]` implements it, as with
/// [`actor`](macro@crate::actor).
///
/// `#[woken] fn woken(&mut self, key: &str)` is called when the struct was made or read, and before the next message: for
/// what serde skips. It commits nothing by itself.
///
/// # Versions of the state
/// A state is saved as JSON, with a version: 1, unless `version = 2` says otherwise. `migrate = function` names a
/// `fn(from: u32, state: serde_json::Value) -> Result<serde_json::Value>`, which is asked when an actor wakes with a state
/// of another version, older or newer. Without it, or when it fails, the actor does not wake: whoever calls gets a rejection
/// (`unknown-state-version`, `unreadable-state`, or the function's own), and the state stays as it is. What was migrated is
/// saved with the next change.
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
/// use lattice_actor::serde_json::{Value, json};
/// use lattice_actor::testing::{Mesh, block_on};
/// use lattice_actor::{Context, Rejection, Result, keyed};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// pub struct Tally { counts: BTreeMap<String, u32> }
///
/// #[keyed(version = 2, migrate = from_one)]
/// impl Tally {
///     async fn add(&mut self, _ctx: &Context, what: String, count: u32) -> Result<u32> {
///         let now = self.counts.entry(what).or_default();
///         *now += count;
///         if *now > 100 {
///             // The state stays as it was.
///             return Err(Rejection::new("too-many", "no more than 100 of anything").into());
///         }
///         Ok(*now)
///     }
///
///     #[idempotent]
///     async fn count(&self, _ctx: &Context, what: String) -> Result<u32> {
///         Ok(self.counts.get(&what).copied().unwrap_or_default())
///     }
/// }
///
/// /// Version 1 knew things without a number.
/// fn from_one(_from: u32, state: Value) -> Result<Value> {
///     let things = state["things"].as_array().into_iter().flatten().filter_map(Value::as_str);
///     Ok(json!({ "counts": things.map(|thing| (thing, 1)).collect::<BTreeMap<_, _>>() }))
/// }
///
/// let mesh = Mesh::new().keyed::<Tally>("tally");
/// let ctx = mesh.context();
/// let birds = ctx.actor::<Tally>("tally/birds");
/// mesh.key("tally/birds").save(1, &json!({ "things": ["owl"] }));
/// assert_eq!(block_on(birds.add("owl", 2)), Ok(3));
/// assert!(block_on(birds.add("owl", 98)).is_err());
/// assert_eq!(block_on(birds.count("owl")), Ok(3));
/// assert_eq!(mesh.key("tally/birds").state(), Some(json!({ "counts": { "owl": 3 } })));
/// ```
pub use lattice_actor_macros::keyed;

/// Gives an error type its code: the name of the variant of an enum, or of a struct, in kebab case.
///
/// The type must also be `Display`, `Serialize` and `Deserialize`; see the [trait](trait@crate::ActorError).
pub use lattice_actor_macros::ActorError;
