"""Array dimensions: integers, or integer expressions over symbols.

Owns `Dim` arithmetic. Invariant: a `DimExpr` is canonical (two equal polynomials compare and hash equal) and is never
constant: arithmetic that leaves no symbol returns a plain ``int``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """A dimension known at run time only.

    ``minimum`` is what guards (2 for a dimension of an input: 0 and 1 get specializations of their own, because 1
    broadcasts) or the defining operation (0 for a count) promise about its value.
    """

    name: str
    minimum: int = 2

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FloorDivision:
    """``numerator // divisor`` as an opaque atom of a polynomial."""

    numerator: DimExpr
    divisor: int

    def __str__(self) -> str:
        return f"({self.numerator})//{self.divisor}"


Atom = Union[Symbol, FloorDivision]
Monomial = tuple[Atom, ...]


def _order(monomial: Monomial) -> tuple[int, str]:
    return (-len(monomial), "*".join(map(str, monomial)))


@dataclass(frozen=True, slots=True)
class DimExpr:
    """A polynomial with integer coefficients over symbols; build with `symbol` and arithmetic only."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        return _sum([*self.terms, *_terms(other)])

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return _sum((m, -c) for m, c in self.terms)

    def __sub__(self, other: Dim) -> Dim:
        return _sum([*self.terms, *((m, -c) for m, c in _terms(other))])

    def __rsub__(self, other: Dim) -> Dim:
        return _sum([*_terms(other), *((m, -c) for m, c in self.terms)])

    def __mul__(self, other: Dim) -> Dim:
        return _sum(
            (tuple(sorted(m1 + m2, key=str)), c1 * c2) for m1, c1 in self.terms for m2, c2 in _terms(other)
        )

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Dim:
        if divisor <= 0:
            raise ValueError(f"a dimension is divided by a positive integer only, not {divisor}")
        if all(c % divisor == 0 for _, c in self.terms):
            return _sum((m, c // divisor) for m, c in self.terms)
        return DimExpr((((FloorDivision(self, divisor),), 1),))

    def __str__(self) -> str:
        parts = []
        for monomial, coefficient in self.terms:
            body = "*".join(map(str, monomial))
            if not body:
                parts.append(f"{coefficient:+d}")
            elif coefficient in (1, -1):
                parts.append(("+" if coefficient > 0 else "-") + body)
            else:
                parts.append(f"{coefficient:+d}*{body}")
        return "".join(parts).removeprefix("+")

    def symbols(self) -> frozenset[Symbol]:
        """Return the symbols the expression depends on."""
        found: set[Symbol] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                found |= {atom} if isinstance(atom, Symbol) else atom.numerator.symbols()
        return frozenset(found)

    def evaluate(self, values: Mapping[Symbol, int]) -> int:
        """Return the expression's value, given each symbol's."""
        total = 0
        for monomial, coefficient in self.terms:
            product = coefficient
            for atom in monomial:
                product *= (
                    values[atom] if isinstance(atom, Symbol) else atom.numerator.evaluate(values) // atom.divisor
                )
            total += product
        return total

    def lower_bound(self) -> int | None:
        """Return a value the expression is never below, or None when the symbols' minima do not tell."""
        total = 0
        for monomial, coefficient in self.terms:
            if coefficient < 0:
                return None
            product = coefficient
            for atom in monomial:
                if isinstance(atom, Symbol):
                    product *= atom.minimum
                else:
                    bound = atom.numerator.lower_bound()
                    product *= 0 if bound is None else bound // atom.divisor
            total += product
        constant = dict(self.terms).get((), 0)
        return total if constant >= 0 else None


Dim = Union[int, DimExpr]


def symbol(name: str, minimum: int = 2) -> DimExpr:
    """Return the expression that is the symbol ``name`` itself."""
    return DimExpr((((Symbol(name, minimum),), 1),))


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return dim.terms if isinstance(dim, DimExpr) else (((), dim),) if dim else ()


def _sum(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        total[monomial] = total.get(monomial, 0) + coefficient
    kept = tuple(sorted(((m, c) for m, c in total.items() if c), key=lambda t: _order(t[0])))
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return DimExpr(kept)


def product(dims: Iterable[Dim]) -> Dim:
    """Return the product of dimensions: the size of a shape."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def evaluate(dim: Dim, values: Mapping[Symbol, int]) -> int:
    """Return ``dim`` as an integer, given the value of each symbol."""
    return dim.evaluate(values) if isinstance(dim, DimExpr) else dim


def symbols_of(dims: Iterable[Dim]) -> frozenset[Symbol]:
    """Return every symbol that occurs in ``dims``."""
    found: frozenset[Symbol] = frozenset()
    for dim in dims:
        if isinstance(dim, DimExpr):
            found |= dim.symbols()
    return found
