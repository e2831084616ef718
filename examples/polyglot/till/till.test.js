import assert from "node:assert";
import { test } from "node:test";
import { Mesh } from "#lattice/testing";
import till from "./till.js";

const mesh = (lines) =>
    new Mesh({ env: { COUNTRY: "SE" } })
        .actor("till", till)
        .answer("cart/ada", "lines", () => lines)
        .answer("tax", "of", ({ net_cents }) => ({ net_cents, tax_cents: 0 }));

test("a bill is the sum of what is in the cart, with the tax of the till's country", async () => {
    const shop = mesh({ tea: 2, cup: 1 });
    const bill = await shop.context().actor("till").bill({ customer: "ada" });
    assert.deepEqual(bill, { lines: { tea: 2, cup: 1 }, net_cents: 1800, tax_cents: 0 });
    assert.deepEqual(shop.calls.at(-1).args, { net_cents: 1800, country: "SE" });
});

test("nobody pays for nothing", async () => {
    const bill = mesh({}).context().actor("till").bill({ customer: "ada" });
    await assert.rejects(bill, { name: "Rejection", code: "empty-cart" });
});
