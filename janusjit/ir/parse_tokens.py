"""Tokens and leaf data of the textual IR.

Owns `Tokens`, a cursor over the text, and `DataParser`, the reader of what `janusjit.ir.text_data.DataPrinter` prints.
Invariant: every error is a `GraphSyntaxError` that names line and column.
"""

from __future__ import annotations

import ast
import builtins
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

from janusjit.errors import JanusError
from janusjit.ir import places as pl
from janusjit.ir.dims import Dim, DimExpr, Symbol
from janusjit.ir.types import DTYPES, TensorType
from janusjit.spans import UNKNOWN_SPAN, Span

T = TypeVar("T")

_PATTERNS = {
    "skip": r"[ \t\r\n]+|;[^\n]*",
    "span": r"""@(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|[\w.<>+-]+):\d+:\d+""",
    "string": r"""b?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""",
    "number": r"0x[0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?",
    "reference": r"&[^\W\d][\w.]*",
    "value": r"%\w+",
    "operand": r"\$\d+",
    "key": r"#\d+",
    "name": r"[^\W\d]\w*",
    "punctuation": r">=|//|[-+*/()\[\]{}=:,.]",
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS.items()))


class GraphSyntaxError(JanusError):
    """The text is not a graph. ``line`` and ``column`` are 1-based."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__("ir.syntax", f"{line}:{column}: {message}")
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    position: int


class Tokens:
    """A cursor over the tokens of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[Token] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error(f"unexpected {text[position]!r}", position)
            if match.lastgroup != "skip":
                self._tokens.append(Token(str(match.lastgroup), match.group(), position))
            position = match.end()
        self._tokens.append(Token("end", "end of text", len(text)))
        self._next = 0

    @property
    def peek(self) -> Token:
        """The next token."""
        return self._tokens[self._next]

    def following(self, distance: int = 1) -> Token:
        """Return the token ``distance`` after the next one."""
        return self._tokens[min(self._next + distance, len(self._tokens) - 1)]

    def take(self) -> Token:
        """Return the next token and pass it."""
        token = self.peek
        if token.kind != "end":
            self._next += 1
        return token

    def accept(self, *texts: str) -> bool:
        """Pass the next tokens if they are these, and say so."""
        found = all(
            self.following(i).text == text and self.following(i).kind in ("name", "punctuation")
            for i, text in enumerate(texts)
        )
        self._next += len(texts) if found else 0
        return found

    def expect(self, text: str) -> None:
        """Pass the next token, which must be ``text``."""
        if not self.accept(text):
            raise self.error(f"expected {text!r}, found {self.peek.text!r}")

    def expect_kind(self, kind: str) -> str:
        """Pass the next token, which must be of this kind, and return its text."""
        if self.peek.kind != kind:
            raise self.error(f"expected a {kind}, found {self.peek.text!r}")
        return self.take().text

    def comma_separated(self, end: str, item: Callable[[], T]) -> list[T]:
        """Read ``item , item … end`` and return the items."""
        items: list[T] = []
        while not self.accept(end):
            items.append(item())
            if not self.accept(","):
                self.expect(end)
                break
        return items

    def dotted_name(self) -> str:
        """Pass ``name.name…`` and return it."""
        name = self.expect_kind("name")
        while self.accept("."):
            name += "." + self.expect_kind("name")
        return name

    def string(self) -> str:
        """Pass a string literal and return its value."""
        return str(ast.literal_eval(self.expect_kind("string")))

    def integer(self) -> int:
        """Pass an integer, with its sign, and return it."""
        sign = -1 if self.accept("-") else 1
        return sign * int(self.expect_kind("number"))

    def span(self) -> Span:
        """Pass a span if there is one; return it, or the unknown span."""
        if self.peek.kind != "span":
            return UNKNOWN_SPAN
        file, line, column = self.take().text[1:].rsplit(":", 2)
        return Span(ast.literal_eval(file) if file[0] in "'\"" else file, int(line), int(column))

    def error(self, message: str, token: Token | None = None) -> GraphSyntaxError:
        """Return an error that points at ``token``, or at the next one."""
        return self._error(message, (token or self.peek).position)

    def _error(self, message: str, position: int) -> GraphSyntaxError:
        before = self._text[:position]
        return GraphSyntaxError(message, before.count("\n") + 1, position - before.rfind("\n"))


