"""Elements of an array picked at regular distances, as windows.

Owns `Picked`, which says that each axis of something picked steps along one axis of an array, what makes windows
(``unfold``) of that, and what adds up where they are from (``fold``). Invariant: elements are those that are picked, at
their places; what is not made of windows over one or two axes is left to others (None).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from janusjit.ir.graph import Value
from janusjit.ops.indexing import Range
from janusjit.transform.replacing import Arranger


@dataclass(frozen=True)
class Digit:
    """An axis of what is picked: so many elements, each ``step`` behind the one before along an axis of the array.

    ``of_window`` says that it steps within a window rather than from one to the next; None if that is not known.
    """

    axis: int
    length: int
    step: int
    of_window: bool | None = None


@dataclass(frozen=True)
class Picked:
    """What is picked of an array of a known shape: its first element's position, and an axis for each digit."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    digits: tuple[Digit, ...]

    def is_inside(self) -> bool:
        """Return whether every element picked is one of the array."""
        for axis, (size, start) in enumerate(zip(self.shape, self.starts, strict=True)):
            reach = [(digit.length - 1) * digit.step for digit in self.digits if digit.axis == axis]
            if start + sum(min(part, 0) for part in reach) < 0 or start + sum(max(part, 0) for part in reach) >= size:
                return False
        return all(digit.length > 0 for digit in self.digits)


@dataclass(frozen=True)
class _Axis:
    """A windowed axis: the numbers of its two digits."""

    axis: int
    inner: int
    outer: int


