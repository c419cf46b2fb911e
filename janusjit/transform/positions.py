"""Which elements of an array something is made of.

Owns `Origins`, which follows views back to an array, and `digits_of`, which finds regular distances in positions.
Invariant: what is said holds for every element.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from janusjit.ir.graph import Node, Value
from janusjit.ops.indexing import IndexItem, NewAxis, Range
from janusjit.transform.constant_arrays import ConstantArrays
from janusjit.transform.picked import Digit, Picked

#: views of views are followed so far back
_DEPTH = 16

#: an axis: along which of the array's it steps, how many elements it has, and how far they are apart
Step = tuple[int, int, int]


@dataclass(frozen=True)
class Origin:
    """Where the elements of a view are: the array, the first one's position, and for each axis the steps it is of."""

    source: Value
    starts: tuple[int, ...]
    axes: tuple[tuple[Step, ...], ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all axes, in order."""
        return tuple(step for axis in self.axes for step in axis)


class Origins:
    """Follows views back to the arrays they are of."""

    def __init__(self) -> None:
        self._known: dict[Value, Origin] = {}

    def of(self, value: Value) -> Origin | None:
        """Return where the elements of a value are; None if its sizes are not known."""
        chain = [value]
        while chain[-1] not in self._known and (node := chain[-1].node) is not None and _is_followed(node):
            if len(chain) == _DEPTH:
                return None
            chain.append(node.inputs[0])
        for item in reversed(chain):
            if item not in self._known:
                found = self._found(item)
                if found is None:
                    return None
                self._known[item] = found
        return self._known[value]

    def _found(self, value: Value) -> Origin | None:
        sizes = known_sizes(value.type.shape)
        if sizes is None:
            return None
        whole, node = _whole(value, sizes), value.node
        if node is None or not _is_followed(node):
            return whole
        inner = self._known[node.inputs[0]]
        if node.op == "transpose":
            return Origin(inner.source, inner.starts, tuple(inner.axes[axis] for axis in node.attributes["axes"]))
        if node.op == "reshape":
            axes = _regrouped(inner.steps, sizes)
            return whole if axes is None else Origin(inner.source, inner.starts, axes)
        index, before = node.attributes["index"], known_sizes(node.inputs[0].type.shape)
        assert before is not None
        return _indexed(inner, index) or _indexed(_whole(node.inputs[0], before), index) or whole


def known_sizes(shape: Sequence[Any]) -> tuple[int, ...] | None:
    """Return a shape whose sizes are all known and not 0; None for any other."""
    return tuple(shape) if all(isinstance(size, int) and size > 0 for size in shape) else None


def _whole(value: Value, sizes: Sequence[int]) -> Origin:
    return Origin(value, (0,) * len(sizes), tuple(((axis, size, 1),) for axis, size in enumerate(sizes)))


def _is_followed(node: Node) -> bool:
    return node.op in ("view", "transpose", "reshape") and len(node.inputs) == 1


def _regrouped(steps: Sequence[Step], shape: Sequence[int]) -> tuple[tuple[Step, ...], ...] | None:
    """Return the steps of each axis of a reshape; None if it divides one."""
    left = [step for step in steps if step[1] != 1]
    axes = []
    for size in shape:
        group: list[Step] = []
        while math.prod(step[1] for step in group) != size:
            if not left:
                return None
            group.append(left.pop(0))
        axes.append(tuple(group))
    return None if left else tuple(axes)


def _indexed(inner: Origin, index: Sequence[IndexItem]) -> Origin | None:
    starts, axes = list(inner.starts), list[tuple[Step, ...]]()
    rest = iter(inner.axes)
    for item in index:
        if isinstance(item, NewAxis):
            axes.append(())
            continue
        steps = next(rest)
        if item == Range(0, math.prod(step[1] for step in steps), 1):
            axes.append(steps)
            continue
        if len(steps) != 1 or not isinstance(item.start, int):
            return None
        ((axis, _, step),) = steps
        starts[axis] += item.start * step
        if isinstance(item, Range):
            if not isinstance(item.length, int):
                return None
            axes.append(((axis, item.length, step * item.step),))
    return Origin(inner.source, tuple(starts), tuple(axes))


def digits_of(positions: Any) -> list[tuple[int, tuple[int, ...]]] | None:
    """Return regular distances in a sequence of positions: ``(how many, how far along each axis)``, slowest first.

    Parameters
    ----------
    positions : ndarray, shape (count, axes)
        Relative to the first.

    Returns
    -------
    list or None
        None if there are none.
    """
    digits: list[tuple[int, tuple[int, ...]]] = []
    while len(positions) > 1:
        step = positions[1]
        regular = (positions == np.arange(len(positions))[:, None] * step).all(axis=1)
        run = len(positions) if regular.all() else int(np.argmin(regular))
        if len(positions) % run:
            return None
        blocks = positions.reshape(-1, run, positions.shape[1])
        if not (blocks - blocks[:, :1] == blocks[0]).all():
            return None
        digits.insert(0, (run, tuple(step.tolist())))
        positions = blocks[:, 0]
    return digits


def separate_digits(grid: Any) -> list[list[Digit]] | None:
    """Return the digits of each axis of a grid of positions, whose last axis is an array's axes; None if it has none.

    Positions have to be sums of what each of the grid's axes contributes.
    """
    rank = grid.ndim - 1
    first = grid[(0,) * rank]
    found, together = [], np.zeros_like(grid) + first
    for axis in range(rank):
        line = grid[(0,) * axis + (slice(None),) + (0,) * (rank - axis - 1)] - first
        together += line.reshape((1,) * axis + (len(line),) + (1,) * (rank - axis - 1) + (grid.shape[-1],))
        digits = _digits(line)
        if digits is None:
            return None
        found.append(digits)
    return found if (together == grid).all() else None


def _digits(line: Any) -> list[Digit] | None:
    found = []
    for length, step in digits_of(line) or ([] if len(line) == 1 else [(0, ())]):
        axes = [axis for axis, distance in enumerate(step) if distance]
        if len(axes) != 1:
            return None
        found.append(Digit(axes[0], length, step[axes[0]]))
    return found


class AtPositions:
    """What is picked of arrays by arrays of positions that are the same in every run."""

    def __init__(self) -> None:
        self._constants = ConstantArrays()

    def picked(self, array: Value, indices: Sequence[Value], node: Node) -> Picked | None:
        """Return what a node picks of an array, a digit at least for each axis; None if it is not known."""
        shape, axes = known_sizes(array.type.shape), node.attributes.get("axes") or (node.attributes["axis"],)
        if shape is None or any(known_sizes(index.type.shape) is None for index in indices):
            return None
        positions = [self._constants.of(index) for index in indices]
        if any(item is None for item in positions):
            return None
        rank = max(item.ndim for item in positions)
        starts, lines = [0] * len(shape), _Lines(rank, len(shape))
        for axis, item in zip(axes, positions, strict=True):
            item = item.reshape((1,) * (rank - item.ndim) + item.shape)
            if item.min() < 0:
                item = item + shape[axis]
            if item.min() < 0 or item.max() >= shape[axis] or not lines.add(axis, item):
                return None
            starts[axis] = int(item[(0,) * rank])
        by_axis = lines.digits()
        if by_axis is None:
            return None
        rest = [Digit(axis, size, 1) for axis, size in enumerate(shape) if axis not in axes]
        return Picked(shape, tuple(starts), (*_with_hints(by_axis), *rest))


class _Lines:
    """What each axis of some index arrays contributes to the positions along each axis of an array."""

    def __init__(self, rank: int, axes: int) -> None:
        self._rank, self._axes = rank, axes
        self._lines: list[dict[int, Any]] = [{} for _ in range(rank)]
        self._lengths = [1] * rank

    def add(self, axis: int, positions: Any) -> bool:
        """Add the positions along an axis; return whether they are sums of what each axis contributes."""
        first = positions[(0,) * self._rank]
        together = first
        for number in range(self._rank):
            line = positions[(0,) * number + (slice(None),) + (0,) * (self._rank - number - 1)] - first
            together = together + line.reshape((-1,) + (1,) * (self._rank - number - 1))
            self._lines[number][axis] = line
            self._lengths[number] = max(self._lengths[number], len(line))
        return bool((together == positions).all())

    def digits(self) -> list[list[Digit]] | None:
        """Return the digits of each axis of the index arrays."""
        found = []
        for length, lines in zip(self._lengths, self._lines, strict=True):
            line = np.zeros((length, self._axes), np.int64)
            for axis, one in lines.items():
                line[:, axis] = one
            digits = _digits(line)
            if digits is None:
                return None
            found.append(digits)
        return found


def _with_hints(by_axis: Sequence[Sequence[Digit]]) -> list[Digit]:
    """Return digits, those together on one of two axes said to step within a window, if it has fewer elements."""
    counts = Counter(digit.axis for digits in by_axis for digit in digits)
    sizes = {
        number: math.prod(digit.length for digit in digits if counts[digit.axis] == 2)
        for number, digits in enumerate(by_axis)
        if any(counts[digit.axis] == 2 for digit in digits)
    }
    hints: dict[int, bool] = {}
    if len(sizes) == 2:
        inner = min(sizes, key=lambda number: sizes[number])
        hints = {number: number == inner for number in sizes}
    return [replace(digit, of_window=hints.get(number)) for number, digits in enumerate(by_axis) for digit in digits]
