"""Fused kernels, described: what a `FusedStep` computes, without a trace of where in the graph it stands.

Owns `FusedKernel`. Invariants: adjacent dimensions that every array walks through evenly are one dimension, and
dimensions of 1 are none; kernels with equal keys do the same to their arguments, so they share one function.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Union

from janusjit.backend import cost
from janusjit.backend.address import Address, Addresses
from janusjit.backend.plan import FusedStep, Step, element_inputs, element_source, is_identity, reduced_axes
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Node, Value
from janusjit.pacing import pause

#: arrays whose elements are up to so many apart are loaded together with what lies between these
BESIDE = 4
#: operations that meet no floating-point error on zeros
_TOTAL = frozenset(
    {
        *("add", "subtract", "multiply", "square", "negative", "positive", "absolute", "maximum", "minimum", "where"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "exp", "sqrt", "sigmoid", "tanh"),
        *("logical_and", "logical_or", "logical_not", "isnan", "isinf", "isfinite", "sign", "clip", "cast"),
    }
)


@dataclass(frozen=True, slots=True)
class Element:
    """The current element of array ``number``."""

    number: int


@dataclass(frozen=True, slots=True)
class Argument:
    """Scalar argument ``number``."""

    number: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of instruction ``number``."""

    number: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; told from others by its text, in which 0.0 and -0.0 differ."""

    text: str
    dtype: str
    value: Any = field(compare=False)


Source = Union[Element, Argument, Outcome, Literal]


@dataclass(frozen=True)
class Instruction:
    """An elementwise operation on the current elements."""

    op: str
    attributes: dict[str, Any]
    sources: tuple[Source, ...]
    dtype: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What distinguishes it; attributes by their text, in which 0.0 and -0.0 differ, and 1 and True."""
        return (self.op, repr(sorted(self.attributes.items())), self.sources, self.dtype)


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction of ``source`` into array ``target``, which has stride 0 along the reduced dimensions."""

    kind: str
    source: Source
    target: int


@dataclass(frozen=True, slots=True)
class Size:
    """Extent argument ``number``."""

    number: int


@dataclass(frozen=True)
class Numbered:
    """Dimensions and strides of a kernel: known ones, and which extent argument each of the others is."""

    dims: tuple[int | Size, ...]
    strides: tuple[tuple[int | Size, ...], ...]
    extents: list[Dim]


@dataclass
class FusedKernel:
    """A loop nest.

    Attributes
    ----------
    dims : list of Dim
        The loops, outermost first.
    reduced : list of bool
        Which of them are reduced over.
    arrays : list of Address
        The arrays, and their strides along ``dims``.
    scalars : list of Value
        The scalar arguments.
    delay : int or None
        How many rows writing stays behind reading the array that is written, where neighbouring rows of it are read.
    open : bool
        Whether sizes are arguments even where they are known, so that kernels that differ in them share a function.
    is_streaming : bool
        Whether the arrays are known to be so large together that what is written should go past the caches.
    """

    dims: list[Dim]
    reduced: list[bool]
    arrays: list[Address] = field(default_factory=list)
    strides: list[list[Dim]] = field(default_factory=list)
    scalars: list[Value] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    stores: list[tuple[Source, int]] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)
    delay: int | None = None
    open: bool = False
    is_streaming: bool = False

    def numbered(self) -> Numbered:
        """Return dimensions and strides with those replaced that are arguments, and the arguments."""
        extents: list[Dim] = []

        def number(dim: Dim, known: bool) -> int | Size:
            if isinstance(dim, int) and known:
                return dim
            if self.open or dim not in extents:
                extents.append(dim)
            return Size(len(extents) - 1 if self.open else extents.index(dim))

        dims = tuple(number(dim, not self.open) for dim in self.dims)
        strides = tuple(
            tuple(number(stride, not self.open or stride in (0, item_size)) for stride in array)
            for array, item_size in zip(self.strides, (a.layout.item_size for a in self.arrays), strict=True)
        )
        return Numbered(dims, strides, extents)

    @property
    def dtypes(self) -> list[str]:
        """The element types of the arrays."""
        return [address.layout.dtype for address in self.arrays]

    @property
    def flat_dims(self) -> int:
        """How many of the innermost dimensions are reduced over as if they were one.

        NumPy reduces an array it has computed, which is contiguous, in one go; one it is given only where its strides
        allow, and then the dimensions have been merged.
        """
        if all(isinstance(reduction.source, Element) for reduction in self.reductions):
            return 1
        kept = [axis for axis, reduced in enumerate(self.reduced) if not reduced]
        return len(self.dims) - (kept[-1] + 1 if kept else 0)

    @property
    def is_total(self) -> bool:
        """Whether all operations are defined for zeros, and raise no flags for them."""
        return all(instruction.op in _TOTAL for instruction in self.instructions)

    @property
    def moves_one_element(self) -> bool:
        """Whether it stores numbers that are there, one in each array, and does nothing else."""
        return all(dim == 1 for dim in self.dims) and not self.instructions and not self.reductions

    def loaded(self) -> set[int]:
        """Return the numbers of the arrays whose elements are computed with or stored."""
        sources = [source for instruction in self.instructions for source in instruction.sources]
        sources += [source for source, _ in self.stores] + [reduction.source for reduction in self.reductions]
        return {source.number for source in sources if isinstance(source, Element)}

    def written(self) -> set[int]:
        """Return the numbers of the arrays that are written to."""
        return {number for _, number in self.stores} | {reduction.target for reduction in self.reductions}

    def beside(self) -> dict[int, tuple[int, int]]:
        """Return which arrays lie between the elements of another: that one, and how many bytes behind it they begin.

        Seen from one address, they are what is loaded together: ``x[::2]`` and ``x[1::2]``.
        """
        found: dict[int, tuple[int, int]] = {}
        written = self.written()
        first: dict[tuple[Any, ...], tuple[int, int]] = {}
        for number, (array, strides) in enumerate(zip(self.arrays, self.strides, strict=True)):
            step = strides[-1] if strides else 0
            if number in written or not isinstance(step, int) or step <= array.layout.item_size:
                continue
            known = sum(start * stride for start, stride in array.terms if isinstance(start, int))
            others = tuple(term for term in array.terms if not isinstance(term[0], int))
            if not isinstance(known, int):
                continue
            of_group = (id(array.storage), array.layout.dtype, tuple(strides), others)
            leader, begin = first.setdefault(of_group, (number, known))
            if leader != number and 0 < abs(known - begin) < step <= BESIDE * array.layout.item_size:
                found[number] = (leader, known - begin)
        return found

    def key(self) -> tuple[Any, ...]:
        """What distinguishes the kernel's function from others."""
        numbered = self.numbered()
        return (
            numbered.dims,
            tuple(self.reduced),
            numbered.strides,
            tuple(self.dtypes),
            tuple(value.type.dtype for value in self.scalars),
            tuple(instruction.key for instruction in self.instructions),
            tuple(self.stores),
            tuple(self.reductions),
            self.delay,
            self.is_streaming,
            tuple(self.beside().items()),
        )


