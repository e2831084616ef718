/**
 * Unit tests of actors, natively: the actors around the one under test, and a record of what they were asked. Messages pass
 * through the same encoding as in a lattice. Nodes, retries, deadlines and grants are left out.
 *
 * ```js
 * import assert from "node:assert";
 * import { test } from "node:test";
 * import { Mesh } from "#lattice/testing";
 * import till from "../src/actor.js";
 *
 * test("the total is the price of so many", async () => {
 *     const mesh = new Mesh().actor("till", till).answer("pricing", "price", ({ sku }) => 250);
 *     assert.equal(await mesh.context().actor("till").total({ sku: "tea", quantity: 2 }), 500);
 *     assert.deepEqual(mesh.calls.at(-1).args, { sku: "tea" });
 * });
 * ```
 *
 * @module
 */

import { answer, CallError, Context, toFailure } from "./lattice.js";

/** The actors that a test knows. */
export class Mesh {
    #actors = new Map();
    #env;

    /** @param {{ env?: Record<string, string> }} [options] The variables that the manifest would set. */
    constructor({ env = {} } = {}) {
        this.#env = env;
        /** All calls so far, as `{ to, operation, args }`, and what was logged, as `{ level, text }`. */
        this.calls = [];
        this.logged = [];
    }

    /** Adds an actor: the default export of its module. */
    actor(id, actor) {
        this.#actors.set(id, { ...this.#actors.get(id), actor });
        return this;
    }

    /** Answers an operation with a function of its arguments, which may throw what an actor may throw. */
    answer(id, operation, run) {
        const known = this.#actors.get(id) ?? {};
        this.#actors.set(id, { ...known, answers: { ...known.answers, [operation]: run } });
        return this;
    }

    /** A turn in this mesh, to be handed to an operation or to call actors by. */
    context(message = {}) {
        return new Context(this.#turn("under-test", message));
    }

    #turn(id, message) {
        return {
            message: { id: "test-message", caller: null, remainingMs: 30_000, traceparent: null, attempt: 1, ...message },
            call: (to, operation, payload) => this.#call(id, to, operation, payload),
            env: () => this.#env,
            log: (level, text) => this.logged.push({ level, text }),
            selfId: () => id,
        };
    }

    async #call(caller, to, operation, payload) {
        this.calls.push({ to, operation, args: JSON.parse(new TextDecoder().decode(payload)) });
        const known = this.#actors.get(to);
        if (!known) throw toFailure(new CallError("no-such-actor", to));
        const made = known.answers?.[operation];
        const actor = made ? { [operation]: made } : (known.actor ?? {});
        const message = { operation, payload, contentType: "application/json", caller };
        return answer(actor, this.#turn(to, message));
    }
}
