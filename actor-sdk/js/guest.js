/**
 * Joins an actor to the lattice: the exports of the WIT world in `guest.wit`. Only `lattice build` uses it.
 *
 * All of this is run once when the actor is built, and its memory is what every instance begins with. So nothing here may
 * ask the lattice for anything before the first turn, and nothing random may be left over from the build.
 *
 * @module
 */

import log from "lattice:actor/log@0.1.0";
import mesh from "lattice:actor/blocking-mesh@0.1.0";
import environment from "wasi:cli/environment@0.2.0";
import random from "wasi:random/random@0.2.0";
import { answer, LEVELS, logger } from "./lattice.js";

/** The variables of the manifest, once there are any. */
let env;
/** The least level that is written, as a place in LEVELS. */
let least;

function write(level, text) {
    if (env !== undefined && LEVELS.indexOf(level) >= least) log.log(level, "actor", text);
}

const { trace, debug, info, warn, error } = logger(write);
globalThis.console = { trace, debug, log: info, info, warn, error };

// The engine's own generator was seeded at the build: all replicas would have the same numbers.
Math.random = () => {
    const [a, b, c, d, e, f] = random.getRandomBytes(6);
    return ((((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256) + f) / 2 ** 48;
};
globalThis.crypto = {
    getRandomValues(array) {
        const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
        bytes.set(random.getRandomBytes(bytes.length));
        return array;
    },
};

function wake() {
    env = Object.freeze(Object.fromEntries(environment.getEnvironment()));
    const wanted = env.LATTICE_LOG ?? "info";
    const known = LEVELS.indexOf(wanted);
    least = wanted === "off" ? LEVELS.length : known < 0 ? LEVELS.indexOf("info") : known;
}

/** The export `handler` of an actor. */
export function serve(actor) {
    return {
        async handle(message) {
            if (env === undefined) wake();
            return answer(actor, { message, call, env: () => env, log: write, selfId: () => mesh.selfId() });
        },
    };
}

function call(to, operation, payload, timeoutMs) {
    try {
        const options = { contentType: "application/json", timeoutMs: timeoutMs ?? null };
        return mesh.call(to, operation, payload, options);
    } catch (thrown) {
        throw thrown.payload ?? thrown;
    }
}
