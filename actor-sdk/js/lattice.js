/**
 * What an actor in JavaScript is written with.
 *
 * An actor is a module whose default export is an object of operations. Each is given its arguments, as one object by
 * parameter name, and the context of its turn; it may be `async`, and what it returns is the reply.
 *
 * ```js
 * import { Rejection } from "#lattice";
 *
 * export default {
 *     async reserve({ sku, quantity }, ctx) {
 *         const left = await ctx.actor("inventory").stock({ sku });
 *         if (left < quantity) throw new Rejection("out-of-stock", `only ${left} of ${sku} are left`);
 *         return left - quantity;
 *     },
 * };
 * ```
 *
 * A replica may cache in variables of the module but must not remember there: the next message may go to another one.
 *
 * This file knows nothing of WebAssembly: `guest.js` joins it to the lattice, and `testing.js` to tests.
 *
 * @module
 */

/** An actor's own error. Its callers match the code. */
export class Rejection extends Error {
    /**
     * @param {string} code A stable word, such as `out-of-stock`.
     * @param {string} message One sentence for people.
     * @param {unknown} [details] More for programs; it travels as JSON.
     */
    constructor(code, message, details) {
        super(message);
        this.name = "Rejection";
        this.code = code;
        this.details = details;
    }
}

/** Whether the message of a failure was handled, where its kind alone says so. */
const RAN = {
    "no-such-actor": "no",
    "no-such-operation": "no",
    "no-replica": "no",
    "overloaded": "no",
    "not-here": "no",
    "deadline": "maybe",
    "unknown": "maybe",
    "deadlock": "no",
    "denied": "no",
    "trapped": "yes",
    "cancelled": "maybe",
    "too-large": "no",
    "malformed": "no",
};

/** Why a call got no reply, other than by an error of the actor's own, which is a {@link Rejection}. */
export class CallError extends Error {
    /**
     * @param {keyof typeof RAN} kind The stable word of this kind of failure, the one that `lattice` prints.
     * @param {string} [text] What it speaks of.
     * @param {"no" | "maybe" | "yes"} [ran] Whether the message was handled.
     * @param {{ limit: number, size: number }} [bytes] Of a payload that is too large.
     */
    constructor(kind, text = "", ran = RAN[kind], bytes = undefined) {
        super(text === "" ? kind : `${kind}: ${text}`);
        this.name = "CallError";
        this.kind = kind;
        this.text = text;
        this.ran = ran;
        this.bytes = bytes;
    }

    /** Whether the same call is safe and may do better a moment later: it surely did not run, and the reason passes. */
    get isRetryable() {
        return ["no-replica", "overloaded", "not-here"].includes(this.kind);
    }
}

/**
 * Says more of an operation than its code does.
 *
 * ```js
 * export default {
 *     price: operation({ parameters: ["sku", "currency?"], idempotent: true }, async ({ sku, currency }) => …),
 * };
 * ```
 *
 * @template {(args: any, ctx: Context) => unknown} F
 * @param {object} options
 * @param {string[]} [options.parameters] The names of the arguments; `?` after one that may be missing. With them,
 *     calls with other arguments are refused before the operation runs, and where there is only one, callers may give
 *     its bare value. Without them, the operation is given whatever was sent.
 * @param {boolean} [options.idempotent] Whether running it twice does no more than running it once, so that the
 *     lattice may try again when no reply came.
 * @param {F} run
 * @returns {F}
 */
export function operation({ parameters, idempotent = false }, run) {
    const wrapped = (args, ctx) => run(args, ctx);
    return Object.assign(wrapped, { parameters, idempotent });
}

/** One turn: the message that is handled, and what the actor may do meanwhile. */
export class Context {
    #turn;

    /** Made by the lattice, and by `testing.js`. */
    constructor(turn) {
        this.#turn = turn;
        /** Writes to the actor's log, where the manifest grants it. */
        this.log = logger((level, text) => turn.log(level, text));
    }

