"""Windows that programs lay out by hand become windows.

Owns `find_windows`. Programs lay windows out as slices of an array, stored one by one beside each other, or as elements
at positions that index arrays give; what goes back is added to slices, or by ``np.add.at``. All of these are
`janusjit.ops.windows`, of which `janusjit.transform.convolutions` makes convolutions. Invariants: elements have the
bits they had; sums are added up in the program's order, or left alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from janusjit.ir.builder import carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.indexing import IndexItem, Pick, Range
from janusjit.pacing import pause
from janusjit.transform.dead_code import remove_dead_code
from janusjit.transform.facts import constant_of, pinned_nodes
from janusjit.transform.picked import Digit, Picked, Windows
from janusjit.transform.positions import AtPositions, Origin, Origins, known_sizes, separate_digits
from janusjit.transform.replacing import Maker, Replacement, replace_nodes

_STORING = frozenset({"update", "update_take", "gather", "take", "concatenate"})


def find_windows(graph: Graph) -> int:
    """Replace windows laid out by hand, and sums over them, by ``unfold`` and ``fold``; return how many."""
    if not any(node.op in _STORING and node.results[0].type.dtype in ("f32", "f64") for node in graph.walk()):
        return 0
    carried, pinned = carried_guards(graph), pinned_nodes(graph)
    unchanged: dict[Node, Replacement] = {
        node: _Unchanged() for node in graph.walk() if _stores_what_is_there(node) and node not in pinned
    }
    replace_nodes(graph.body, unchanged)
    remove_dead_code(graph)
    found = _Finder(list(graph.walk()), pinned).found()
    replace_nodes(graph.body, found)
    if found:
        drop_guards(graph, carried)
    return len(unchanged) + len(found)


# ---------------------------------------------------------------------- what stands for nodes


def _stores_what_is_there(node: Node) -> bool:
    """Return whether a node stores a part of an array where it is, as ``a[i] += b`` does in the end."""
    if node.op != "update" or (part := node.inputs[1].node) is None or part.op != "view":
        return False
    index = part.attributes["index"]
    return part.inputs == node.inputs[:1] and _index_of(node) == index


def _index_of(update: Node) -> tuple[IndexItem, ...] | None:
    """Return the index of the part that an update stores; None if it is no index of known positions."""
    path = update.attributes["path"]
    if len(path) != 1 or path[0].op != "view" or len(update.inputs) != 2:
        return None
    index: tuple[IndexItem, ...] = dict(path[0].attributes)["index"]
    return index


class _Unchanged:
    """What stands for a node that changes nothing: its first input."""

    @property
    def unwanted(self) -> tuple[Node, ...]:
        """See `Replacement`."""
        return ()

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        return node.inputs[0]


@dataclass(frozen=True)
class FoundWindows:
    """Windows of an array; those that are ``kept`` have memory of their own."""

    windows: Windows
    source: Value
    kept: bool
    unwanted: tuple[Node, ...] = ()

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        found = make.reshaped(self.windows.unfolded(make, self.source), node.result.type.shape)
        return make.emit("copy", found) if self.kept else found


@dataclass(frozen=True)
class FoundSum:
    """Windows that are added up, to zeros."""

    windows: Windows
    values: Value
    zero: Value
    kept: bool
    unwanted: tuple[Node, ...] = ()

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        found = self.windows.folded(make, self.values, self.zero)
        return make.emit("copy", found) if self.kept else found


def zero_all_over(value: Value) -> Value | None:
    """Return the zero that an array is full of, however arranged; None for any other array."""
    node = value.node
    while node is not None and node.op in ("copy", "transpose", "reshape", "broadcast"):
        node = node.inputs[0].node
    if node is None or node.op != "full" or (zero := constant_of(node.inputs[0])) != 0:
        return None
    return node.inputs[0] if math.copysign(1.0, zero) > 0 else None


# ---------------------------------------------------------------------- slices beside each other


@dataclass(frozen=True)
class _Slice:
    """A slice: which of those beside each other it is, and what is stored there."""

    place: tuple[int, ...]
    origin: Origin


class _Finder:
    def __init__(self, nodes: list[Node], pinned: set[Node]) -> None:
        self._nodes, self._pinned = nodes, pinned
        self._uses = Counter(value for node in nodes for value in node.inputs)
        self._origins, self._tried = Origins(), set[Node]()
        self._positions = AtPositions()

    def found(self) -> dict[Node, Replacement]:
        """Return what is found, by the node it stands for."""
        found: dict[Node, Replacement] = {}
        for node in reversed(self._nodes):
            pause()
            if len(node.results) != 1 or node.result.type.dtype not in ("f32", "f64") or node in self._tried:
                continue
            one = self._one(node)
            if one is not None:
                found[node] = one
        return found

    def _one(self, node: Node) -> Replacement | None:
        kept = node in self._pinned
        if node.op == "update":
            return self._stored(node, kept) or self._added(node, kept)
        if node.op == "concatenate":
            return self._joined(node, kept)
        is_picked = node.op == "gather" or (node.op == "take" and node.attributes["axis"] == 0)
        if is_picked and (picked := self._positions.picked(node.inputs[0], node.inputs[1:], node)):
            windows = Windows.of(picked)
            return None if windows is None else FoundWindows(windows, node.inputs[0], kept)
        if node.op != "update_take" or node.attributes["accumulate"] is not True:
            return None
        zero = zero_all_over(node.inputs[0])
        return None if zero is None else self._scattered(node, zero, kept)

    def _scattered(self, node: Node, zero: Value, kept: bool) -> Replacement | None:
        base, values, *positions = node.inputs
        picked = self._positions.picked(base, positions, node)
        if picked is None or math.prod(digit.length for digit in picked.digits) != values.type.size:
            return None
        windows = Windows.of(picked)
        windows = None if windows is None or not windows.is_whole() else windows.in_order()
        return None if windows is None else FoundSum(windows, values, zero, kept)

    # ------------------------------------------------------------------ chains

    def _chain(self, node: Node, uses: int, is_link: Callable[[Node], bool]) -> list[Node]:
        """Return updates of one array, one after the other, which nothing else looks at, up to one."""
        links: list[Node] = []
        while node.op == "update" and is_link(node) and (not links or self._uses[node.result] == uses):
            links.append(node)
            if (following := node.inputs[0].node) is None:
                break
            node = following
        if len(links) > 1:
            self._tried |= set(links[1:])
        return links[::-1]

    def _stored(self, node: Node, kept: bool) -> Replacement | None:
        """Return the windows that are stored slice by slice."""
        links = self._chain(node, 1, lambda link: _axes_of_place(link) is not None)
        if len(links) < 2:
            return None
        axes = _axes_of_place(links[0])
        slices = []
        for link in links:
            index, origin = _index_of(link), self._origins.of(link.inputs[1])
            if origin is None or _axes_of_place(link) != axes or index is None:
                return None
            slices.append(_Slice(tuple(item.start for item in index if isinstance(item, Pick)), origin))  # type: ignore[misc]
        assert axes is not None
        return _beside(node, axes, slices, kept)

    def _joined(self, node: Node, kept: bool) -> Replacement | None:
        """Return the windows that are joined slice by slice."""
        axis = node.attributes["axis"]
        if len(node.inputs) < 2 or any(value.type.shape[axis] != 1 for value in node.inputs):
            return None
        slices = []
        for number, value in enumerate(node.inputs):
            origin = self._origins.of(value)
            if origin is None:
                return None
            axes = (*origin.axes[:axis], *origin.axes[axis + 1 :])
            slices.append(_Slice((number,), Origin(origin.source, origin.starts, axes)))
        return _beside(node, (axis,), slices, kept)

    # ------------------------------------------------------------------ sums

    def _added(self, node: Node, kept: bool) -> Replacement | None:
        """Return the windows that are added up slice by slice, to zeros."""
        links = self._chain(node, 2, lambda link: self._addition(link) is not None)
        if len(links) < 2 or (zero := zero_all_over(links[0].inputs[0])) is None:
            return None
        slices, indices, unwanted = [], [], []
        for link in links:
            addition, index = self._addition(link), _index_of(link)
            assert addition is not None and index is not None
            view, added, value = addition
            origin = self._origins.of(value)
            if origin is None:
                return None
            slices.append(origin)
            indices.append(index)
            unwanted += [view, added, link]
        windows = _added_up(node, slices, indices)
        return None if windows is None else FoundSum(windows, slices[0].source, zero, kept, tuple(unwanted[:-1]))

    def _addition(self, link: Node) -> tuple[Node, Node, Value] | None:
        """Return what an update adds to a part of its array: the part, the sum, and what is added."""
        index, added = _index_of(link), link.inputs[1].node
        if index is None or added is None or added.op != "add" or self._uses[added.result] != 1:
            return None
        for part, value in (added.inputs, added.inputs[::-1]):
            view = part.node
            if view is None or view.op != "view" or view.inputs != link.inputs[:1] or self._uses[part] != 1:
                continue
            if view.attributes["index"] == index and value.type.shape == part.type.shape:
                return view, added, value
        return None


def _axes_of_place(update: Node) -> tuple[int, ...] | None:
    """Return the axes along which an update stores at one position, where it stores all there is along the others."""
    index, shape = _index_of(update), update.result.type.shape
    if index is None or any(not isinstance(item, Range | Pick) or not isinstance(item.start, int) for item in index):
        return None
    axes = tuple(axis for axis, item in enumerate(index) if isinstance(item, Pick))
    whole = [size for axis, size in enumerate(shape) if axis not in axes]
    if not axes or any(index[axis] != Range(0, size, 1) for axis, size in enumerate(shape) if axis not in axes):
        return None
    return axes if list(update.inputs[1].type.shape) == whole else None


def _grid(places: Sequence[tuple[int, ...]], starts: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> Any:
    """Return where each place's slice starts, as ``(*sizes, axes)``; None unless there is one slice for each place."""
    if len(places) != math.prod(sizes) or len(set(places)) != len(places):
        return None
    grid = np.zeros((*sizes, len(starts[0])), np.int64)
    for place, start in zip(places, starts, strict=True):
        if any(not 0 <= one < size for one, size in zip(place, sizes, strict=True)):
            return None
        grid[place] = start
    return grid