class DataParser:
    """Reads literals, references, dimensions, types, records and places.

    Parameters
    ----------
    tokens : Tokens
        The text.
    namespace : mapping
        What ``&name`` and the names of records refer to; builtins need not be in it.
    """

    def __init__(self, tokens: Tokens, namespace: Mapping[str, Any]) -> None:
        self._tokens = tokens
        self._namespace = namespace
        self.symbols: dict[str, Symbol] = {}
        self.roots: dict[str, pl.Place] = {}
        self._interned: dict[tuple[pl.Place, str, Any], pl.Place] = {}

    def reference(self) -> Any:
        """Read ``&name``."""
        if self._tokens.peek.kind != "reference":
            raise self._tokens.error(f"expected a reference (&name), found {self._tokens.peek.text!r}")
        return self._lookup(self._tokens.peek.text[1:], advance=1)

    def _lookup(self, name: str, advance: int = 0) -> Any:
        found = self._namespace.get(name, self)
        if found is self:
            found = getattr(builtins, name, self)
        if found is self:
            raise self._tokens.error(f"{name} is not in the namespace")
        for _ in range(advance):
            self._tokens.take()
        return found

    def data(self) -> Any:
        """Read an attribute value."""
        tokens = self._tokens
        token = tokens.peek
        if token.kind == "string":
            return ast.literal_eval(tokens.take().text)
        if token.kind == "number" or token.text in ("-", "+"):
            return self.number()
        if token.kind == "reference":
            return self.reference()
        if token.kind == "name":
            return self._named()
        if tokens.accept("("):
            return tuple(tokens.comma_separated(")", self.data))
        raise tokens.error(f"expected a value, found {token.text!r}")

    def number(self) -> int | float:
        """Read a number: ``-0.0``, ``+inf``, ``+nan``, ``3``."""
        tokens = self._tokens
        negative = tokens.accept("-")
        signed = negative or tokens.accept("+")
        if signed and tokens.peek.text in ("inf", "nan"):
            value: int | float = float(tokens.take().text)
        else:
            text = tokens.expect_kind("number")
            value = int(text, 0) if text.isdigit() or text.startswith("0x") else float(text)
        return -value if negative else value

    def _named(self) -> Any:
        tokens = self._tokens
        following = tokens.following().text
        if tokens.peek.text in DTYPES and following == "[":
            return self.type()
        name = tokens.take().text
        if name in ("None", "True", "False"):
            return {"None": None, "True": True, "False": False}[name]
        if name in self.symbols and following != "(":
            return DimExpr((((self.symbols[name],), 1),))
        while tokens.accept("."):
            name += "." + tokens.expect_kind("name")
        tokens.expect("(")
        if name == "dim":
            dim = self.dim()
            tokens.expect(")")
            return dim
        if name == "symbol":
            symbol = self._symbol(tokens.expect_kind("name"))
            tokens.expect(")")
            return symbol
        if name == "float_bits":
            (value,) = struct.unpack("<d", struct.pack("<Q", int(tokens.expect_kind("number"), 16)))
            tokens.expect(")")
            return value
        return self.record(name)

    def record(self, name: str) -> Any:
        """Read the fields of a dataclass instance, after its name and the opening parenthesis."""
        class_ = self._lookup(name)
        if not (isinstance(class_, type) and is_dataclass(class_)):
            raise self._tokens.error(f"{name} is not a record")
        places = iter([str(field.type) == "Place" for field in fields(class_) if not field.kw_only])
        values = self._tokens.comma_separated(")", lambda: self.place() if next(places, False) else self.data())
        try:
            return class_(*values)
        except TypeError as error:
            raise self._tokens.error(str(error)) from error

    def type(self) -> TensorType:
        """Read a tensor type: ``f32[n,3]``; without brackets it is 0-d."""
        dtype = self._tokens.expect_kind("name")
        if dtype not in DTYPES:
            raise self._tokens.error(f"{dtype} is no element type")
        shape = self._tokens.comma_separated("]", self.dim) if self._tokens.accept("[") else []
        return TensorType(dtype, tuple(shape))

    def dim(self) -> Dim:
        """Read a dimension: a polynomial over symbols, ``2*n*m-(n+1)//2``."""
        total: Dim = 0
        negative = self._tokens.accept("-")
        while True:
            term = self._dim_term()
            total = total - term if negative else total + term
            negative = self._tokens.peek.text == "-"
            if not self._tokens.accept("-") and not self._tokens.accept("+"):
                return total

    def _dim_term(self) -> Dim:
        tokens = self._tokens
        term: Dim = 1
        while True:
            if tokens.peek.kind == "number":
                term = term * int(tokens.take().text)
            elif tokens.accept("("):
                inner = self.dim()
                tokens.expect(")")
                term = term * (inner // tokens.integer() if tokens.accept("//") else inner)
            else:
                term = term * DimExpr((((self._symbol(tokens.expect_kind("name")),), 1),))
            if not tokens.accept("*"):
                return term

    def _symbol(self, name: str) -> Symbol:
        found = self.symbols.get(name)
        if found is None:
            found = self.symbols[name] = Symbol(name)
        return found

    def root(self) -> pl.Place:
        """Read the name of a parameter or declared place."""
        name = self._tokens.expect_kind("name")
        if name not in self.roots:
            raise self._tokens.error(f"{name} is neither a parameter nor a declared place")
        return self.roots[name]

    def place(self) -> pl.Place:
        """Read a place: a root's name, then ``.attribute`` and ``[key]`` steps."""
        place = self.root()
        while self._tokens.peek.text in (".", "["):
            if self._tokens.accept("."):
                name = self._tokens.expect_kind("name")
                place = self._question(place, name) if self._tokens.accept("(") else self.step(place, "attribute", name)
            else:
                self._tokens.expect("[")
                place = self.step(place, "item", self.data())
                self._tokens.expect("]")
        return place

    def _question(self, owner: pl.Place, name: str) -> pl.Place:
        """Read the rest of ``.len()``, ``.packed(kind)``, ``.packed(kind, last)`` or ``.has(key)``."""
        if name == "len":
            self._tokens.expect(")")
            return self.step(owner, "len", "")
        key = self.data()
        if name == "packed":
            key = (key, self.data() if self._tokens.accept(",") else None)
        self._tokens.expect(")")
        return self.step(owner, "packed" if name == "packed" else "has", key)

    def step(self, owner: pl.Place, kind: str, key: Any) -> pl.Place:
        """Return the one place that is this step from ``owner``."""
        path = (owner, kind + type(key).__name__, key)
        found = self._interned.get(path)
        if found is None:
            made: dict[str, Any] = {
                "attribute": pl.AttributePlace,
                "item": pl.ItemPlace,
                "has": pl.MembershipPlace,
            }
            if kind == "packed":
                found = pl.PackedPlace(owner, *key)
            else:
                found = pl.LengthPlace(owner) if kind == "len" else made[kind](owner, key)
            self._interned[path] = found
        return found
