"""What an actor in Python is written with.

An actor is a module with an `Actor` in a variable `actor`, and a function for each operation. Its parameters after the
context are the arguments, by name; what it returns is the reply::

    import lattice
    from lattice import Context, Rejection

    actor = lattice.Actor()

    @actor.operation
    def reserve(ctx: Context, sku: str, quantity: int = 1) -> int:
        left = ctx.actor("inventory").stock(sku=sku)
        if left < quantity:
            raise Rejection("out-of-stock", f"only {left} of {sku} are left")
        return left - quantity

A replica may cache in variables of the module but must not remember there: the next message may go to another one.

This module knows nothing of WebAssembly: `lattice_guest` joins it to the lattice, and `lattice_testing` to tests.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import traceback
import typing
from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["Actor", "CallError", "Client", "Context", "Rejection", "log"]

#: The actor's log, which reaches the node's where the manifest grants it. Any other logger of Python's does as well.
log = logging.getLogger("actor")


class Rejection(Exception):
    """An actor's own error. Its callers match the code.

    :param code: A stable word, such as `out-of-stock`.
    :param message: One sentence for people.
    :param details: More for programs; it travels as JSON.
    """

    def __init__(self, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


#: Whether the message of a failure was handled, where its kind alone says so.
RAN = {
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
}


class CallError(Exception):
    """Why a call got no reply, other than by an error of the actor's own, which is a `Rejection`.

    :param kind: The stable word of this kind of failure, the one that `lattice` prints.
    :param text: What it speaks of.
    :param ran: Whether the message was handled: `no`, `maybe` or `yes`.
    :param limit: Of a payload that is too large, in bytes; and its size.
    """

    def __init__(self, kind: str, text: str = "", ran: str | None = None, limit: int = 0, size: int = 0) -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind
        self.text = text
        self.ran = ran or RAN[kind]
        self.limit = limit
        self.size = size

    @property
    def is_retryable(self) -> bool:
        """Whether the same call is safe and may do better a moment later: it surely did not run, and the reason passes."""
        return self.kind in ("no-replica", "overloaded", "not-here")


@dataclasses.dataclass(frozen=True)
class Message:
    """One message, as an actor sees it."""

    operation: str
    payload: bytes
    content_type: str = "application/json"
    id: str = "test-message"
    caller: str | None = None
    remaining_ms: int = 30_000
    traceparent: str | None = None
    attempt: int = 1


class Mesh(Protocol):
    """What a context calls other actors by."""

    def call(self, to: str, operation: str, payload: bytes, timeout_ms: int | None) -> bytes: ...

    def self_id(self) -> str: ...

    def env(self) -> Mapping[str, str]: ...


class Context:
    """One turn: the message that is handled, and what the actor may do meanwhile."""

    def __init__(self, mesh: Mesh, message: Message) -> None:
        self._mesh = mesh
        self._message = message

    def call(
        self, to: str, operation: str, arguments: Mapping[str, Any] | None = None, *, timeout_ms: int | None = None
    ) -> Any:
        """Calls another actor, within what is left of this turn's deadline, and returns its reply.

        :param to: Its ID: `inventory`, or `cart/alice` for a key.
        :param arguments: By name.
        :raises Rejection: The actor's own error.
        :raises CallError: Any other failure.
        """
        reply = self._mesh.call(to, operation, written(arguments or {}), timeout_ms)
        return json.loads(reply) if reply.strip() else None

    def actor(self, id: str, *, timeout_ms: int | None = None) -> Client:
        """A client of another actor, with a method for each operation: `ctx.actor("cart/alice").add(sku="tea")`."""
        return Client(self, id, timeout_ms)

    @property
    def self_id(self) -> str:
        """This actor's own ID."""
        return self._mesh.self_id()

    @property
    def caller(self) -> str | None:
        """The ID of the calling actor; `external` for a client from outside, None for the admin API."""
        return self._message.caller

    @property
    def message_id(self) -> str:
        """The message's ID: the same over retries of one call."""
        return self._message.id

    @property
    def attempt(self) -> int:
        """1 on the first try."""
        return self._message.attempt

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of this turn."""
        return self._message.traceparent

    @property
    def remaining_ms(self) -> int:
        """What was left of the deadline when the turn began."""
        return self._message.remaining_ms

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that the manifest sets under `env`; `os.environ` has them too, once there is a turn."""
        return self._mesh.env()