def _beside(node: Node, axes: tuple[int, ...], slices: Sequence[_Slice], kept: bool) -> FoundWindows | None:
    """Return the windows that slices beside each other along some axes are."""
    first, shape = slices[0].origin, known_sizes(node.result.type.shape)
    size = known_sizes(first.source.type.shape)
    if shape is None or size is None or first.source.type.dtype != node.result.type.dtype:
        return None
    if any(one.origin.source is not first.source or one.origin.axes != first.axes for one in slices):
        return None
    grid = _grid([one.place for one in slices], [one.origin.starts for one in slices], [shape[axis] for axis in axes])
    if grid is None or not size or (of_places := separate_digits(grid)) is None:
        return None
    stepped = {digit.axis for digits in of_places for digit in digits}
    within = math.prod(length for axis, length, _ in first.steps if axis in stepped)
    is_inner = len(slices) <= within
    digits: list[Digit] = []
    rest = iter(first.axes)
    for axis in range(len(shape)):
        if axis in axes:
            digits += [replace(digit, of_window=is_inner) for digit in of_places[axes.index(axis)]]
        else:
            digits += [Digit(*step, not is_inner if step[0] in stepped else None) for step in next(rest)]
    picked = Picked(size, tuple(grid[(0,) * len(axes)].tolist()), tuple(digits))
    windows = Windows.of(_without_hints(picked))
    return None if windows is None else FoundWindows(windows, first.source, kept)


