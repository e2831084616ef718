//! Knows what is on the shelves of the shop.
//!
//! A replicated actor keeps no state, so the shelves are a table in the program: nothing that is sold ever leaves them.

use lattice_actor::{Context, Result, actor};
use shop_interfaces::Inventory;

/// The shelves.
#[derive(Default)]
pub struct Shelves;

const SHELVES: [(&str, u32); 4] = [("tea", 40), ("coffee", 12), ("cup", 3), ("kettle", 0)];

#[actor]
impl Inventory for Shelves {
    async fn stock(&self, _ctx: &Context, sku: String) -> Result<u32> {
        Ok(SHELVES.iter().find(|(known, _)| *known == sku).map_or(0, |(_, left)| *left))
    }
}

#[cfg(test)]
mod tests {
    use lattice_actor::testing::{Mesh, block_on};

    use super::*;

    #[test]
    fn what_was_never_sold_is_out_of_stock() {
        let ctx = Mesh::new().actor("inventory", Shelves).context();
        let inventory = ctx.actor::<dyn Inventory>("inventory");
        assert_eq!(block_on(inventory.stock("tea")), Ok(40));
        assert_eq!(block_on(inventory.stock("unicorn")), Ok(0));
    }
}
