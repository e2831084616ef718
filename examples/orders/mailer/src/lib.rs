//! Hears of orders, and tells whoever made them; here by a line in its log. Nobody calls it: its manifest subscribes to `orders.>`.

use lattice_actor::{Context, Result, actor, log};
use serde::Deserialize;

/// The mailer.
#[derive(Default)]
pub struct Mailer;

/// What it has to know of an order. What else is in it is none of its concern.
#[derive(Debug, Deserialize)]
pub struct Order {
    sku: String,
    amount: u32,
    cents: u64,
}

impl Order {
    fn text(&self) -> String {
        let Order { sku, amount, cents } = self;
        format!("{amount} of {sku} for {}.{:02} were ordered", cents / 100, cents % 100)
    }
}

#[actor]
impl Mailer {
    /// A message of a topic that it subscribes to. It may come again, with the same `ctx.message_id()`.
    async fn on_message(&self, _ctx: &Context, order: Order) -> Result<()> {
        log::info!("{}", order.text());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lattice_actor::serde_json::{self, json};

    use super::*;

    #[test]
    fn an_order_is_a_sentence_whatever_else_it_says() {
        let order = json!({ "id": "x", "sku": "tea", "amount": 3, "cents": 1_305, "gift": true });
        let order: Order = serde_json::from_value(order).expect("it is an order");
        assert_eq!(order.text(), "3 of tea for 13.05 were ordered");
    }
}
