"""Parts of windows, and the greatest elements and the sums of windows.

Owns `find_parts`. What is laid out as windows (``unfold``) is often needed in part: every second window of a pooling
layer, or every second element of a dilated one. That part is windows again, with other steps; and the greatest elements
of windows (``window_max``) need none of them laid out, nor do sums of small windows along an axis, which are sums of
slices. Invariants: elements are those that were selected, at their places; of equal elements any may be the greatest,
and NaN is greater than all; sums are added up in NumPy's order, and where errors are told of one by one they stay sums.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from janusjit.ir.builder import carried_guards, drop_guards
from janusjit.ir.floating_point import is_told_apart
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.indexing import Range
from janusjit.transform.dead_code import remove_dead_code
from janusjit.transform.facts import flags_guard, pinned_nodes, promises_mere_warnings
from janusjit.transform.picked import Digit
from janusjit.transform.replacing import Maker, Replacement, replace_nodes

#: sums of so many elements at most are sums of slices: each slice is read for itself
LARGEST_SUM = 32
#: so many running sums NumPy adds up in
_SIDE_BY_SIDE = 8


def find_parts(graph: Graph) -> int:
    """Have parts of windows laid out only, and nothing for the greatest elements of windows; return how many."""
    if not any(node.op == "unfold" for node in graph.walk()):
        return 0
    carried, pinned, guard = carried_guards(graph), pinned_nodes(graph), flags_guard(graph)
    told = promises_mere_warnings(graph) or (guard is not None and is_told_apart(guard))
    found: dict[Node, Replacement] = {}
    for node in graph.walk():
        one: Replacement | None = None
        if node not in pinned:
            one = _greatest(node) if node.op == "max" else _part(node)
            one = _total(node) if node.op == "sum" and not told else one
        if one is not None:
            found[node] = one
    if found:
        replace_nodes(graph.body, found)
        remove_dead_code(graph)
        drop_guards(graph, carried)
    return len(found)


@dataclass(frozen=True)
class _Part:
    """Some elements of windows: a digit of ``unfold``'s axes for each axis, and where it begins along these.

    Digits of one element that no axis is left of stand behind the others.
    """

    windows: Node
    starts: tuple[int, ...]
    digits: tuple[Digit, ...]

    @property
    def unwanted(self) -> tuple[Node, ...]:
        """See `Replacement`."""
        return ()

    @staticmethod
    def of(value: Value) -> _Part | None:
        """Return which elements of windows a value is, if it only selects and orders some; else None."""
        steps: list[Node] = []
        while (node := value.node) is not None and (node.op in ("copy", "transpose", "view") or _drops_ones(node)):
            steps.append(node)
            value = node.inputs[0]
        if node is None or node.op != "unfold" or any(node.attributes["padding"]):
            return None
        shape = node.result.type.shape
        if not all(isinstance(size, int) and size > 0 for size in (*shape, *node.inputs[0].type.shape)):
            return None
        starts = [0] * len(shape)
        digits = [Digit(axis, int(size), 1) for axis, size in enumerate(shape)]  # type: ignore[arg-type]
        hidden: list[Digit] = []
        for step in reversed(steps):
            if step.op == "reshape":
                hidden += [digit for digit in digits if digit.length == 1]
                long = iter([digit for digit in digits if digit.length != 1])
                ones = [size for size in step.result.type.shape if size == 1]
                if len(ones) > len(hidden):
                    return None
                digits = [hidden.pop(0) if size == 1 else next(long) for size in step.result.type.shape]
            elif step.op == "transpose":
                digits = [digits[axis] for axis in step.attributes["axes"]]
            elif step.op == "view":
                index = step.attributes["index"]
                if not all(_is_known(item) for item in index):
                    return None
                for place, (item, digit) in enumerate(zip(index, digits, strict=True)):
                    starts[digit.axis] += item.start * digit.step
                    digits[place] = Digit(digit.axis, item.length, digit.step * item.step)
        return _Part(node, tuple(starts), (*digits, *hidden))

    @property
    def _rank(self) -> int:
        """Along how many axes the windows are."""
        return len(self.windows.attributes["kernel"])

    @property
    def is_whole(self) -> bool:
        """Whether all elements of the windows are there."""
        shape = self.windows.result.type.shape
        return all(digit.length == shape[digit.axis] for digit in self.digits)

    @property
    def kernel_axes(self) -> set[int]:
        """The axes within windows."""
        return {place for place, digit in enumerate(self.digits) if 1 <= digit.axis <= self._rank}

    def order(self, axes: Sequence[int], without: Set[int] = frozenset()) -> list[int]:
        """Return which of some axes of windows each axis is, but for those left out."""
        return [list(axes).index(digit.axis) for place, digit in enumerate(self.digits) if place not in without]

    def source(self, make: Maker) -> tuple[Value, dict[str, Any]]:
        """Return the array that all of it is windows of, and the attributes of these windows."""
        rank, attributes = self._rank, self.windows.attributes
        digits = sorted(self.digits, key=lambda digit: digit.axis)
        kernel, output = digits[1 : 1 + rank], digits[2 + rank :]
        steps = list(zip(kernel, output, attributes["dilation"], attributes["stride"], strict=True))
        index = [self._range(digits[1 + rank]), self._range(digits[0])]
        for inner, outer, dilation, stride in steps:
            start = self.starts[inner.axis] * dilation + self.starts[outer.axis] * stride
            reach = (inner.length - 1) * inner.step * dilation + (outer.length - 1) * outer.step * stride
            index.append(Range(start, reach + 1))
        (x,) = self.windows.inputs
        if any(item != Range(0, size) for item, size in zip(index, x.type.shape, strict=True)):
            x = make.emit("view", x, index=tuple(index))
        return x, {
            "output": tuple(digit.length for digit in output),
            "kernel": tuple(digit.length for digit in kernel),
            "stride": tuple(outer.step * stride for _, outer, _, stride in steps),
            "padding": (0,) * rank,
            "dilation": tuple(inner.step * dilation for inner, _, dilation, _ in steps),
        }

    def _range(self, digit: Digit) -> Range:
        return Range(self.starts[digit.axis], digit.length, digit.step)

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        x, attributes = self.source(make)
        found = make.transposed(make.emit("unfold", x, **attributes), self.order(range(len(self.digits))))
        return make.reshaped(found, node.result.type.shape)


@dataclass(frozen=True)
class _OfPart:
    """What is computed of windows that are a part of others."""

    part: _Part

    @property
    def unwanted(self) -> tuple[Node, ...]:
        """See `Replacement`."""
        return ()


class _Greatest(_OfPart):
    """The greatest elements of windows that some elements of others are."""

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        x, attributes = self.part.source(make)
        rank = len(attributes["kernel"])
        found = make.emit("window_max", x, **attributes)
        order = self.part.order([1 + rank, 0, *range(2 + rank, 2 + 2 * rank)], self.part.kernel_axes)
        return make.reshaped(make.transposed(found, order), node.result.type.shape)


class _Total(_OfPart):
    """The sums of windows along one axis."""

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        x, attributes = self.part.source(make)
        (size,), (stride,), (dilation,) = (attributes[name] for name in ("kernel", "stride", "dilation"))
        (count,), shape = attributes["output"], x.type.shape
        kept = [axis for axis in (0, 1) if shape[axis] != 1]  # images and channels
        x = make.reshaped(x, [*(shape[axis] for axis in kept), shape[2]])
        others = [Range(0, shape[axis]) for axis in kept]
        places = range(0, size * dilation, dilation)
        slices = [make.emit("view", x, index=(*others, Range(place, count, stride))) for place in places]
        of_windows = [*(2 - 2 * axis for axis in kept), 3]
        order = [of_windows.index(digit.axis) for digit in self.part.digits if digit.axis in of_windows]
        found = make.transposed(_added_pairwise(make, slices), order)
        return make.reshaped(found, node.result.type.shape)


def _added_pairwise(make: Maker, values: Sequence[Value]) -> Value:
    """Emit additions of up to 128 values in the order of NumPy's pairwise summation."""
    whole = len(values) - len(values) % _SIDE_BY_SIDE
    sums, rest = list(values[:_SIDE_BY_SIDE]), list(values[whole:])
    if whole:
        for start in range(_SIDE_BY_SIDE, whole, _SIDE_BY_SIDE):
            sums = [make.emit("add", one, values[start + place]) for place, one in enumerate(sums)]
        while len(sums) > 1:
            sums = [make.emit("add", one, other) for one, other in zip(sums[::2], sums[1::2], strict=True)]
        sums += rest
    total = sums[0]
    for value in sums[1:]:
        total = make.emit("add", total, value)
    return make.emit("add", total, make.emit("constant", value=0.0, dtype=total.type.dtype))  # -0.0 becomes 0.0