def describe(
    steps: Iterable[FusedStep], addresses: Addresses, rows: Mapping[FusedStep, Dim], delays: Mapping[Step, int]
) -> dict[FusedStep, FusedKernel]:
    """Return the kernel of each step; elementwise kernels that differ in sizes only are open.

    ``rows`` says how long the first dimension is for a call, where that is not all of it, ``delays`` how many rows
    writing stays behind reading.
    """
    kernels = {}
    for step in steps:
        pause()
        kernel = kernels[step] = undivided(step, addresses)
        if step in rows:
            kernel.dims[0] = rows[step]
        else:
            kernel.is_streaming = _is_streaming(kernel)
        kernel.delay = delays.get(step)
        _simplify(kernel)
    variants: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
    elementwise = [kernel for kernel in kernels.values() if not kernel.reductions]
    for kernel in elementwise:
        variants.setdefault(replace(kernel, open=True).key(), set()).add(kernel.key())
    for kernel in elementwise:
        kernel.open = len(variants[replace(kernel, open=True).key()]) > 1
    return kernels


def undivided(step: FusedStep, addresses: Addresses) -> FusedKernel:
    """Return the kernel of a step with the step's own dimensions, none dropped, merged or moved."""
    return _Description(step, addresses).kernel


def _is_streaming(kernel: FusedKernel) -> bool:
    """Return whether a kernel goes through more than the caches hold."""
    total = 0
    for address, strides in zip(kernel.arrays, kernel.strides, strict=True):
        dims = [dim for dim, stride in zip(kernel.dims, strides, strict=True) if stride != 0]
        known = [dim for dim in dims if isinstance(dim, int)]
        total += math.prod(known) * address.layout.item_size if len(known) == len(dims) else 0
    return total > cost.streamed_bytes()


def copying(source: Address, target: Address) -> FusedKernel:
    """Return the kernel that copies one array to another, broadcast."""
    shape = target.layout.shape
    arrays = [source.broadcast(shape), target]
    kernel = FusedKernel(list(shape), [False] * len(shape), arrays, [list(a.layout.strides) for a in arrays])
    kernel.stores.append((Element(0), 1))
    _simplify(kernel)
    return kernel


