//! A shopping cart for each customer: it asks the inventory before it takes something, and is emptied when it is forgotten.
//!
//! It reserves nothing: the shelves of this shop are a table, and what is in a cart is still on them.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_actor::{Context, Result, Schedule, Turn, keyed};
use serde::{Deserialize, Serialize};
use shop_interfaces::{Cart, CartError, Inventory};

/// What is in the cart.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Basket {
    lines: BTreeMap<String, u32>,
}

/// A cart that nobody touched for so long is emptied.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

/// The id of the reminder to do that. There is one, so each touch puts it off.
const EXPIRY: &str = "expire";

#[keyed(implements(Cart))]
impl Basket {
    /// Empties a cart that was forgotten. For its own reminder, though anyone may.
    #[idempotent]
    async fn expire(&mut self, _ctx: &Context) -> Result<()> {
        self.lines.clear();
        Ok(())
    }
}

impl Cart for Basket {
    async fn add(&mut self, ctx: &Turn, sku: String, quantity: u32) -> Result<u32> {
        let wanted = self.lines.get(&sku).copied().unwrap_or_default().saturating_add(quantity);
        let left = ctx.actor::<dyn Inventory>("inventory").stock(&sku).await?;
        if wanted > left {
            return Err(CartError::OutOfStock { sku, left }.into());
        }
        ctx.remind(EXPIRY, Schedule::after(FORGOTTEN), ctx.myself::<Self>().expire())?;
        self.lines.insert(sku, wanted);
        Ok(wanted)
    }

    async fn lines(&self, _ctx: &Context) -> Result<BTreeMap<String, u32>> {
        Ok(self.lines.clone())
    }

    async fn clear(&mut self, ctx: &Turn) -> Result<()> {
        self.lines.clear();
        ctx.cancel_reminder(EXPIRY);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use inventory::Shelves;
    use lattice_actor::serde_json::json;
    use lattice_actor::testing::{Mesh, block_on};

    use super::*;

    fn shop() -> Mesh {
        Mesh::new().keyed::<Basket>("cart").actor("inventory", Shelves)
    }

    fn lines(lines: &[(&str, u32)]) -> Result<BTreeMap<String, u32>> {
        Ok(lines.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity)).collect())
    }

    #[test]
    fn every_customer_has_a_cart_of_their_own_and_it_lasts() {
        let shop = shop();
        let ctx = shop.context();
        let (alice, bob) = (ctx.actor::<dyn Cart>("cart/alice"), ctx.actor::<dyn Cart>("cart/bob"));
        assert_eq!(block_on(alice.add("tea", 2)), Ok(2));
        assert_eq!(block_on(alice.add("tea", 1)), Ok(3));
        assert_eq!(block_on(bob.add("cup", 1)), Ok(1));
        shop.key("cart/alice").restart();
        assert_eq!(block_on(alice.lines()), lines(&[("tea", 3)]));
        assert_eq!(shop.key("cart/alice").state(), Some(json!({ "lines": { "tea": 3 } })));
    }

    #[test]
    fn no_more_goes_in_than_there_is() {
        let shop = shop();
        let ctx = shop.context();
        let alice = ctx.actor::<dyn Cart>("cart/alice");
        assert_eq!(block_on(alice.add("cup", 2)), Ok(2));
        let error = block_on(alice.add("cup", 2)).expect_err("there are three");
        assert_eq!(error.rejected_as(), Some(CartError::OutOfStock { sku: "cup".into(), left: 3 }));
        assert_eq!(block_on(alice.lines()), lines(&[("cup", 2)]));
    }

    #[test]
    fn a_cart_is_emptied_a_day_after_it_was_last_touched() {
        let shop = shop();
        let ctx = shop.context();
        let alice = ctx.actor::<dyn Cart>("cart/alice");
        assert_eq!(block_on(alice.add("tea", 1)), Ok(1));
        assert_eq!(shop.advance(FORGOTTEN / 2), []);
        assert_eq!(block_on(alice.add("tea", 1)), Ok(2));
        assert_eq!(shop.advance(FORGOTTEN / 2), []);
        assert_eq!(block_on(alice.lines()), lines(&[("tea", 2)]));
        assert_eq!(shop.advance(FORGOTTEN / 2), []);
        assert_eq!(block_on(alice.lines()), lines(&[]));
    }

    #[test]
    fn a_cart_that_was_cleared_has_nothing_to_expire() {
        let shop = shop();
        let ctx = shop.context();
        let alice = ctx.actor::<dyn Cart>("cart/alice");
        assert_eq!(block_on(alice.add("tea", 1)), Ok(1));
        assert_eq!(block_on(alice.clear()), Ok(()));
        assert_eq!(block_on(alice.lines()), lines(&[]));
        assert_eq!(shop.key("cart/alice").reminders(), []);
    }
}