def _added_up(node: Node, slices: Sequence[Origin], indices: Sequence[tuple[IndexItem, ...]]) -> Windows | None:
    """Return the windows that slices of an array are, which are added to parts of another."""
    first, shape, size = slices[0], known_sizes(node.result.type.shape), known_sizes(slices[0].source.type.shape)
    if shape is None or size is None or any(one.source is not first.source or one.axes != first.axes for one in slices):
        return None
    parts = [_part_of(index) for index in indices]
    if any(part is None or part[1] != parts[0][1] for part in parts):  # type: ignore[index]
        return None
    known = [part for part in parts if part is not None]
    along = [(axis, item) for axis, item in enumerate(known[0][1]) if item is not None]
    by_axis: dict[int, Digit] = {}
    for steps, (axis, (length, step)) in zip(first.axes, along, strict=True):
        if length != 1:
            if len(steps) != 1 or (steps[0][1], steps[0][2]) != (size[steps[0][0]], 1) or first.starts[steps[0][0]]:
                return None
            by_axis[steps[0][0]] = Digit(axis, length, step, False)
    axes = [axis for axis in range(len(size)) if axis not in by_axis]
    places = [tuple(one.starts[axis] for axis in axes) for one in slices]
    grid = _grid(places, [part[0] for part in known], [size[axis] for axis in axes])
    if grid is None or not size or (of_places := separate_digits(grid)) is None:
        return None
    digits: list[Digit] = []
    numbers: list[tuple[int, int, int]] = []  # for each digit of a place: the place's axis, its unit, its length
    for axis in range(len(size)):
        if axis in by_axis:
            digits.append(by_axis[axis])
            numbers.append((-1, 1, 1))
            continue
        unit = size[axis]
        for digit in of_places[axes.index(axis)]:
            unit //= digit.length
            digits.append(replace(digit, of_window=True))
            numbers.append((axes.index(axis), unit, digit.length))
    windows = Windows.of(_without_hints(Picked(shape, tuple(grid[(0,) * len(axes)].tolist()), tuple(digits))))
    if windows is None or not windows.is_whole():
        return None
    return windows.adding(
        [[0 if axis < 0 else place[axis] // unit % length for axis, unit, length in numbers] for place in places]
    )


def _part_of(index: Sequence[IndexItem]) -> tuple[tuple[int, ...], list[tuple[int, int] | None]] | None:
    """Return where a part begins, and for each axis how many elements it has and how far they are apart."""
    starts, steps = [], list[tuple[int, int] | None]()
    for item in index:
        if not isinstance(item, Range | Pick) or not isinstance(item.start, int):
            return None
        starts.append(item.start)
        if isinstance(item, Pick):
            steps.append(None)
        elif isinstance(item.length, int):
            steps.append((item.length, item.step))
        else:
            return None
    return tuple(starts), steps


def _without_hints(picked: Picked) -> Picked:
    """Return what is picked, without saying of axes that one digit steps along what kind it is."""
    counts = Counter(digit.axis for digit in picked.digits if digit.length > 1)
    digits = [digit if counts[digit.axis] > 1 else replace(digit, of_window=None) for digit in picked.digits]
    return replace(picked, digits=tuple(digits))
