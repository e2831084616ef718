//! Typed clients and actors of one interface, joined by the test kit's mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_actor::serde_json::{Value, json};
use lattice_actor::testing::{Mesh, block_on};
use lattice_actor::{
    Actor, ActorError, CallError, Context, Interface, Operation, Ran, Rejection, Result, actor, interface,
    join_all,
};
use serde::{Deserialize, Serialize};

#[interface]
trait Everything {
    async fn nothing() -> Result<()>;
    #[idempotent]
    async fn lengths(text: String, list: Vec<u8>) -> Result<(usize, usize)>;
    async fn pass(shape: Shape) -> Result<Shape>;
    async fn maybe(number: Option<u32>) -> Result<Option<u32>>;
    async fn map(map: BTreeMap<String, u32>) -> Result<BTreeMap<String, u32>>;
    async fn fail(how: String) -> Result<u32>;
    async fn r#type() -> Result<String>;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    sides: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, ActorError)]
enum Trouble {
    TooFew { least: u32 },
    Odd(u32),
    Closed,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "trouble: {self:?}")
    }
}

#[derive(Default)]
struct Whole;

#[actor(implements(Everything))]
impl Whole {
    /// An operation of its own, with an error type of its own.
    #[idempotent]
    async fn even(&self, _ctx: &Context, number: u32, _unused: Option<bool>) -> Result<u32, Trouble> {
        if number.is_multiple_of(2) { Ok(number) } else { Err(Trouble::Odd(number)) }
    }
}

impl Everything for Whole {
    async fn nothing(&self, _: &Context) -> Result<()> {
        Ok(())
    }

    async fn lengths(&self, _: &Context, text: String, list: Vec<u8>) -> Result<(usize, usize)> {
        Ok((text.len(), list.len()))
    }

    async fn pass(&self, _: &Context, shape: Shape) -> Result<Shape> {
        Ok(shape)
    }

    async fn maybe(&self, _: &Context, number: Option<u32>) -> Result<Option<u32>> {
        Ok(number)
    }

    async fn map(&self, _: &Context, map: BTreeMap<String, u32>) -> Result<BTreeMap<String, u32>> {
        Ok(map)
    }

    async fn fail(&self, ctx: &Context, how: String) -> Result<u32> {
        match how.as_str() {
            "few" => Err(Trouble::TooFew { least: 3 })?,
            "closed" => Err(Trouble::Closed)?,
            "plain" => Err(Rejection::new("plain", "as it is"))?,
            "downstream" => ctx.actor::<dyn Everything>("nowhere").fail("").await,
            _ => Ok(0),
        }
    }

    async fn r#type(&self, ctx: &Context) -> Result<String> {
        Ok(format!("{} for {:?}", ctx.self_id(), ctx.caller()))
    }
}

fn whole() -> Mesh {
    Mesh::new().actor("whole", Whole)
}

#[test]
fn clients_take_what_is_cheap_to_give() {
    let ctx = whole().context();
    let client = ctx.actor::<dyn Everything>("whole");
    let (text, list, shape) = ("abc".to_owned(), vec![1, 2], Shape { sides: 4 });
    assert_eq!(block_on(client.nothing()), Ok(()));
    assert_eq!(block_on(client.lengths(&text, &list)), Ok((3, 2)));
    assert_eq!(block_on(client.lengths("abc", [1])), Ok((3, 1)));
    assert_eq!(block_on(client.lengths(text, &[1, 2, 3][..])), Ok((3, 3)));
    assert_eq!(block_on(client.pass(&shape)), Ok(shape.clone()));
    assert_eq!(block_on(client.pass(shape.clone())), Ok(shape));
    assert_eq!(block_on(client.maybe(Some(1))), Ok(Some(1)));
    assert_eq!(block_on(client.maybe(None)), Ok(None));
    let map = BTreeMap::from([("map".to_owned(), 1)]);
    assert_eq!(block_on(client.map(&map)), Ok(map));
}