    /**
     * Calls another actor, within what is left of this turn's deadline.
     *
     * Calls of one replica go out one after the other: the turn stands still until a call is answered.
     *
     * @param {string} to Its ID: `inventory`, or `cart/alice` for a key.
     * @param {string} operation
     * @param {object} [args] The arguments by name.
     * @param {{ timeoutMs?: number }} [options]
     * @returns {Promise<any>} The reply.
     * @throws {Rejection} The actor's own error.
     * @throws {CallError} Any other failure.
     */
    async call(to, operation, args = {}, { timeoutMs } = {}) {
        try {
            return parse(await this.#turn.call(to, operation, encode(JSON.stringify(args)), timeoutMs));
        } catch (failure) {
            throw failure instanceof Error ? failure : fromFailure(failure);
        }
    }

    /**
     * A client of another actor, with a method for each operation: `ctx.actor("cart/alice").add({ sku, quantity })`.
     *
     * @param {string} id
     * @param {{ timeoutMs?: number }} [options]
     * @returns {Record<string, (args?: object) => Promise<any>>}
     */
    actor(id, options) {
        const method = (_, name) => {
            // A client that somebody awaits is no promise.
            if (typeof name !== "string" || name === "then") return undefined;
            return (args) => this.call(id, name, args, options);
        };
        return new Proxy(Object.freeze({}), { get: method });
    }

    /** This actor's own ID. */
    get selfId() {
        return this.#turn.selfId();
    }

    /** The ID of the calling actor; `external` for a client from outside, null for the admin API. */
    get caller() {
        return this.#turn.message.caller ?? null;
    }

    /** The message's ID: the same over retries of one call. */
    get messageId() {
        return this.#turn.message.id;
    }

    /** 1 on the first try. */
    get attempt() {
        return this.#turn.message.attempt;
    }

    /** The W3C trace context of this turn, or null. */
    get traceparent() {
        return this.#turn.message.traceparent ?? null;
    }

    /** What was left of the deadline when the turn began, in milliseconds. */
    get remainingMs() {
        return this.#turn.message.remainingMs;
    }

    /** The variables that the manifest sets under `env`. */
    get env() {
        return this.#turn.env();
    }
}

export const LEVELS = ["trace", "debug", "info", "warn", "error"];

/** Functions for each level, of whatever is to be written. */
export function logger(write) {
    const text = (part) => {
        if (typeof part === "string") return part;
        if (part instanceof Error) return describe(part);
        try {
            return JSON.stringify(part) ?? String(part);
        } catch {
            // It refers to itself.
            return String(part);
        }
    };
    const at = (level) => (...parts) => write(level, parts.map(text).join(" "));
    return Object.fromEntries(LEVELS.map((level) => [level, at(level)]));
}

/** An error with the place it came from. Some engines begin the place with the message, others do not. */
function describe(error) {
    const stack = error.stack ?? "";
    return stack.includes(error.message) ? stack.trimEnd() : `${error}\n${stack}`.trimEnd();
}

/** What the actor says of itself, for the lattice: its operations. */
export function metadata(actor) {
    const names = new Set();
    for (let level = actor; level && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
        Object.getOwnPropertyNames(level).forEach((name) => names.add(name));
    }
    // Only what a message can name.
    const callable = [...names].filter((name) => /^[\w-]{1,128}$/.test(name) && find(actor, name));
    const operations = callable.map((name) => {
        const { parameters = [], idempotent = false } = actor[name];
        return { name, parameters: parameters.map((parameter) => parameter.replace(/\?$/, "")), idempotent };
    });
    return { operations };
}

/** An operation by its name. What every object has is none. */
function find(actor, name) {
    const found = name in Object.prototype ? undefined : actor[name];
    return typeof found === "function" ? found : undefined;
}

/**
 * Has the actor handle one message.
 *
 * @returns {Promise<Uint8Array>} The reply.
 * @throws A failure, as WIT has it.
 */
export async function answer(actor, turn) {
    const { message } = turn;
    const ctx = new Context(turn);
    try {
        const run = find(actor, message.operation);
        if (!run) throw new CallError("no-such-operation", message.operation);
        const reply = await run.call(actor, read(run.parameters, message), ctx);
        return encode(JSON.stringify(reply) ?? "null");
    } catch (error) {
        if (!(error instanceof Rejection || error instanceof CallError)) {
            // The caller learns what happened, and the log where.
            ctx.log.error(`operation \`${message.operation}\` threw`, error);
        }
        throw toFailure(error);
    }
}

/** The arguments of a message; those that are missing are said with their names. */
function read(parameters, { operation, payload, contentType }) {
    const malformed = (problem) => new CallError("malformed", `${operation}: ${problem}`);
    if (contentType !== "" && contentType !== "application/json") {
        throw malformed(`it takes application/json, not ${contentType}`);
    }
    let value;
    try {
        value = parse(payload);
    } catch (error) {
        throw malformed(error.message);
    }
    if (parameters === undefined) return value ?? {};
    const names = parameters.map((parameter) => parameter.replace(/\?$/, ""));
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    const fields = isObject ? Object.keys(value) : [];
    if (names.length === 1 && value !== null) {
        // An object whose only field is the parameter, or none, is the arguments; anything else is the bare value.
        const isNamed = isObject && (fields.length === 0 || (fields.length === 1 && fields[0] === names[0]));
        if (!isNamed) return { [names[0]]: value };
    }
    const args = value ?? {};
    if (!isObject && value !== null) throw malformed("it takes an object with the arguments by name");
    const unknown = fields.find((field) => !names.includes(field));
    if (unknown !== undefined) throw malformed(`it has no parameter \`${unknown}\``);
    const missing = parameters.find((parameter) => !parameter.endsWith("?") && !Object.hasOwn(args, parameter));
    if (missing !== undefined) throw malformed(`argument \`${missing}\` is missing`);
    return args;
}

/** A WIT failure as what is thrown at the caller. */
export function fromFailure({ tag, val }) {
    switch (tag) {
        case "rejected": {
            let { details } = val;
            try {
                details = details == null ? undefined : JSON.parse(details);
            } catch {
                // It is JSON by contract only; then it stays text.
            }
            return new Rejection(val.code, val.message, details);
        }
        case "deadline":
        case "cancelled":
            return new CallError(tag, "", val);
        case "too-large": {
            const text = `a payload of ${val.size} bytes is over the limit of ${val.limit} bytes`;
            return new CallError(tag, text, val.ran, { limit: val.limit, size: val.size });
        }
        default:
            return new CallError(tag, val);
    }
}

/** What was thrown as a WIT failure. */
export function toFailure(error) {
    if (error instanceof Rejection) {
        return rejected(String(error.code), error.message, written(error.details));
    }
    if (!(error instanceof CallError)) return rejected("exception", String(error));
    const { kind, text, ran, bytes } = error;
    switch (kind) {
        case "deadline":
        case "cancelled":
            return { tag: kind, val: ran };
        case "too-large":
            return { tag: kind, val: { limit: 0, size: 0, ...bytes, ran } };
        default:
            return kind in RAN ? { tag: kind, val: text } : rejected(String(kind), text);
    }
}

/** Details as JSON. What cannot be written is left out: the rejection itself matters more. */
function written(details) {
    try {
        return JSON.stringify(details);
    } catch {
        return undefined;
    }
}

function rejected(code, message, details) {
    return { tag: "rejected", val: { code, message, details: details ?? null } };
}

// The engine has no TextEncoder and no TextDecoder. These functions, which it has, are UTF-8 by way of percent signs.

/** Text as UTF-8. */
export function encode(text) {
    const binary = unescape(encodeURIComponent(text));
    return Uint8Array.from(binary, (byte) => byte.charCodeAt(0));
}

/** UTF-8 as JSON; nothing at all is null. */
function parse(bytes) {
    let binary = "";
    // A function takes so many arguments at once and not many more.
    for (let at = 0; at < bytes.length; at += 8192) {
        binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
    }
    const text = decodeURIComponent(escape(binary)).trim();
    return text === "" ? null : JSON.parse(text);
}
