/** Where customers pay: it keeps their things in the carts of the shop, which are Rust, has Python know the tax, and Go write the receipt. */

import { operation, Rejection } from "#lattice";

const PRICES_CENTS = { tea: 450, coffee: 700, cup: 900, kettle: 3900 };

async function bill({ customer, country = undefined }, ctx) {
    const lines = await ctx.actor(`cart/${customer}`).lines();
    if (Object.keys(lines).length === 0) {
        throw new Rejection("empty-cart", `there is nothing in the cart of ${customer}`);
    }
    const priced = Object.entries(lines).map(([sku, quantity]) => PRICES_CENTS[sku] * quantity);
    const net_cents = priced.reduce((sum, cents) => sum + cents, 0);
    const tax = await ctx.actor("tax").of({ net_cents, country: country ?? ctx.env.COUNTRY });
    return { lines, ...tax };
}

export default {
    /** Puts something into a customer's cart, and tells what is in it now. */
    put: operation({ parameters: ["customer", "sku", "quantity"] }, async ({ customer, sku, quantity }, ctx) => {
        const cart = ctx.actor(`cart/${customer}`);
        await cart.add({ sku, quantity });
        return cart.lines();
    }),

    /** What a customer has to pay. */
    bill: operation({ parameters: ["customer", "country?"], idempotent: true }, bill),

    /** The same as something to take home. */
    receipt: operation({ parameters: ["customer"], idempotent: true }, async (args, ctx) => {
        ctx.log.info("a receipt for", args.customer);
        return ctx.actor("receipt").write(await bill(args, ctx));
    }),
};
