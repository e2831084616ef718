// Run with `node --test`. What holds only in a lattice is tested there.

import assert from "node:assert";
import { test } from "node:test";
import { answer, CallError, Context, encode, fromFailure, metadata, operation, Rejection, toFailure } from "./lattice.js";
import { Mesh } from "./testing.js";

const actor = {
    async whatever(args) {
        return args;
    },
    hello: operation({ parameters: ["name"], idempotent: true }, async ({ name }) => `Hello, ${name}!`),
    add: operation({ parameters: ["sku", "quantity?"] }, ({ sku, quantity = 1 }) => ({ sku, quantity })),
    nothing: operation({ parameters: [] }, () => undefined),
    throws: ({ what }, ctx) => {
        if (what === "bug") return ctx.nothing.there;
        throw what === "rejection" ? new Rejection("sold-out", "no tea is left", { left: 0 }) : new CallError("overloaded", "x");
    },
    notAnOperation: 3,
};

/** What the actor answers to a payload that came over the wire. */
async function ask(name, payload, contentType = "application/json") {
    const logged = [];
    const turn = { message: { operation: name, payload: encode(payload), contentType }, log: (...line) => logged.push(line) };
    try {
        return JSON.parse(new TextDecoder().decode(await answer(actor, turn)));
    } catch (failure) {
        return { ...failure, logged };
    }
}

test("arguments are read by the rules that hold in every language", async () => {
    const table = [
        ["whatever", "", {}],
        ["whatever", "null", {}],
        ["whatever", '"bare"', "bare"],
        ["hello", '{"name": "Ada"}', "Hello, Ada!"],
        ["hello", '"Ada"', "Hello, Ada!"],
        ["hello", '{"first": "Ada"}', "Hello, [object Object]!"],
        ["add", '{"sku": "t\u00e9a \ud83c\udf75", "quantity": 2}', { sku: "t\u00e9a \ud83c\udf75", quantity: 2 }],
        ["add", '{"sku": "tea"}', { sku: "tea", quantity: 1 }],
        ["nothing", "", null],
        ["nothing", "{}", null],
    ];
    for (const [name, payload, wanted] of table) {
        assert.deepEqual(await ask(name, payload), wanted, `${name} ${payload}`);
    }
    const refused = [
        ["hello", "", "`name` is missing"],
        ["hello", "{}", "`name` is missing"],
        ["hello", "{", "hello: "],
        ["add", '{"quantity": 1}', "`sku` is missing"],
        ["add", '{"sku": "tea", "size": 1}', "no parameter `size`"],
        ["add", '"tea"', "an object with the arguments by name"],
        ["nothing", '{"a": 1}', "no parameter `a`"],
    ];
    for (const [name, payload, words] of refused) {
        const { tag, val } = await ask(name, payload);
        assert.ok(tag === "malformed" && val.includes(words), `${name} ${payload}: ${tag} ${val}`);
    }
    assert.match((await ask("hello", "x", "application/protobuf")).val, /application\/json/);
});

test("what every object has is no operation", async () => {
    for (const name of ["toString", "constructor", "__proto__", "hasOwnProperty", "notAnOperation", "absent"]) {
        assert.deepEqual(await ask(name, ""), { tag: "no-such-operation", val: name, logged: [] });
    }
});

test("errors travel as what they are, and bugs as rejections with their place in the log", async () => {
    const { tag, val } = await ask("throws", '{"what": "rejection"}');
    assert.deepEqual([tag, val], ["rejected", { code: "sold-out", message: "no tea is left", details: '{"left":0}' }]);
    assert.equal((await ask("throws", '{"what": "other"}')).tag, "overloaded");
    const bug = await ask("throws", '{"what": "bug"}');
    assert.equal(bug.val.code, "exception");
    assert.match(bug.val.message, /^TypeError/);
    assert.match(bug.logged[0][1], /lattice\.test\.js/);
});

test("every failure survives the way there and back", () => {
    const all = [
        ...["no-such-actor", "no-such-operation", "no-replica", "overloaded", "not-here", "unknown", "deadlock", "denied"],
        ...["trapped", "malformed"],
    ].map((tag) => ({ tag, val: "text" }));
    all.push({ tag: "deadline", val: "no" }, { tag: "cancelled", val: "maybe" });
    all.push({ tag: "too-large", val: { limit: 1, size: 2, ran: "yes" } });
    all.push({ tag: "rejected", val: { code: "a", message: "b", details: null } });
    all.push({ tag: "rejected", val: { code: "a", message: "b", details: '{"c":1}' } });
    for (const failure of all) assert.deepEqual(toFailure(fromFailure(failure)), failure);
    assert.equal(fromFailure({ tag: "overloaded", val: "x" }).isRetryable, true);
    assert.equal(fromFailure({ tag: "unknown", val: "x" }).ran, "maybe");
});

test("clients call by name, and a client that is awaited is no promise", async () => {
    const mesh = new Mesh({ env: { A: "1" } }).actor("shop", actor).answer("shop", "price", ({ sku }) => sku.length);
    const ctx = mesh.context();
    const shop = await ctx.actor("shop");
    assert.equal(await shop.hello({ name: "Ada" }), "Hello, Ada!");
    assert.equal(await shop.price({ sku: "tea" }), 3);
    await assert.rejects(shop.throws({ what: "rejection" }), { name: "Rejection", code: "sold-out", details: { left: 0 } });
    await assert.rejects(ctx.call("nobody", "x"), { name: "CallError", kind: "no-such-actor", ran: "no" });
    assert.deepEqual(mesh.calls[0], { to: "shop", operation: "hello", args: { name: "Ada" } });
    assert.equal(ctx.env.A, "1");
});

test("operations of objects and of classes are listed with what they say of themselves", () => {
    class Greeter {
        hello() {}
    }
    assert.deepEqual(metadata(new Greeter()).operations, [{ name: "hello", parameters: [], idempotent: false }]);
    const { operations } = metadata(actor);
    assert.deepEqual(operations.map(({ name }) => name), ["whatever", "hello", "add", "nothing", "throws"]);
    assert.deepEqual(operations[2], { name: "add", parameters: ["sku", "quantity"], idempotent: false });
    assert.equal(operations[1].idempotent, true);
});

test("the log takes whatever there is", () => {
    const lines = [];
    const loop = {};
    loop.self = loop;
    const { log } = new Context({ log: (...line) => lines.push(line) });
    log.info("a", 1, { b: [null] }, undefined, loop);
    assert.deepEqual(lines, [["info", 'a 1 {"b":[null]} undefined [object Object]']]);
});
