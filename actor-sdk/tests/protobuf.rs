//! Interfaces that speak Protobuf, beside operations that speak JSON.

use lattice_actor::serde_json::json;
use lattice_actor::testing::{Mesh, block_on};
use lattice_actor::{CallError, Context, Result, Turn, actor, interface, keyed};
use prost::Message;
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Message)]
struct Order {
    #[prost(string, tag = "1")]
    sku: String,
    #[prost(uint32, tag = "2")]
    quantity: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Receipt {
    #[prost(uint64, tag = "1")]
    cents: u64,
}

#[interface(protobuf)]
trait Orders {
    async fn place(order: Order) -> Result<Receipt>;
}

#[derive(Default)]
struct Till;

#[actor(implements(Orders))]
impl Till {
    async fn open(&self, _ctx: &Context) -> Result<bool> {
        Ok(true)
    }
}

impl Orders for Till {
    async fn place(&self, _ctx: &Context, order: Order) -> Result<Receipt> {
        Ok(Receipt { cents: u64::from(order.quantity) * 450 })
    }
}

#[test]
fn one_message_goes_in_and_one_comes_out() {
    let ctx = Mesh::new().actor("till", Till).context();
    let order = Order { sku: "tea".into(), quantity: 2 };
    assert_eq!(block_on(ctx.actor::<dyn Orders>("till").place(&order)), Ok(Receipt { cents: 900 }));
    assert_eq!(block_on(ctx.call("till", "open", &())), Ok(true));
}

#[test]
fn json_is_refused_by_name() {
    let ctx = Mesh::new().actor("till", Till).context();
    let error = block_on(ctx.call::<()>("till", "place", &json!({ "sku": "tea" })));
    let expected = "place: it takes application/protobuf, not application/json";
    assert_eq!(error, Err(CallError::Malformed(expected.into())));
}

#[interface(protobuf)]
trait Ledger {
    async fn enter(&mut self, order: Order) -> Result<Receipt>;
}

#[derive(Default, Serialize, Deserialize)]
struct Book {
    cents: u64,
}

#[keyed]
impl Ledger for Book {
    async fn enter(&mut self, ctx: &Turn, order: Order) -> Result<Receipt> {
        self.cents += u64::from(order.quantity) * 450;
        if order.quantity == 1 {
            let more = Order { quantity: 2, ..order };
            ctx.send(ctx.myself::<dyn Ledger>().enter(more))?;
        }
        Ok(Receipt { cents: self.cents })
    }
}

#[test]
fn what_a_keyed_actor_sends_is_protobuf_too_and_its_state_is_json() {
    let mesh = Mesh::new().keyed::<Book>("ledger");
    let ledger = mesh.context().actor::<dyn Ledger>("ledger/tea");
    let order = Order { sku: "tea".into(), quantity: 1 };
    assert_eq!(block_on(ledger.enter(order)), Ok(Receipt { cents: 450 }));
    assert_eq!(mesh.deliver(), []);
    assert_eq!(mesh.key("ledger/tea").state(), Some(json!({ "cents": 1_350 })));
}
