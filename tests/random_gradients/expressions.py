"""Random differentiable expressions of known shapes, as source text.

Owns `Expressions`. Invariant: an expression has the shape asked for, is a smooth function of what it reads but for
kinks that random numbers do not hit, and does not change what it reads; what the package `autograd` cannot do sets
``foreign``.

Expressions are filled templates. In ``<oc>`` each letter stands for a dimension, so that is a matrix; ``<>`` is a
number, ``<oc'>`` a shallow expression, ``<#ro>`` as many positions as ``r`` says below ``o``, ``<~>`` a constant. A
template that begins with ``!`` is foreign.
"""

from __future__ import annotations

import random
import re

Shape = tuple[int, ...]

_TAME = [
    "np.tanh({})", "np.sin({})", "np.cos({})", "np.exp(-np.abs({}))", "np.log1p({} ** 2)", "np.sqrt({} ** 2 + 0.5)",
    "np.arctan({})", "1.0 / (1.0 + np.exp(-{}))", "0.7 * {}", "(-{})", "np.clip({}, -1.37, 1.41)", "np.abs({})",
    "np.logaddexp({}, 0.2)", "np.square({}) * 0.4", "np.maximum({}, 0.113)", "np.expm1(0.3 * {})", "np.sign({})",
    "({} - 0.31) ** 3 * 0.2",
]  # fmt: skip
_PAIRED = [
    "({} + {})", "({} - {})", "({} * {})", "({} / (2.0 + {} ** 2))", "np.maximum({}, {} + 0.053)", "({} * {} + 0.1)",
    "np.minimum({}, {} - 0.071)", "np.arctan2({}, 2.3 + {} ** 2)", "np.hypot({}, {} + 1.7)",
    "((1.1 + np.abs({})) ** (0.3 * {}))",
]  # fmt: skip
#: of a number; ``x`` is the shape of an array in scope
_NUMBERS = [
    "np.sum(<x>)", "np.mean(<x>)", "np.max(<x>)", "np.min(<x>)", "np.std(<3> + np.array([0.0, 7.0, 19.0]))",
    "np.var(<x>)", "0.1 * np.prod(<o>)",
    "np.log(np.sum(np.exp(<x>)) + 0.1)", "(<o> @ <o>)", "np.sqrt(np.dot(<o>, <o>) ** 2 + 0.3)", "<o>[-1]",
    "<rc>[0, -1]",
    "!np.linalg.norm(<o> + 2.3)", "!np.sin(float(np.sum(<o>)))", "!np.cos(math.tanh(np.mean(<x>)))",
    "!np.add.reduce(<o>)",
    "np.trace(<oo>)", "np.linalg.det(2.0 * np.eye(2) + 0.2 * np.tanh(<22>))", "<rc>.sum(axis=0)[0]", "<x>.mean()",
]  # fmt: skip
#: of a vector; ``n`` is its length
_VECTORS = [
    "np.sum(<on>, axis=0)", "np.mean(<on>, axis=0)", "np.max(<on>, axis=-2)", "np.min(<on>, axis=0)",
    "<no>.sum(axis=1)",
    "np.var(<on>, axis=(0,))", "np.prod(<on>, axis=0) * 0.2", "<no>.mean(axis=-1)", "<no>.max(axis=1)", "(<o> @ <on>)",
    "np.dot(<no>, <o>)", "<o>[<#no>]", "np.take(<o>, <#no>)", "<on>[0]", "<on>[-1, ::1]", "<no>[:, 0]",
    "np.array([<n*>])",
    "np.stack([<n*>])", "np.diagonal(<nn>)", "np.convolve(<n'>, <1'>)", "np.concatenate([<n'>[1:], <1>])",
    "np.linalg.solve(3.0 * np.eye(n) + 0.2 * np.tanh(<nn'>), <n'>)", "!np.pad(<n'>, 1)[1:-1]", "np.tile(<n'>, 2)[n:]",
    "np.einsum('ij,i->j', <on>, <o>)", "!np.interp(<n'>, [-2.0, 0.1, 2.0], <3'>)", "!np.median(<on>, axis=0)",
    "np.diff(<N'>)", "np.std(<2n> + np.array([[0.0], [9.0]]), axis=0)", "<on>.T.sum(axis=1)", "np.full(n, <>)",
    "(np.arange(n * 1.0) * <>)",
    "!np.average(<on>, axis=0, weights=<o> ** 2 + 0.5)", "np.where(<o>[0] > <~>, <n>, <n'>)", "np.cumsum(<N'>)[:-1]",
    "np.sum(<on>, axis=0, keepdims=True)[0]", "np.concatenate([<n'>[:0], <n>])",
    "(<n'>[:0, None] * <n>).sum(axis=0) + <n'>",
]  # fmt: skip
#: of a matrix of ``r`` rows and ``c`` columns
_MATRICES = [
    "np.outer(<r>, <c>)", "(<r>[:, None] + <c>[None, :])", "(<r>[:, None] * <c>)", "(<ro> @ <oc>)", "<cr>.T",
    "np.einsum('ik,kj->ij', <ro'>, <oc'>)", "<oc>[<#ro>]", "<ro>[:, <#co>]", "np.reshape(<V'>, (r, c))",
    "np.tril(<rc>)",
    "np.stack([<c'>] * r)", "np.broadcast_to(<c>, (r, c)) * <rc'>", "np.vstack([<1c'>] * r)", "np.transpose(<cr>)",
    "(<c> * np.ones((r, 1)))", "!np.multiply.outer(<r>, <c>)", "np.triu(<rc>, 1)", "(<rc'> - <rc'>.mean(axis=0))",
    "np.linalg.inv(3.0 * np.eye(r) + 0.2 * np.tanh(<rr'>)) @ <rc'>", "np.sum(<rc>, axis=1, keepdims=True) * <rc'>",
    "np.exp(<rc'>) / np.sum(np.exp(<rc'>), axis=1, keepdims=True)", "np.matmul(<2ro'>, <oc'>)[1]",
    "np.repeat(<1c>, r, axis=0)",
    "np.where(<r>[:, None] > <~>, <rc>, <c>)", "(<rc>.reshape(r, 1, c) * <2'>[:, None]).sum(axis=1)",
    "<2rc'>.mean(axis=0)",
]  # fmt: skip
#: of any array, of one of the same shape: ``axis`` is one of its axes, ``[S]`` takes a slice of that
_MOVED = [
    "<x>[::-1]", "np.roll(<x>, 1, axis=axis)", "np.cumsum(<x>, axis=axis)", "np.sort(<x>, axis=axis)",
    "np.flip(<x>, axis)",
    "np.reshape(np.ravel(<x>), shape)", "np.concatenate([<x'>[:0], <x>])", "np.repeat(<x>, 2, axis=0)[::2]",
    "!np.cumprod(<x>, axis=axis)", "np.where(<x> > <~>, <x>, <x'>)", "np.where(<x> < <x'>, <>, <x>)",
    "np.where(<> > 0.1, <x>, <x'>)",
    "np.stack([<x'>, <x>]).max(axis=0)", "np.squeeze(<x>[None], axis=0)", "np.expand_dims(<x>, 0)[0]", "<x>.copy()",
    "<x>.astype(float)",
    "np.zeros_like(<x'>) + <x>", "np.maximum.reduce([<x>, <x'>])",
]  # fmt: skip


