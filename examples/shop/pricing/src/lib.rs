//! Knows what the things in the shop cost.
//!
//! The prices are a table in the program: a replicated actor keeps no state.

use lattice_actor::{Context, Result, actor};
use shop_interfaces::{Pricing, PricingError};

/// The price list.
#[derive(Default)]
pub struct PriceList;

const CENTS: [(&str, u64); 4] = [("tea", 450), ("coffee", 890), ("cup", 1_200), ("kettle", 3_990)];

#[actor]
impl Pricing for PriceList {
    async fn price(&self, _ctx: &Context, sku: String) -> Result<u64> {
        match CENTS.iter().find(|(known, _)| *known == sku) {
            Some((_, cents)) => Ok(*cents),
            None => Err(PricingError::UnknownSku { sku }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lattice_actor::testing::{Mesh, block_on};

    use super::*;

    #[test]
    fn callers_can_match_on_why_there_is_no_price() {
        let ctx = Mesh::new().actor("pricing", PriceList).context();
        let pricing = ctx.actor::<dyn Pricing>("pricing");
        assert_eq!(block_on(pricing.price("tea")), Ok(450));
        let error = block_on(pricing.price("unicorn")).expect_err("it is not sold");
        assert_eq!(error.rejected_as(), Some(PricingError::UnknownSku { sku: "unicorn".into() }));
    }
}