class _Description:
    def __init__(self, step: FusedStep, addresses: Addresses) -> None:
        axes = step.axes or ()
        reduced = [axis in axes for axis in range(len(step.shape))]
        self.kernel = FusedKernel(list(step.shape), reduced)
        self._step, self._addresses = step, addresses
        self._sources: dict[Value, Source] = {}
        self._arrays: dict[Address, int] = {}
        stores = set(step.stores)
        for node in step.nodes:
            self._add(node)
            if node.result in stores:
                self._store(node)
        for node in step.reductions:
            self._reduce(node)

    def _source(self, value: Value) -> Source:
        known = self._sources.get(value)
        if known is None:
            if value.node is not None and value.node.op == "constant":
                constant = value.node.attributes["value"]
                known = Literal(repr(constant), value.type.dtype, constant)
            elif value.type.rank == 0:
                self.kernel.scalars.append(value)
                known = Argument(len(self.kernel.scalars) - 1)
            else:
                known = Element(self._array(self._addresses.of(value).broadcast(self._step.shape)))
            self._sources[value] = known
        return known

    def _array(self, address: Address) -> int:
        if address not in self._arrays:
            self._arrays[address] = len(self.kernel.arrays)
            self.kernel.arrays.append(address)
            self.kernel.strides.append(list(address.layout.strides))
        return self._arrays[address]

    def _add(self, node: Node) -> None:
        if node.op == "update" or is_identity(node):
            source = self._source(node.inputs[1] if node.op == "update" else element_source(node))
            if node.result in self._step.values:
                self._sources[node.result] = source
            return
        sources = tuple(self._source(value) for value in element_inputs(node))
        self.kernel.instructions.append(Instruction(node.op, node.attributes, sources, node.result.type.dtype))
        self._sources[node.result] = Outcome(len(self.kernel.instructions) - 1)

    def _store(self, node: Node) -> None:
        if node.op == "update":
            source = self._source(node.inputs[1])
            address = self._addresses.of_update(node)
        else:
            source, address = self._sources[node.result], self._addresses.of(node.result)
        self.kernel.stores.append((source, self._array(address.broadcast(self._step.shape))))

    def _reduce(self, node: Node) -> None:
        source = self._source(node.inputs[0])
        axes = reduced_axes(node)
        shape = self._step.shape
        kept = tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
        address = self._addresses.of_reduced(node.result, kept).broadcast(shape)
        target = len(self.kernel.arrays)
        self.kernel.arrays.append(address)
        self.kernel.strides.append([0 if axis in axes else s for axis, s in enumerate(address.layout.strides)])
        self.kernel.reductions.append(Reduction(node.op, source, target))


def _simplify(kernel: FusedKernel) -> None:
    """Drop dimensions of 1, order the others by memory, and merge those all arrays walk through as through one."""
    for axis in reversed(range(len(kernel.dims))):
        if kernel.dims[axis] == 1:
            _drop(kernel, axis)
    _order(kernel)
    for axis in reversed(range(len(kernel.dims) - 1)):
        inner = kernel.dims[axis + 1]
        alike = kernel.reduced[axis] == kernel.reduced[axis + 1] and (axis > 0 or kernel.delay is None)
        if alike and all(strides[axis] == strides[axis + 1] * inner for strides in kernel.strides):
            kernel.dims[axis + 1] = kernel.dims[axis] * inner
            _drop(kernel, axis)


def _order(kernel: FusedKernel) -> None:
    """Put dimension of larger strides outside, as NumPy's iterator does: where no array is against it."""
    targets = {reduction.target for reduction in kernel.reductions}
    voters = [strides for number, strides in enumerate(kernel.strides) if number not in targets]

    def is_inside(axis: int, other: int) -> bool:
        pairs = [(s[axis], s[other]) for s in voters if s[axis] != 0 and s[other] != 0]
        if not all(isinstance(stride, int) for pair in pairs for stride in pair):
            return False
        return bool(pairs) and all(abs(inner) < abs(outer) for inner, outer in pairs)  # type: ignore[arg-type]

    order: list[int] = []
    for axis in range(len(kernel.dims)):
        position = len(order)
        while position and is_inside(order[position - 1], axis):
            position -= 1
        order.insert(position, axis)
    kernel.dims = [kernel.dims[axis] for axis in order]
    kernel.reduced = [kernel.reduced[axis] for axis in order]
    kernel.strides = [[strides[axis] for axis in order] for strides in kernel.strides]


def _drop(kernel: FusedKernel, axis: int) -> None:
    del kernel.dims[axis], kernel.reduced[axis]
    for strides in kernel.strides:
        del strides[axis]