class Expressions:
    """Draws expressions over the names in scope.

    Attributes
    ----------
    names : dict
        The shape of each name in scope.
    functions : list of str
        Functions that give an array of the shape of their first argument.
    foreign : bool
        Whether something was drawn that `autograd` has not, or has otherwise.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names: dict[str, Shape] = {}
        self.functions: list[str] = []
        self.foreign = False

    def constant(self) -> str:
        """Draw a number that no sum of other such numbers is equal to."""
        return f"{self.rng.uniform(-1.2, 1.2):.3f}"

    def named(self, shape: Shape) -> list[str]:
        """Return the names of arrays of a shape."""
        return [name for name, own in self.names.items() if own == shape]

    def expression(self, shape: Shape, depth: int) -> str:
        """Draw an expression."""
        if depth <= 0:
            return self._leaf(shape)
        kind = self.rng.random()
        if kind < 0.3:
            return self._fill(self.rng.choice(_TAME).replace("{}", "<x>"), {}, shape, depth - 1)
        if kind < 0.5:
            return self._paired(shape, depth - 1)
        if kind < 0.57 and self.functions:
            more = self.rng.choice(["", ", <~>", ", p=<>"])
            return self._fill(f"{self.rng.choice(self.functions)}(<x>{more})", {}, shape, depth - 1)
        if kind < 0.7 and shape:
            axis, text = str(self.rng.randrange(len(shape))), self.rng.choice(_MOVED)
            return self._fill(text.replace("=axis", f"={axis}").replace(", axis)", f", {axis})"), {}, shape, depth - 1)
        return self._shaped(shape, depth - 1)

    def condition(self, shape: Shape, depth: int) -> str:
        """Draw booleans."""
        return f"{self.expression(shape, depth)} {self.rng.choice(['<', '>', '>=', '<='])} {self.constant()}"

    def positions(self, count: int, below: int) -> str:
        """Draw positions."""
        return self.rng.choice(["{}", "np.array({})"]).format([self.rng.randrange(-below, below) for _ in range(count)])

    # ------------------------------------------------------------------ kinds of expressions

    def _leaf(self, shape: Shape) -> str:
        named = self.named(shape)
        if named and self.rng.random() < 0.85:
            return self.rng.choice(named)
        if not shape:
            vectors = [name for name, own in self.names.items() if len(own) == 1]
            name = self.rng.choice(vectors)
            return f"{name}[{self.rng.randrange(self.names[name][0])}]"
        if len(shape) == 1:
            text = self.rng.choice(["np.full({}, {})", "(np.arange({}.0) * {})", "np.array([{1}] * {0})"])
            return text.format(shape[0], self._leaf(()))
        rows = [f"{self._leaf(shape[1:])} * {self.constant()}" for _ in range(shape[0])]
        return f"np.stack([{', '.join(rows)}])"

    def _paired(self, shape: Shape, depth: int) -> str:
        other: Shape = shape
        if shape and self.rng.random() < 0.4:
            other = self.rng.choice([(), shape[1:], tuple(1 if self.rng.random() < 0.5 else size for size in shape)])
        pair = [self.expression(shape, depth), self.expression(other, depth)]
        self.rng.shuffle(pair)
        first, second, *rest = self.rng.choice(_PAIRED).split("{}")
        return first + pair[0] + second + pair[1] + "".join(rest)

    def _shaped(self, shape: Shape, depth: int) -> str:
        letters = {"o": self.rng.choice([1, 2, 3]), "1": 1, "2": 2, "3": 3}
        if not shape:
            source = self.rng.choice([own for own in self.names.values() if own])
            return self._fill(self.rng.choice(_NUMBERS), letters | {"r": 2, "c": 3}, source, depth)
        if len(shape) == 1:
            return self._fill(self.rng.choice(_VECTORS), letters | {"n": shape[0], "N": shape[0] + 1}, shape, depth)
        if len(shape) == 2:
            letters |= {"r": shape[0], "c": shape[1], "V": shape[0] * shape[1]}
            return self._fill(self.rng.choice(_MATRICES), letters, shape, depth)
        return self._leaf(shape)

    def _fill(self, template: str, letters: dict[str, int], shape: Shape, depth: int) -> str:
        """Fill a template, for a result of a shape or of an array of it."""
        if template.startswith("!"):
            self.foreign = True
            template = template[1:]

        def draw(match: re.Match[str]) -> str:
            sign, names, shallow = match.groups()
            if sign == "~":
                return self.constant()
            sizes = tuple(size for name in names for size in (shape if name == "x" else (letters[name],)))
            if sign == "#":
                return self.positions(*sizes)
            if shallow == "*":
                return ", ".join(self.expression((), depth - 1) for _ in range(sizes[0]))
            return self.expression(sizes, 0 if shallow else depth)

        text = re.sub(r"(?<=, )shape(?=\))", str(shape), template)
        text = re.sub(r"(?<=[(,\[* ])([a-zV])(?=[,)\]:* ])", lambda found: str(letters[found[1]]), text)
        text = re.sub(r"<([#~]?)(\w*)(['*]?)>", draw, text)
        return f"({text})" if " " in template else text