#[test]
fn callers_match_on_the_errors_of_the_callee() {
    let ctx = whole().context();
    let client = ctx.actor::<dyn Everything>("whole");
    let failed = |how: &str| block_on(client.fail(how)).expect_err("it fails");
    assert_eq!(failed("few").rejected_as(), Some(Trouble::TooFew { least: 3 }));
    assert_eq!(failed("closed").rejected_as(), Some(Trouble::Closed));
    assert_eq!(failed("plain").rejected_as::<Trouble>(), None);
    assert!(matches!(failed("few"), CallError::Rejected(rejection) if rejection.code == "too-few"));

    let odd: CallError =
        block_on(ctx.call::<u32>("whole", "even", &json!({ "number": 3 }))).expect_err("it fails");
    assert_eq!(odd.rejected_as(), Some(Trouble::Odd(3)));
}

#[test]
fn a_failure_further_down_says_that_the_operation_ran() {
    let ctx = whole().context();
    let error = block_on(ctx.actor::<dyn Everything>("whole").fail("downstream")).expect_err("it fails");
    assert_eq!(error.ran(), Ran::Yes);
    let CallError::Rejected(rejection) = error else { panic!("it was to be a rejection") };
    assert_eq!(rejection.code, "no-such-actor");
    assert_eq!(rejection.details_as::<Value>(), Some(json!({ "ran": "no" })));
}

#[test]
fn what_an_actor_does_not_have_is_no_operation() {
    let ctx = whole().context();
    let error = block_on(ctx.call::<()>("whole", "fly", &Value::Null));
    assert_eq!(error, Err(CallError::NoSuchOperation("fly".into())));
    let error = block_on(ctx.call::<()>("nobody", "fly", &Value::Null));
    assert_eq!(error, Err(CallError::NoSuchActor("nobody".into())));
}

#[test]
fn an_actor_tells_its_operations() {
    let [own, interface] = Whole::OPERATIONS else { panic!("one group for each block") };
    let even = Operation { name: "even", parameters: &["number", "unused"], idempotent: true, read: true };
    assert_eq!(*own, [even]);
    assert_eq!(*interface, <dyn Everything as Interface>::OPERATIONS);
    assert_eq!(
        interface[1],
        Operation { name: "lengths", parameters: &["text", "list"], idempotent: true, read: true }
    );
    assert_eq!(interface[6].name, "type");
}

#[test]
fn the_mesh_records_calls_and_who_makes_them() {
    let mesh = whole();
    let ctx = mesh.context().with_self_id("asker");
    let client = ctx.actor::<dyn Everything>("whole").timeout(Duration::from_millis(5));
    assert_eq!(block_on(client.r#type()).as_deref(), Ok(r#"whole for Some("asker")"#));
    let shape = Shape { sides: 3 };
    let call = client.pass(&shape).timeout(Duration::from_millis(7));
    assert_eq!(block_on(call), Ok(shape));
    let calls = mesh.calls();
    assert_eq!((calls[0].operation.as_str(), calls[0].timeout), ("type", Some(Duration::from_millis(5))));
    assert_eq!(calls[1].arguments, json!({ "shape": { "sides": 3 } }));
    assert_eq!(calls[1].timeout, Some(Duration::from_millis(7)));
}

#[test]
fn a_call_is_sent_when_it_is_awaited() {
    let mesh = whole();
    let ctx = mesh.context();
    let client = ctx.actor::<dyn Everything>("whole");
    let calls: Vec<_> = (0..3).map(|_| client.nothing()).collect();
    assert!(mesh.calls().is_empty());
    assert_eq!(block_on(join_all(calls)), [Ok(()), Ok(()), Ok(())]);
    assert_eq!(mesh.most_at_once(), 3);
}

#[test]
fn a_reply_of_another_type_says_that_the_callee_may_have_run() {
    let ctx = Mesh::new().answer("whole", "pass", |_| Ok("no shape")).context();
    let error =
        block_on(ctx.actor::<dyn Everything>("whole").pass(Shape { sides: 3 })).expect_err("it fails");
    assert_eq!(error.ran(), Ran::Maybe);
}
