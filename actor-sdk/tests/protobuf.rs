//! Interfaces that speak Protobuf, beside operations that speak JSON.

use lattice_actor::serde_json::json;
use lattice_actor::testing::{Mesh, block_on};
use lattice_actor::{CallError, Context, Result, actor, interface};
use prost::Message;

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