def _total(node: Node) -> _Total | None:
    """Return the sums that a node makes, if those are of small windows along the last axis of what is summed."""
    (value,), dtype = node.inputs, node.result.type.dtype
    last, size = value.type.rank - 1, value.type.shape[-1]
    if tuple(node.attributes["axes"]) != (last,) or dtype not in ("f32", "f64") or value.type.dtype != dtype:
        return None
    part = _Part.of(value) if isinstance(size, int) and 1 < size <= LARGEST_SUM else None
    return None if part is None or part.kernel_axes != {last} else _Total(part)


def _drops_ones(node: Node) -> bool:
    """Return whether a node only leaves out axes with one element, or puts in such."""
    before = [size for size in node.inputs[0].type.shape if size != 1] if node.inputs else []
    return node.op == "reshape" and before == [size for size in node.result.type.shape if size != 1]


def _part(node: Node) -> _Part | None:
    """Return the windows that a part of others is."""
    if node.op != "view" or (part := _Part.of(node.result)) is None or part.is_whole:
        return None
    return part


def _greatest(node: Node) -> _Greatest | None:
    """Return the greatest elements that a node finds, if those are of windows."""
    part = _Part.of(node.inputs[0])
    return None if part is None or set(node.attributes["axes"]) != part.kernel_axes else _Greatest(part)


def _is_known(item: object) -> bool:
    """Return whether an item of an index is a range of elements that is known and goes forward."""
    if not isinstance(item, Range) or not isinstance(item.start, int) or not isinstance(item.length, int):
        return False
    return item.step > 0 and item.length > 0
