"""Joins an actor to the lattice: the exports of the WIT world `blocking-actor`. Only `lattice build` uses it.

All of this is run once when the actor is built, and its memory is what every instance begins with. So nothing here may ask
the lattice for anything before the first turn, and nothing random may be left over from the build.
"""

import json
import logging
import os
import random
from collections.abc import Mapping
from typing import Any

import lattice
from componentize_py_types import Err
from lattice import CallError, Message, Rejection
from lattice_author import actor
from wit_world import exports
from wit_world.imports import blocking_mesh, log, types

_LEVELS = {
    "trace": (5, log.Level.TRACE),
    "debug": (logging.DEBUG, log.Level.DEBUG),
    "info": (logging.INFO, log.Level.INFO),
    "warn": (logging.WARNING, log.Level.WARN),
    "error": (logging.ERROR, log.Level.ERROR),
}

#: The cases of a failure that hold a text and nothing else.
_TEXTS = {
    "no-such-actor": types.Failure_NoSuchActor,
    "no-such-operation": types.Failure_NoSuchOperation,
    "no-replica": types.Failure_NoReplica,
    "overloaded": types.Failure_Overloaded,
    "not-here": types.Failure_NotHere,
    "unknown": types.Failure_Unknown,
    "deadlock": types.Failure_Deadlock,
    "denied": types.Failure_Denied,
    "trapped": types.Failure_Trapped,
    "malformed": types.Failure_Malformed,
}
_KINDS = {case: kind for kind, case in _TEXTS.items()}


class _Handler(logging.Handler):
    """Python's log as the lattice's."""

    def emit(self, record: logging.LogRecord) -> None:
        fitting = [level for least, level in _LEVELS.values() if record.levelno >= least]
        log.log(fitting[-1] if fitting else log.Level.TRACE, record.name, self.format(record))


class _Lattice:
    """The mesh that an actor calls others by."""

    def call(self, to: str, operation: str, payload: bytes, timeout_ms: int | None) -> bytes:
        try:
            return blocking_mesh.call(to, operation, payload, types.CallOptions("application/json", timeout_ms))
        except Err as error:
            raise _from_failure(error.value) from None

    def self_id(self) -> str:
        return blocking_mesh.self_id()

    def env(self) -> Mapping[str, str]:
        return os.environ


class BlockingHandler(exports.BlockingHandler):
    """The export."""

    _awake = False

    def handle(self, m: types.Message) -> bytes:
        if not BlockingHandler._awake:
            _wake()
            BlockingHandler._awake = True
        message = Message(
            operation=m.operation,
            payload=m.payload,
            content_type=m.content_type,
            id=m.id,
            caller=m.caller,
            remaining_ms=m.remaining_ms,
            traceparent=m.traceparent,
            attempt=m.attempt,
        )
        try:
            return actor.answer(message, _Lattice())
        except (Rejection, CallError) as error:
            raise Err(_to_failure(error)) from None


def _wake() -> None:
    # It was seeded at the build: all replicas would have the same numbers.
    random.seed()
    wanted = os.environ.get("LATTICE_LOG", "info")
    least = logging.CRITICAL + 1 if wanted == "off" else _LEVELS.get(wanted, _LEVELS["info"])[0]
    logging.basicConfig(level=least, handlers=[_Handler()], format="%(message)s", force=True)


def _from_failure(failure: types.Failure) -> Exception:
    match failure:
        case types.Failure_Rejected(rejection):
            return Rejection(rejection.code, rejection.message, _read(rejection.details))
        case types.Failure_Deadline(ran):
            return CallError("deadline", ran=ran.name.lower())
        case types.Failure_Cancelled(ran):
            return CallError("cancelled", ran=ran.name.lower())
        case types.Failure_TooLarge(large):
            text = f"a payload of {large.size} bytes is over the limit of {large.limit} bytes"
            return CallError("too-large", text, large.ran.name.lower(), large.limit, large.size)
        case _:
            return CallError(_KINDS[type(failure)], failure.value)


def _to_failure(error: Rejection | CallError) -> types.Failure:
    match error:
        case Rejection():
            return _rejected(error.code, error.message, _details(error.details))
        case CallError(kind="deadline"):
            return types.Failure_Deadline(types.Ran[error.ran.upper()])
        case CallError(kind="cancelled"):
            return types.Failure_Cancelled(types.Ran[error.ran.upper()])
        case CallError(kind="too-large"):
            large = types.TooLarge(error.limit, error.size, types.Ran[error.ran.upper()])
            return types.Failure_TooLarge(large)
        case _:
            case = _TEXTS.get(error.kind)
            return case(error.text) if case else _rejected(error.kind, error.text, None)


def _read(details: str | None) -> Any:
    try:
        return None if details is None else json.loads(details)
    except ValueError:
        # It is JSON by contract only; then it stays text.
        return details


def _details(details: Any) -> str | None:
    try:
        return None if details is None else lattice.written(details).decode()
    except (TypeError, ValueError):
        # The rejection itself matters more.
        return None


def _rejected(code: str, message: str, details: str | None) -> types.Failure:
    return types.Failure_Rejected(types.Rejection(code, message, details))
