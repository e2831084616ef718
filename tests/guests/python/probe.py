"""What tests ask of actors in every language."""

import os
import random as numbers
from typing import Any

import lattice
from lattice import CallError, Context, Rejection, log

actor = lattice.Actor()

AT_THE_BUILD = numbers.random()


@actor.operation
def echo(ctx: Context, value: Any) -> Any:
    return value


@actor.operation(idempotent=True)
def env(ctx: Context) -> dict:
    return dict(ctx.env)


@actor.operation(name="self")
def own(ctx: Context) -> dict:
    return {"self": ctx.self_id, "caller": ctx.caller, "attempt": ctx.attempt, "trace": ctx.traceparent}


@actor.operation
def random(ctx: Context) -> list:
    return [AT_THE_BUILD, numbers.random(), os.urandom(1)[0]]


@actor.operation
def say(ctx: Context, text: str) -> None:
    log.debug("hidden")
    log.warning(text)
    print("console", text)


@actor.operation
def bug(ctx: Context) -> None:
    return ctx.nothing.there


@actor.operation
def reject(ctx: Context) -> None:
    raise Rejection("sold-out", "no tea is left", {"left": 0})


@actor.operation
def ask(ctx: Context, to: str, operation: str) -> dict:
    """How a call to another actor failed."""
    try:
        return {"reply": ctx.call(to, operation)}
    except Rejection as error:
        return {"code": error.code, "message": error.message, "details": error.details}
    except CallError as error:
        return {"kind": error.kind, "ran": error.ran}


@actor.operation
def hand_on(ctx: Context, to: str, operation: str) -> Any:
    """A call whose failure nobody handles."""
    return ctx.call(to, operation)
