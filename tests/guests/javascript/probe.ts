/** What tests ask of actors in every language. It is TypeScript, so that this is tested too. */

import { CallError, operation, Rejection } from "#lattice";

interface Ask {
    to: string;
    operation: string;
}

const atTheBuild = Math.random();

export default {
    echo: operation({ parameters: ["value"] }, ({ value }: { value: unknown }) => value),
    env: operation({ parameters: [], idempotent: true }, (_: object, ctx) => ctx.env),
    self: (_: object, ctx) => ({ self: ctx.selfId, caller: ctx.caller, attempt: ctx.attempt, trace: ctx.traceparent }),
    random: () => [atTheBuild, Math.random(), crypto.getRandomValues(new Uint8Array(4))[0]],
    say: operation({ parameters: ["text"] }, async ({ text }: { text: string }, ctx) => {
        ctx.log.debug("hidden");
        ctx.log.warn(text);
        console.log("console", { text });
    }),
    bug: () => (undefined as never as { there: string }).there,
    reject: () => {
        throw new Rejection("sold-out", "no tea is left", { left: 0 });
    },
    /** How a call to another actor failed. */
    ask: async ({ to, operation }: Ask, ctx) => {
        try {
            return { reply: await ctx.call(to, operation) };
        } catch (error) {
            if (error instanceof Rejection) return { code: error.code, message: error.message, details: error.details };
            if (error instanceof CallError) return { kind: error.kind, ran: error.ran };
            throw error;
        }
    },
    /** A call whose failure nobody handles. */
    hand_on: async ({ to, operation }: Ask, ctx) => ctx.call(to, operation),
};
