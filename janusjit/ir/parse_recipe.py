"""Reading what an exit does: boxes and effects.

Owns `RecipeParser`, the inverse of `janusjit.ir.text.RecipePrinter`. Invariant: a box key names one box object of the
recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from janusjit.ir import boxes as bx
from janusjit.ir import places as pl
from janusjit.ir.parse_tokens import DataParser, Tokens

SEQUENCES: dict[str, type] = {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset}
LITERALS = ("None", "True", "False")


class RecipeParser:
    """Reads the block of one exit.

    Parameters
    ----------
    tokens, data
        The text and the reader of its leaves.
    operands : list of str
        Value names of the exit's inputs. A box that names another value appends it.
    """

    def __init__(self, tokens: Tokens, data: DataParser, operands: list[str]) -> None:
        self._tokens = tokens
        self._data = data
        self._operands = operands
        self._keyed: dict[int, bx.Box] = {}

    def recipe(self) -> bx.ExitRecipe:
        """Read ``commit`` lines and the ``return`` line, up to the closing brace."""
        effects: list[bx.Effect] = []
        while self._tokens.accept("commit"):
            effects.append(self._effect())
        self._tokens.expect("return")
        result = self.box()
        self._tokens.expect("}")
        return bx.ExitRecipe(result, tuple(effects))

    def _operand(self) -> int:
        token = self._tokens.take()
        if token.kind == "operand":
            return int(token.text[1:])
        if token.kind not in ("value", "name"):
            raise self._tokens.error(f"expected a value before this, found {token.text!r}")
        if token.text not in self._operands:
            self._operands.append(token.text)
        return self._operands.index(token.text)

    def box(self) -> bx.Box:
        """Read a box."""
        tokens = self._tokens
        token, following = tokens.peek, tokens.following().text
        if token.kind == "key":
            return self._earlier(int(tokens.take().text[1:]))
        if token.kind != "name" or token.text in LITERALS:
            return bx.ConstantBox(self._data.data())
        if token.text != "numpy" and following != "(":
            return bx.PlaceBox(self._data.place())
        if token.text == "numpy" and not (following == "." and tokens.following(3).text == "("):
            return bx.PlaceBox(self._data.place())
        box = self._made(tokens.dotted_name())
        if tokens.peek.kind == "key":
            key = int(tokens.take().text[1:])
            box = self._keyed[key] = replace(box, key=key)  # type: ignore[call-arg]
        return box

    def _earlier(self, key: int) -> bx.Box:
        if key not in self._keyed:
            raise self._tokens.error(f"no box with key {key} before")
        return self._keyed[key]

    def _boxes(self) -> tuple[bx.Box, ...]:
        return tuple(self._tokens.comma_separated(")", self.box))

    def _made(self, kind: str) -> bx.Box:
        tokens = self._tokens
        tokens.expect("(")
        if kind in SEQUENCES:
            return bx.SequenceBox(SEQUENCES[kind], self._boxes())
        if kind == "dict":
            return bx.DictBox(tuple(tokens.comma_separated(")", self._item)))
        if kind in ("object", "sequence", "call"):
            return self._of_reference(kind)
        if kind == "choice":
            operand = self._operand()
            tokens.expect(",")
            return bx.ChoiceBox(operand, tuple(tokens.comma_separated(")", self._data.data)))
        if kind == "either":
            operand = self._operand()
            tokens.expect(",")
            return bx.EitherBox(operand, tuple(tokens.comma_separated(")", self._option)))
        box = self._of_operand(kind)
        tokens.expect(")")
        return box

    def _of_operand(self, kind: str) -> bx.Box:
        if kind == "const":
            return bx.ConstantBox(self._data.data())
        operand = self._operand()
        if kind == "array":
            return bx.ArrayBox(operand, order=tuple(self._axes()))
        if kind == "view":
            self._tokens.expect(",")
            return bx.ViewBox(operand, self.box())
        if kind == "scalar":
            self._tokens.expect(",")
            return bx.ScalarBox(operand, self._tokens.string())
        if kind in ("int", "float", "bool") or kind.startswith("numpy."):
            return bx.ScalarBox(operand, kind)
        raise self._tokens.error(f"{kind} is no kind of box")

    def _axes(self) -> Iterator[int]:
        while self._tokens.accept(","):
            yield self._tokens.integer()

    def _of_reference(self, kind: str) -> bx.Box:
        tokens = self._tokens
        item = self._data.reference()
        if not tokens.accept(","):
            tokens.expect(")")
            return self._about(kind, item, ())
        if kind == "object":
            return bx.ObjectBox(item, tuple(tokens.comma_separated(")", self._named)))
        return self._about(kind, item, self._boxes())

    def _about(self, kind: str, item: Any, boxes: tuple[bx.Box, ...]) -> bx.Box:
        if kind == "object":
            return bx.ObjectBox(item, ())
        return bx.CallBox(item, boxes) if kind == "call" else bx.SequenceBox(item, boxes)

    def _item(self) -> tuple[bx.Box, bx.Box]:
        key = self.box()
        self._tokens.expect(":")
        return key, self.box()

    def _option(self) -> tuple[int, bx.Box]:
        number = self._tokens.integer()
        self._tokens.expect(":")
        return number, self.box()

    def _named(self) -> tuple[str, bx.Box]:
        name = self._tokens.expect_kind("name")
        self._tokens.expect("=")
        return name, self.box()

    def _effect(self) -> bx.Effect:
        tokens = self._tokens
        if tokens.peek.text in _CALLS and tokens.following().text == "(":
            return _CALLS[tokens.take().text](self)
        if tokens.peek.text == "write" and tokens.following().kind == "name":
            tokens.take()
            place = self._data.place()
            tokens.expect("=")
            return bx.WriteArray(place, self._operand())
        delete = tokens.peek.text == "del" and bool(tokens.take())
        owner, key = self._target()
        if delete:
            return bx.DeleteAttribute(owner, key) if isinstance(key, str) else bx.DeleteItem(owner, key)
        tokens.expect("=")
        value = self.box()
        return bx.SetAttribute(owner, key, value) if isinstance(key, str) else bx.SetItem(owner, key, value)

    def _target(self) -> tuple[bx.Box, str | bx.Box]:
        """Read ``owner.attribute`` or ``owner[key]``: the last step of a path is not part of the owner."""
        tokens = self._tokens
        is_place = tokens.peek.kind == "name" and tokens.following().text != "("
        owner: bx.Box = bx.PlaceBox(self._data.root()) if is_place else self.box()
        step = self._step()
        while tokens.peek.text in (".", "["):
            if not isinstance(owner, bx.PlaceBox):
                raise tokens.error("an owner made by the exit is followed by one step")
            owner = bx.PlaceBox(self._walk(owner.place, step))
            step = self._step()
        return owner, step

    def _step(self) -> str | bx.Box:
        if self._tokens.accept("."):
            return self._tokens.expect_kind("name")
        self._tokens.expect("[")
        key = self.box()
        self._tokens.expect("]")
        return key

    def _walk(self, place: pl.Place, step: str | bx.Box) -> pl.Place:
        if isinstance(step, str):
            return self._data.step(place, "attribute", step)
        if not isinstance(step, bx.ConstantBox):
            raise self._tokens.error("a place is indexed by constants")
        return self._data.step(place, "item", step.value)

    def _owner_and_boxes(self) -> tuple[bx.Box, tuple[bx.Box, ...]]:
        self._tokens.expect("(")
        first, *rest = self._boxes()
        return first, tuple(rest)

    def _append(self) -> bx.Effect:
        owner, (value,) = self._owner_and_boxes()
        return bx.ListAppend(owner, value)

    def _replace(self) -> bx.Effect:
        return bx.ReplaceContents(*self._owner_and_boxes())

    def _invoke(self) -> bx.Effect:
        self._tokens.expect("(")
        arguments: list[bx.Box] = []
        keywords: list[tuple[str, bx.Box]] = []

        def argument() -> None:
            if self._tokens.peek.kind == "name" and self._tokens.following().text == "=":
                keywords.append(self._named())
            else:
                arguments.append(self.box())

        self._tokens.comma_separated(")", argument)
        return bx.CallFunction(arguments[0], tuple(arguments[1:]), tuple(keywords))

    def _set_global(self) -> bx.Effect:
        namespace, name = self._global()
        self._tokens.expect(",")
        value = self.box()
        self._tokens.expect(")")
        return bx.SetGlobal(namespace, name, value)

    def _delete_global(self) -> bx.Effect:
        namespace, name = self._global()
        self._tokens.expect(")")
        return bx.DeleteGlobal(namespace, name)

    def _global(self) -> tuple[dict[str, Any], str]:
        self._tokens.expect("(")
        namespace = self._data.reference()
        self._tokens.expect(",")
        return namespace, self._tokens.string()

    def _set_cell(self) -> bx.Effect:
        self._tokens.expect("(")
        cell = self._data.reference()
        self._tokens.expect(",")
        value = self.box()
        self._tokens.expect(")")
        return bx.SetCell(cell, value)


_CALLS = {
    "append": RecipeParser._append,
    "replace": RecipeParser._replace,
    "invoke": RecipeParser._invoke,
    "set_global": RecipeParser._set_global,
    "delete_global": RecipeParser._delete_global,
    "set_cell": RecipeParser._set_cell,
}
