"""Tapes: what a loop's backward pass finds again of each turn.

Owns the names of the tape operations. A tape is a stack of values beside the graph's SSA values; a *token* (``i64[]``)
is its height, and says of every operation on the tape which came before:

* ``tape_new`` gives the token of an empty tape; its number is the attribute ``tape`` of all its operations.
* ``tape_push`` takes a token and values, puts the values on top, and gives the new token.
* ``tape_pop`` takes a token and gives the one before, and the values of the push in between, whose types are the
  attribute ``types``.

Invariant: the pops of a tape undo its pushes, last first; a token is used by one operation, but for the one that is
pushed on and popped from in turn.
"""

from __future__ import annotations

TAPE_OPS = frozenset({"tape_new", "tape_push", "tape_pop"})
