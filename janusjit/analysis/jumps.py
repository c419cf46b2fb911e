"""Jumps out of a statement that Python runs as a whole.

Owns what is known of them before they happen, and the variables that say afterwards which one was taken. Invariant:
what `RETURNED` names is what the statement returns, if it does: a ``finally`` that ends leaves there what it found, for
where a ``return`` in it has been overridden by an exception, what was returned before is returned after all.
"""

from __future__ import annotations

from collections.abc import Iterator

from janusjit.analysis.core import Block, Break, Continue, For, If, Instruction, Local, Return, Try, While
from janusjit.analysis.walk import blocks_of, walk

#: kind of jump → the variable that says whether it was taken, by the statement's site; the first that was counts
TAKEN: dict[str, str] = {"return": ".returns_{}", "break": ".breaks_{}", "continue": ".continues_{}"}
#: the variable that holds what is returned
RETURNED = ".returned_{}"
#: the variable that holds, in a ``finally`` with a ``return``, what was returned before; by the site of its ``try``
BEFORE = ".before_{}"


def jumps_of(statement: Try) -> frozenset[str]:
    """Return what leaves a statement: ``break``, ``continue``, ``return``."""
    return frozenset(_jumps(Block([statement]), False))


def _jumps(block: Block, looping: bool) -> Iterator[str]:
    for instruction in block.instructions:
        if isinstance(instruction, Return):
            yield "return"
        elif isinstance(instruction, Break | Continue):
            if not looping:
                yield "break" if isinstance(instruction, Break) else "continue"
        elif isinstance(instruction, For | While):
            yield from _jumps(instruction.body, True)
            yield from _jumps(instruction.orelse, looping)
        else:
            for inner in blocks_of(instruction):
                yield from _jumps(inner, looping)


def jumps_in(body: Block) -> frozenset[str]:
    """Return what leaves the body of a loop."""
    return frozenset(_jumps(body, False))


def variables_of(statement: Try) -> tuple[str, ...]:
    """Return the variables that say which jump was taken."""
    jumps = jumps_of(statement)
    names = [name.format(statement.site) for kind, name in TAKEN.items() if kind in jumps]
    return (*names, RETURNED.format(statement.site)) if "return" in jumps else tuple(names)


def after(statement: Try) -> Block:
    """Return a statement and, behind it, the jumps it has taken."""
    site, span = statement.site, statement.span
    leaving: dict[str, Instruction] = {
        "break": Break(site, span),
        "continue": Continue(site, span),
        "return": Return(site, span, Local(RETURNED.format(site))),
    }
    jumps = jumps_of(statement)
    asked = [
        If(site, span, Local(name.format(site)), Block([leaving[kind]]), Block())
        for kind, name in TAKEN.items()
        if kind in jumps
    ]
    return Block([statement, *asked])


def contains(statement: Instruction, kinds: tuple[type, ...]) -> bool:
    """Whether one of the instructions in a statement is of these kinds."""
    return any(isinstance(instruction, kinds) for instruction in walk(Block([statement])))
