"""``match``.

Owns the lowering of patterns to branches over temporaries. Invariants: the subject is evaluated once; names are bound
only after the whole pattern has matched, and before the guard runs (PEP 634, as CPython orders it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Block, Constant, Local
from janusjit.analysis.lower.branches import choose
from janusjit.analysis.lower.context import FALSE, NONE, TRUE, Lowering, statement

Bindings = dict[str, Atom]
Pattern = Callable[[Lowering, Any, Atom, Bindings], Atom]


@statement(cst.Match)
def lower_match(state: Lowering, node: cst.Match) -> None:
    """Lower ``match`` to nested branches, one a case."""
    subject = state.value(core.Move, node.subject, state.expression(node.subject))
    _cases(state, node.cases, subject)


def _cases(state: Lowering, cases: Sequence[cst.MatchCase], subject: Atom) -> None:
    if not cases:
        return
    case = cases[0]
    bindings: Bindings = {}
    matched = _pattern(state, case.pattern, subject, bindings)
    guard = case.guard
    if guard is not None:

        def bind_and_guard() -> Atom:
            _bind(state, case, bindings)
            return state.condition(guard)

        matched = choose(state, case.pattern, matched, bind_and_guard, lambda: FALSE)
    with state.into(Block()) as body:
        if guard is None:
            _bind(state, case, bindings)
        state.suite(case.body, body)
    with state.into(Block()) as rest:
        _cases(state, cases[1:], subject)
    state.emit(core.If, case.pattern, matched, body, rest)


def _bind(state: Lowering, case: cst.MatchCase, bindings: Bindings) -> None:
    for name, atom in bindings.items():
        state.store(case.pattern, name, atom)


def _pattern(state: Lowering, node: cst.CSTNode, subject: Atom, bindings: Bindings) -> Atom:
    """Emit the test of a pattern; return the atom that holds whether it matches."""
    lower = _PATTERNS.get(type(node))
    if lower is None:
        raise state.unsupported(node, f"the pattern {type(node).__name__} is not known")
    return lower(state, node, subject, bindings)


def _then(state: Lowering, node: cst.CSTNode, test: Atom, rest: Callable[[], Atom]) -> Atom:
    """Return ``test and rest()``; a test that always holds needs no branch."""
    if isinstance(test, Constant) and test.value is True:
        return rest()
    return choose(state, node, test, rest, lambda: FALSE)


def _all(state: Lowering, node: cst.CSTNode, parts: Sequence[Callable[[], Atom]]) -> Atom:
    if not parts:
        return TRUE
    first = parts[0]()
    if len(parts) == 1:
        return first
    return _then(state, node, first, lambda: _all(state, node, parts[1:]))


def _value(state: Lowering, node: cst.MatchValue, subject: Atom, bindings: Bindings) -> Atom:
    return state.value(core.Operate, node, "==", subject, state.expression(node.value))


def _singleton(state: Lowering, node: cst.MatchSingleton, subject: Atom, bindings: Bindings) -> Atom:
    return state.value(core.Operate, node, "is", subject, state.expression(node.value))


def _capture(state: Lowering, node: cst.MatchAs, subject: Atom, bindings: Bindings) -> Atom:
    matched = TRUE if node.pattern is None else _pattern(state, node.pattern, subject, bindings)
    if node.name is not None:
        bindings[node.name.value] = subject
    return matched


def _alternatives(state: Lowering, node: cst.MatchOr, subject: Atom, bindings: Bindings) -> Atom:
    names: dict[str, str] = {}
    return _alternative(state, node, [element.pattern for element in node.patterns], subject, bindings, names)


def _alternative(
    state: Lowering,
    node: cst.MatchOr,
    patterns: Sequence[cst.MatchPattern],
    subject: Atom,
    bindings: Bindings,
    names: dict[str, str],
) -> Atom:
    inner: Bindings = {}
    matched = _pattern(state, patterns[0], subject, inner)
    if not names:
        names.update({name: state.fresh() for name in inner})
        bindings.update({name: Local(temporary) for name, temporary in names.items()})

    def keep() -> Atom:
        for name, atom in inner.items():
            state.move(patterns[0], names[name], atom)
        return TRUE

    if len(patterns) == 1:
        return _then(state, patterns[0], matched, keep)

    def next_one() -> Atom:
        return _alternative(state, node, patterns[1:], subject, bindings, names)

    return choose(state, patterns[0], matched, keep, next_one)


def _sequence(state: Lowering, node: cst.MatchList | cst.MatchTuple, subject: Atom, bindings: Bindings) -> Atom:
    patterns = [item.value if isinstance(item, cst.MatchSequenceElement) else item for item in node.patterns]
    stars = [position for position, item in enumerate(patterns) if isinstance(item, cst.MatchStar)]
    is_sequence = state.value(core.Intrinsic, node, "is_sequence", (subject,))
    required = len(patterns) - len(stars)
    if stars and required == 0 and _is_wildcard(patterns[0]):
        return is_sequence

    def right_length() -> Atom:
        length = state.value(core.Intrinsic, node, "length", (subject,))
        test = state.value(core.Operate, node, ">=" if stars else "==", length, Constant(required))
        return _then(state, node, test, lambda: _items(state, node, patterns, stars, subject, bindings))

    return _then(state, node, is_sequence, right_length)


def _is_wildcard(pattern: cst.CSTNode) -> bool:
    if isinstance(pattern, cst.MatchStar):
        return pattern.name is None
    return isinstance(pattern, cst.MatchAs) and pattern.name is None and pattern.pattern is None


def _items(
    state: Lowering,
    node: cst.CSTNode,
    patterns: Sequence[cst.CSTNode],
    stars: Sequence[int],
    subject: Atom,
    bindings: Bindings,
) -> Atom:
    """Match the items: by index if the starred rest is unnamed, otherwise by unpacking, as CPython does."""
    if all(_is_wildcard(pattern) for pattern in patterns):
        return TRUE
    if stars and _is_wildcard(patterns[stars[0]]):
        atoms = [_indexed(state, node, subject, position, stars[0], len(patterns)) for position in range(len(patterns))]
        parts = [
            _lazy(state, pattern, atom, bindings)
            for pattern, atom in zip(patterns, atoms, strict=True)
            if not _is_wildcard(pattern)
        ]
        return _all(state, node, parts)
    targets = tuple(state.fresh() for _ in patterns)
    state.emit(core.Unpack, node, targets, stars[0] if stars else -1, subject)
    parts = []
    for pattern, target in zip(patterns, targets, strict=True):
        if isinstance(pattern, cst.MatchStar):
            if pattern.name is not None:
                bindings[pattern.name.value] = Local(target)
        else:
            parts.append(_lazy(state, pattern, partial(Local, target), bindings))
    return _all(state, node, parts)


def _indexed(
    state: Lowering, node: cst.CSTNode, subject: Atom, position: int, star: int, count: int
) -> Callable[[], Atom]:
    """Return what reads item ``position`` of a pattern whose unnamed star stands at ``star``."""

    def read() -> Atom:
        index: Atom = Constant(position)
        if position > star:
            length = state.value(core.Intrinsic, node, "length", (subject,))
            index = state.value(core.Operate, node, "-", length, Constant(count - position))
        return state.value(core.LoadItem, node, subject, index)

    return read


def _lazy(state: Lowering, pattern: cst.CSTNode, subject: Callable[[], Atom], bindings: Bindings) -> Callable[[], Atom]:
    return lambda: _pattern(state, pattern, subject(), bindings)


def _mapping(state: Lowering, node: cst.MatchMapping, subject: Atom, bindings: Bindings) -> Atom:
    is_mapping = state.value(core.Intrinsic, node, "is_mapping", (subject,))
    if not node.elements and node.rest is None:
        return is_mapping

    def long_enough() -> Atom:
        if not node.elements:
            return _values(state, node, Constant(()), subject, bindings)
        length = state.value(core.Intrinsic, node, "length", (subject,))
        test = state.value(core.Operate, node, ">=", length, Constant(len(node.elements)))
        return _then(state, node, test, keys)

    def keys() -> Atom:
        atoms = tuple(state.expression(element.key) for element in node.elements)
        wanted = state.value(core.Build, node, "tuple", atoms, (False,) * len(atoms))
        return _values(state, node, wanted, subject, bindings)

    return _then(state, node, is_mapping, long_enough)


def _values(state: Lowering, node: cst.MatchMapping, keys: Atom, subject: Atom, bindings: Bindings) -> Atom:
    found = state.value(core.Intrinsic, node, "match_keys", (subject, keys))
    present = state.value(core.Operate, node, "is not", found, NONE)

    def patterns() -> Atom:
        if node.rest is not None:
            rest = state.value(core.Intrinsic, node, "mapping_rest", (subject, keys))
            bindings[node.rest.value] = rest
        return _unpacked(state, node, [element.pattern for element in node.elements], found, bindings)

    return _then(state, node, present, patterns)


def _unpacked(
    state: Lowering, node: cst.CSTNode, patterns: Sequence[cst.CSTNode], values: Atom, bindings: Bindings
) -> Atom:
    """Match the patterns against the items of a tuple an intrinsic has made."""
    if not patterns:
        return TRUE
    targets = tuple(state.fresh() for _ in patterns)
    state.emit(core.Unpack, node, targets, -1, values)
    parts = [
        _lazy(state, pattern, partial(Local, target), bindings)
        for pattern, target in zip(patterns, targets, strict=True)
    ]
    return _all(state, node, parts)


def _class(state: Lowering, node: cst.MatchClass, subject: Atom, bindings: Bindings) -> Atom:
    kind = state.expression(node.cls)
    names = Constant(tuple(keyword.key.value for keyword in node.kwds))
    count = Constant(len(node.patterns))
    found = state.value(core.Intrinsic, node, "match_class", (subject, kind, count, names))
    present = state.value(core.Operate, node, "is not", found, NONE)
    patterns = [item.value for item in node.patterns] + [keyword.pattern for keyword in node.kwds]
    return _then(state, node, present, lambda: _unpacked(state, node, patterns, found, bindings))


_PATTERNS: dict[type, Pattern] = {
    cst.MatchValue: _value,
    cst.MatchSingleton: _singleton,
    cst.MatchAs: _capture,
    cst.MatchOr: _alternatives,
    cst.MatchList: _sequence,
    cst.MatchTuple: _sequence,
    cst.MatchMapping: _mapping,
    cst.MatchClass: _class,
}