@dataclass(frozen=True)
class Windows:
    """Windows over one or two axes of an array, of which up to two others are images and channels."""

    picked: Picked
    axes: tuple[_Axis, ...]
    #: the numbers of the digits that are images and channels; None for one
    images: int | None
    channels: int | None

    @staticmethod
    def of(picked: Picked) -> Windows | None:
        """Return the windows that something picked is; None if it is something else."""
        if not picked.is_inside():
            return None
        by_axis: dict[int, list[int]] = {axis: [] for axis in range(len(picked.shape))}
        for number, digit in enumerate(picked.digits):
            if digit.length > 1:
                by_axis[digit.axis].append(number)
        windowed = [axis for axis, numbers in by_axis.items() if len(numbers) == 2]
        digits = picked.digits
        if len(windowed) not in (1, 2) or any(len(numbers) > 2 for numbers in by_axis.values()):
            return None
        if any(digits[number].step < 1 for axis in windowed for number in by_axis[axis]):
            return None
        others = [next(iter(by_axis[axis]), None) for axis in by_axis if axis not in windowed]
        if len(others) > 2:
            others = [number for number in others if number is not None]
        parts = _images_and_channels(others, digits, len(windowed))
        axes = _axes(picked, {axis: (by_axis[axis][0], by_axis[axis][1]) for axis in windowed})
        return None if parts is None else Windows(picked, axes, *parts)

    @property
    def geometry(self) -> dict[str, Any]:
        """The attributes of ``unfold`` and ``fold`` but for their sizes."""
        digits = self.picked.digits
        return {
            "kernel": tuple(digits[axis.inner].length for axis in self.axes),
            "stride": tuple(digits[axis.outer].step for axis in self.axes),
            "padding": (0,) * len(self.axes),
            "dilation": tuple(digits[axis.inner].step for axis in self.axes),
        }

    @property
    def output(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        return tuple(self.picked.digits[axis.outer].length for axis in self.axes)

    @property
    def _spans(self) -> tuple[int, ...]:
        """How many elements the windows reach over along each axis."""
        digits = self.picked.digits
        return tuple(
            1 + sum((digits[n].length - 1) * digits[n].step for n in (axis.inner, axis.outer)) for axis in self.axes
        )

    @property
    def _order(self) -> list[int]:
        """The numbers of the digits that ``unfold``'s axes are; -1 for one of length 1."""
        inner, outer = ([axis.inner for axis in self.axes], [axis.outer for axis in self.axes])
        channels, images = (-1 if number is None else number for number in (self.channels, self.images))
        return [channels, *inner, images, *outer]

    def _length(self, number: int | None) -> int:
        return 1 if number is None or number < 0 else self.picked.digits[number].length

    def unfolded(self, make: Arranger, x: Value) -> Value:
        """Return what is picked of ``x``: an axis for each digit."""
        images = self._part(make, x)
        found = make.emit("unfold", images, output=self.output, **self.geometry)
        order = self._order
        real = [number for number in order if number >= 0]
        found = make.reshaped(found, [self._length(number) for number in real])
        found = make.transposed(found, [real.index(number) for number in sorted(real)])
        return make.reshaped(found, [digit.length for digit in self.picked.digits])

    def _part(self, make: Arranger, x: Value) -> Value:
        """Return the part of an array that windows reach over: images, channels, and the axes they are along."""
        picked, spans = self.picked, {axis.axis: span for axis, span in zip(self.axes, self._spans, strict=True)}
        index: list[Range] = []
        for axis, start in enumerate(picked.starts):
            one = next((d for d in picked.digits if d.axis == axis and d.length > 1), None)
            if axis in spans:
                index.append(Range(start, spans[axis]))
            else:
                index.append(Range(start, 1) if one is None else Range(start, one.length, one.step))
        if any(item != Range(0, size) for item, size in zip(index, picked.shape, strict=True)):
            x = make.emit("view", x, index=tuple(index))
        order = self._axes_first()
        x = make.transposed(x, [*order, *(axis for axis in range(len(picked.shape)) if axis not in order)])
        return make.reshaped(x, [self._length(self.images), self._length(self.channels), *self._spans])

    def _axes_first(self) -> list[int]:
        """Return the axes of the array that are images, channels and what windows are along, in this order."""
        lead = [self.picked.digits[number].axis for number in (self.images, self.channels) if number is not None]
        return [*lead, *(axis.axis for axis in self.axes)]

    def is_whole(self) -> bool:
        """Return whether the other axes of the array are there as they are."""
        digits, shape = self.picked.digits, self.picked.shape
        windowed = {axis.axis for axis in self.axes}
        steps = {digit.axis: digit for digit in digits if digit.length > 1 and digit.axis not in windowed}
        for axis, size in enumerate(shape):
            one = steps.get(axis)
            if axis not in windowed and (size != 1 if one is None else (one.length, one.step) != (size, 1)):
                return False
        return all(start == 0 for axis, start in enumerate(self.picked.starts) if axis not in windowed)

    def in_order(self) -> Windows | None:
        """Return windows that are added up in the order of digits that come one after the other; None if none are.

        What an element is the sum of are elements of different places in a window: only their order counts.
        """
        inner, outer = ([getattr(axis, name) for axis in self.axes] for name in ("inner", "outer"))
        return self if inner == sorted(inner) and max(inner) < min(outer) else None

    def adding(self, sequence: Sequence[Sequence[int]]) -> Windows | None:
        """Return windows that are added up in the order of a sequence of positions along the digits; None if none are.

        Positions along digits that all come at once are 0.
        """
        for axes in (self.axes, self.axes[::-1]):
            last: dict[tuple[int, ...], tuple[int, ...]] = {}
            inner = [axis.inner for axis in axes]
            for positions in sequence:
                place = tuple(positions[number] for number in inner)
                rest = tuple(p for number, p in enumerate(positions) if number not in inner)
                if last.get(rest, ()) >= place and rest in last:
                    break
                last[rest] = place
            else:
                return replace(self, axes=axes)
        return None

    def folded(self, make: Arranger, values: Value, zero: Value) -> Value:
        """Return zeros of the array's shape, to which ``values``, an axis for each digit, are added in their places."""
        picked, order = self.picked, self._order
        long = [number for number, digit in enumerate(picked.digits) if digit.length > 1]
        real = [number for number in order if number >= 0]
        values = make.reshaped(values, [self._length(number) for number in long])
        values = make.transposed(values, [long.index(number) for number in real])
        values = make.reshaped(values, [self._length(number) for number in order])
        size = tuple(picked.shape[axis.axis] - picked.starts[axis.axis] for axis in self.axes)
        found = make.emit("fold", values, size=size, **self.geometry)
        first = self._axes_first()
        every = [*first, *(axis for axis in range(len(picked.shape)) if axis not in first)]
        starts = {axis.axis: picked.starts[axis.axis] for axis in self.axes}
        found = make.reshaped(found, [picked.shape[axis] - starts.get(axis, 0) for axis in every])
        found = make.transposed(found, [every.index(axis) for axis in range(len(every))])
        if not any(starts.values()):
            return found
        return make.emit("pad", found, zero, widths=tuple((starts.get(axis, 0), 0) for axis in range(len(every))))


def _images_and_channels(
    others: Sequence[int | None], digits: Sequence[Digit], rank: int
) -> tuple[int | None, int | None] | None:
    """Return which digits of axes without windows are images and channels: as is known of them, or in this order."""
    if len(others) > 2:
        return None
    of_window = [None if number is None else digits[number].of_window for number in others]
    if len(others) == 2:
        turned = of_window[0] is True or of_window[1] is False
        return (others[1], others[0]) if turned else (others[0], others[1])
    if not others:
        return None, None
    is_channels = of_window[0] is True or (of_window[0] is None and rank == 2)
    return (None, others[0]) if is_channels else (others[0], None)


def _axes(picked: Picked, pairs: dict[int, tuple[int, int]]) -> tuple[_Axis, ...]:
    """Return which digits of windowed axes step within a window; the axes are in the order of these digits."""
    digits, made = picked.digits, []
    for axis, (one, other) in pairs.items():
        inner = digits[one].of_window
        if inner is None:
            inner = digits[one].length < digits[other].length
        made.append(_Axis(axis, one, other) if inner else _Axis(axis, other, one))
    return tuple(sorted(made, key=lambda axis: axis.inner))