class Client:
    """Another actor: each of its operations is a method, which takes the arguments by name."""

    def __init__(self, ctx: Context, id: str, timeout_ms: int | None) -> None:
        self._ctx, self._id, self._timeout_ms = ctx, id, timeout_ms

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("__"):
            raise AttributeError(operation)
        return lambda **arguments: self._ctx.call(self._id, operation, arguments, timeout_ms=self._timeout_ms)


class Actor:
    """The operations of one actor."""

    def __init__(self) -> None:
        self._operations: dict[str, _Operation] = {}

    def operation(self, function: Callable[..., Any] | None = None, *, name: str = "", idempotent: bool = False) -> Any:
        """Makes a function an operation, and leaves the function as it is.

        Its first parameter is the context. The others are the arguments, by name; one with a default may be missing. Where
        there is only one, callers may give its bare value.

        :param name: What the operation is called in messages, if not by the function's name.
        :param idempotent: Whether running it twice does no more than running it once, so that the lattice may try again
            when no reply came.
        """

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            known = name or function.__name__
            if known in self._operations:
                raise TypeError(f"two operations of this actor are called `{known}`")
            self._operations[known] = _Operation(known, function, idempotent)
            return function

        return add(function) if function else add

    def metadata(self) -> dict[str, Any]:
        """What the actor says of itself, for the lattice."""
        operations = self._operations.values()
        return {
            "operations": [
                {"name": one.name, "parameters": list(one.parameters), "idempotent": one.idempotent}
                for one in operations
            ]
        }

    def answer(self, message: Message, mesh: Mesh) -> bytes:
        """Handles one message and returns the reply.

        :raises Rejection: An error of the operation's own; also where it has a bug, with the code `exception`.
        :raises CallError: Any other failure.
        """
        operation = self._operations.get(message.operation)
        if operation is None:
            raise CallError("no-such-operation", message.operation)
        arguments = operation.read(message)
        try:
            return written(operation.function(Context(mesh, message), **arguments))
        except (Rejection, CallError):
            raise
        except Exception as error:
            # The caller learns what happened, and the log where.
            log.error("operation `%s` raised\n%s", message.operation, traceback.format_exc())
            raise Rejection("exception", f"{type(error).__name__}: {error}") from error


class _Operation:
    def __init__(self, name: str, function: Callable[..., Any], idempotent: bool) -> None:
        self.name, self.function, self.idempotent = name, function, idempotent
        _, *parameters = inspect.signature(function).parameters.values()
        self.takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self.parameters = {one.name: one for one in parameters if one.kind is not one.VAR_KEYWORD}
        try:
            self.types = typing.get_type_hints(function)
        except NameError:
            # A type that is only there for a type checker.
            self.types = {}

    def read(self, message: Message) -> dict[str, Any]:
        """The arguments of a message; those that are missing or of another type are said with their names."""
        if message.content_type not in ("", "application/json"):
            raise self._malformed(f"it takes application/json, not {message.content_type}")
        try:
            value = json.loads(message.payload) if message.payload.strip() else None
        except (ValueError, RecursionError) as error:
            raise self._malformed(str(error)) from None
        if value is None:
            value = {}
        elif len(self.parameters) == 1 and not self.takes_any:
            # An object whose only field is the parameter, or none, is the arguments; anything else is the bare value.
            (name,) = self.parameters
            if not (isinstance(value, dict) and set(value) <= {name}):
                value = {name: value}
        if not isinstance(value, dict):
            raise self._malformed("it takes an object with the arguments by name")
        for name in value:
            if name not in self.parameters and not self.takes_any:
                raise self._malformed(f"it has no parameter `{name}`")
        for name, parameter in self.parameters.items():
            if name in value:
                self._check(name, value[name])
            elif parameter.default is inspect.Parameter.empty:
                raise self._malformed(f"argument `{name}` is missing")
        return value

    def _check(self, name: str, value: Any) -> None:
        """Only the types that JSON has are told apart. What else is annotated is up to the operation."""
        wanted = self.types.get(name)
        if wanted not in (str, int, float, bool, list, dict):
            return
        # In Python True is an int, and in JSON 1 is a good float.
        fits = isinstance(value, (int, float) if wanted is float else wanted)
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise self._malformed(f"argument `{name}` must be {wanted.__name__}, not {type(value).__name__}")

    def _malformed(self, problem: str) -> CallError:
        return CallError("malformed", f"{self.name}: {problem}")


def written(value: Any) -> bytes:
    """A value as JSON; a dataclass as an object.

    :raises TypeError: It cannot be written, or with a `ValueError`, as it holds itself or no number.
    """
    # JSON has no NaN, and what the lattice carries is JSON.
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
