"""Unit tests of actors, natively: the actors around the one under test, and a record of what they were asked.

Messages pass through the same encoding as in a lattice. Nodes, retries, deadlines and grants are left out::

    from actor import actor
    from lattice_testing import Mesh

    mesh = Mesh().actor("till", actor).answer("pricing", "price", lambda sku: 250)
    assert mesh.context().actor("till").total(sku="tea", quantity=2) == 500
    assert mesh.calls[-1].arguments == {"sku": "tea"}
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from lattice import Actor, CallError, Context, Message


@dataclasses.dataclass(frozen=True)
class Call:
    """A call that was made."""

    to: str
    operation: str
    arguments: Any


class Mesh:
    """The actors that a test knows.

    :param env: The variables that the manifest would set.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.calls: list[Call] = []
        self._env = dict(env or {})
        self._actors: dict[str, Actor] = {}
        self._answers: dict[tuple[str, str], Actor] = {}

    def actor(self, id: str, actor: Actor) -> Mesh:
        """Adds an actor."""
        self._actors[id] = actor
        return self

    def answer(self, id: str, operation: str, function: Callable[..., Any]) -> Mesh:
        """Answers an operation with a function of its arguments, which may raise what an actor may raise."""
        one = Actor()

        @one.operation(name=operation)
        def stand_in(_: Context, **arguments: Any) -> Any:
            return function(**arguments)

        self._answers[id, operation] = one
        return self

    def context(self, **message: Any) -> Context:
        """A turn in this mesh, to be handed to an operation or to call actors by."""
        return Context(_Place(self, "under-test"), Message("under-test", b"", **message))


@dataclasses.dataclass(frozen=True)
class _Place:
    """The mesh as one of its actors sees it."""

    mesh: Mesh
    id: str

    def call(self, to: str, operation: str, payload: bytes, timeout_ms: int | None) -> bytes:
        self.mesh.calls.append(Call(to, operation, json.loads(payload)))
        actor = self.mesh._answers.get((to, operation)) or self.mesh._actors.get(to)
        if actor is None:
            raise CallError("no-such-actor", to)
        return actor.answer(Message(operation, payload, caller=self.id), _Place(self.mesh, to))

    def self_id(self) -> str:
        return self.id

    def env(self) -> Mapping[str, str]:
        return self.mesh._env
