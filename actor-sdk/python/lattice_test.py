"""Run with `python3 -m unittest lattice_test`. What holds only in a lattice is tested there."""

import dataclasses
import json
import unittest

from lattice import Actor, CallError, Context, Message, Rejection
from lattice_testing import Call, Mesh

actor = Actor()


@dataclasses.dataclass
class Line:
    sku: str
    quantity: int


@actor.operation(idempotent=True)
def hello(ctx: Context, name: str) -> str:
    return f"Hello, {name}!"


@actor.operation
def add(ctx: Context, sku: str, quantity: int = 1) -> Line:
    return Line(sku, quantity)


@actor.operation
def nothing(ctx: Context) -> None:
    pass


@actor.operation(name="any-thing")
def anything(ctx: Context, **arguments: object) -> dict:
    return arguments


@actor.operation
def fails(ctx: Context, what: str) -> None:
    match what:
        case "bug":
            ctx.nothing.there
        case "unwritable":
            return {1, 2}
        case "rejection":
            raise Rejection("sold-out", "no tea is left", {"left": 0})
    raise CallError("overloaded", "x")


class Answers(unittest.TestCase):
    def ask(self, operation: str, payload: str, content_type: str = "application/json"):
        message = Message(operation, payload.encode(), content_type)
        return json.loads(actor.answer(message, Mesh().context()._mesh))

    def test_arguments_are_read_by_the_rules_that_hold_in_every_language(self) -> None:
        table = [
            ("hello", '{"name": "Ada"}', "Hello, Ada!"),
            ("hello", '"Ada"', "Hello, Ada!"),
            ("add", '{"sku": "téa 🍵", "quantity": 2}', {"sku": "téa 🍵", "quantity": 2}),
            ("add", '{"sku": "tea"}', {"sku": "tea", "quantity": 1}),
            ("nothing", "", None),
            ("nothing", "{}", None),
            ("any-thing", '{"a": 1}', {"a": 1}),
        ]
        for operation, payload, wanted in table:
            self.assertEqual(self.ask(operation, payload), wanted, f"{operation} {payload}")
        refused = [
            ("hello", "", "`name` is missing"),
            ("hello", "{}", "`name` is missing"),
            ("hello", "{", "hello: "),
            ("hello", "[" * 100_000, "hello: "),
            ("hello", "3", "`name` must be str, not int"),
            ("hello", '{"first": "Ada"}', "`name` must be str, not dict"),
            ("add", '{"sku": "tea", "quantity": true}', "`quantity` must be int, not bool"),
            ("add", '{"quantity": 1}', "`sku` is missing"),
            ("add", '{"sku": "tea", "size": 1}', "no parameter `size`"),
            ("add", '"tea"', "an object with the arguments by name"),
            ("nothing", '{"a": 1}', "no parameter `a`"),
        ]
        for operation, payload, words in refused:
            with self.assertRaises(CallError, msg=f"{operation} {payload}") as raised:
                self.ask(operation, payload)
            self.assertEqual(raised.exception.kind, "malformed")
            self.assertIn(words, raised.exception.text)
        with self.assertRaisesRegex(CallError, "takes application/json"):
            self.ask("hello", "x", "application/protobuf")
        with self.assertRaises(CallError) as raised:
            self.ask("__init__", "")
        self.assertEqual((raised.exception.kind, raised.exception.ran), ("no-such-operation", "no"))

    def test_errors_are_what_they_are_and_bugs_are_rejections_with_their_place_in_the_log(self) -> None:
        with self.assertRaises(Rejection) as raised:
            self.ask("fails", '"rejection"')
        self.assertEqual((raised.exception.code, raised.exception.details), ("sold-out", {"left": 0}))
        with self.assertRaises(CallError) as raised:
            self.ask("fails", '"other"')
        self.assertTrue(raised.exception.is_retryable)
        for what, words in [("bug", "AttributeError"), ("unwritable", "cannot be written")]:
            with self.assertLogs("actor", "ERROR") as logged, self.assertRaisesRegex(Rejection, words) as raised:
                self.ask("fails", f'"{what}"')
            self.assertEqual(raised.exception.code, "exception")
            self.assertIn("lattice_test.py" if what == "bug" else "lattice.py", logged.output[0])

    def test_clients_call_by_name(self) -> None:
        mesh = Mesh({"A": "1"}).actor("shop", actor).answer("shop", "price", lambda sku: len(sku))
        ctx = mesh.context(caller="web")
        self.assertEqual(ctx.actor("shop").hello(name="Ada"), "Hello, Ada!")
        self.assertEqual(ctx.actor("shop").price(sku="tea"), 3)
        self.assertEqual(ctx.call("shop", "any-thing", {"class": 1}), {"class": 1})
        self.assertEqual(mesh.calls[0], Call("shop", "hello", {"name": "Ada"}))
        with self.assertRaises(CallError) as raised:
            ctx.call("nobody", "x")
        self.assertEqual(raised.exception.kind, "no-such-actor")
        self.assertEqual((ctx.env["A"], ctx.caller), ("1", "web"))

    def test_operations_are_listed_with_what_they_say_of_themselves(self) -> None:
        operations = actor.metadata()["operations"]
        self.assertEqual([one["name"] for one in operations], ["hello", "add", "nothing", "any-thing", "fails"])
        self.assertEqual(operations[0], {"name": "hello", "parameters": ["name"], "idempotent": True})
        self.assertEqual(operations[1]["parameters"], ["sku", "quantity"])
        with self.assertRaises(TypeError):
            actor.operation(hello)
