//! The front of the shop: asks its two colleagues side by side and makes an offer of what they say.
//!
//! It knows neither what there is nor what it costs.

use lattice_actor::{Context, Rejection, Result, actor, join};
use shop_interfaces::{Inventory, Pricing, Quote, Storefront};

/// The counter.
#[derive(Default)]
pub struct Counter;

#[actor]
impl Storefront for Counter {
    async fn quote(&self, ctx: &Context, sku: String, quantity: u32) -> Result<Quote> {
        let (price, left) = join!(
            ctx.actor::<dyn Pricing>("pricing").price(&sku),
            ctx.actor::<dyn Inventory>("inventory").stock(&sku),
        );
        let price_cents = price?
            .checked_mul(u64::from(quantity))
            .ok_or_else(|| Rejection::new("too-many", "the price of so many cannot be counted"))?;
        Ok(Quote { available: left? >= quantity, sku, quantity, price_cents })
    }
}

#[cfg(test)]
mod tests {
    use inventory::Shelves;
    use lattice_actor::CallError;
    use lattice_actor::testing::{Mesh, block_on};
    use pricing::PriceList;
    use shop_interfaces::PricingError;

    use super::*;

    fn shop() -> Mesh {
        Mesh::new().actor("inventory", Shelves).actor("pricing", PriceList)
    }

    #[test]
    fn a_quote_has_the_price_of_all_and_whether_they_are_there() {
        let quote = |sku: &str, quantity| block_on(Counter.quote(&shop().context(), sku.into(), quantity));
        assert_eq!(
            quote("tea", 2),
            Ok(Quote { sku: "tea".into(), quantity: 2, price_cents: 900, available: true })
        );
        assert!(quote("cup", 4).is_ok_and(|quote| !quote.available));
    }

    #[test]
    fn the_two_are_asked_side_by_side() {
        let shop = shop();
        assert!(block_on(Counter.quote(&shop.context(), "tea".into(), 1)).is_ok());
        assert_eq!(shop.most_at_once(), 2);
    }

    #[test]
    fn the_error_of_a_colleague_reaches_the_customer() {
        let ctx = shop().actor("storefront", Counter).context();
        let error = block_on(ctx.actor::<dyn Storefront>("storefront").quote("unicorn", 1))
            .expect_err("it is not sold");
        assert_eq!(error.rejected_as(), Some(PricingError::UnknownSku { sku: "unicorn".into() }));
    }

    #[test]
    fn a_colleague_who_is_away_fails_the_quote() {
        let away = CallError::NoReplica("inventory".into());
        let shop = Mesh::new().actor("pricing", PriceList).fail("inventory", "stock", away.clone());
        assert_eq!(block_on(Counter.quote(&shop.context(), "tea".into(), 1)), Err(away));
    }
}
