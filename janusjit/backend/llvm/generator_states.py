"""The states of random number generators across a call.

Owns `GeneratorStates`, which saves the state of every generator that a graph draws from before the first draw, and puts
it back on the way out by which a call is given up. Invariant: Python then runs the call with the generators as they
were, and draws the numbers the graph drew.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from llvmlite import ir

from janusjit.backend.llvm.entry_frame import EntryFrame
from janusjit.backend.llvm.entry_places import PlaceReader, attribute
from janusjit.backend.llvm.generator_layout import BIT_GENERATOR, state_regions
from janusjit.backend.llvm.python_api import I8, I64, NULL, POINTER
from janusjit.backend.llvm.values import declare
from janusjit.errors import CompileError
from janusjit.ir.places import AttributePlace, Place

Restore = Callable[[ir.IRBuilder], None]

_GAUSS = "gauss_next"  # of ``random.Random``, an attribute


class GeneratorStates:
    """Emits saving, and restoring at the frame's deoptimizing way out.

    Parameters
    ----------
    frame : EntryFrame
        The activation.
    places : PlaceReader
        Holds the generators, whose types guards have established.
    """

    def __init__(self, frame: EntryFrame, places: PlaceReader) -> None:
        self._frame = frame
        self._places = places

    def save(self, place: Place) -> None:
        """Emit the saving of the generator at a place, and the restoring of it when the call is given up."""
        owner = self._places.read(place)
        bits = self._places.known(AttributePlace(place, BIT_GENERATOR))
        if owner.type_ is None:
            raise CompileError("backend.input", f"no guard vouches for the generator at {place}")
        types = owner.type_, None if bits is None else bits.type_
        for restore in self._copies(owner.value, NULL if bits is None else bits.value, *types):
            self._frame.on_failure(restore)

    def copy(self, owner: ir.Value, types: tuple[type, type | None]) -> list[Restore]:
        """Emit a copy of the state of a generator; return what emits the restoring, where the copy dominates."""
        frame = self._frame
        bits = NULL
        if types[1] is not None:
            bits = attribute(frame.api, frame.builder, owner, frame.api.object(frame.builder, BIT_GENERATOR))
        made = self._copies(owner, bits, *types)
        frame.api.decref_unless_null(frame.builder, bits)  # the generator keeps it
        return made

    def _copies(self, owner: ir.Value, bits: ir.Value, type_: type, bits_type: type | None) -> list[Restore]:
        api, builder = self._frame.api, self._frame.builder
        made = []
        for region in state_regions(type_, bits_type):
            holder = bits if region.in_bits else owner
            made.append(self._copy_bytes(api.address(builder, holder, region.offset), region.size))
        if type_ is random.Random:
            made.append(self._copy_attribute(owner))
        return made

    def _copy_bytes(self, memory: ir.Value, size: int) -> Restore:
        frame = self._frame
        where = self._pointer()
        copy = frame.scratch(ir.ArrayType(I8, size))
        move = declare(frame.api.module, "memcpy", POINTER, [POINTER, POINTER, I64])
        frame.builder.call(move, [copy, memory, ir.Constant(I64, size)])
        frame.builder.store(memory, where)

        def restore(builder: ir.IRBuilder) -> None:
            target = builder.load(where, typ=POINTER)
            with builder.if_then(builder.icmp_unsigned("!=", target, NULL)):
                builder.call(move, [target, copy, ir.Constant(I64, size)])

        return restore

    def _copy_attribute(self, owner: ir.Value) -> Restore:
        frame = self._frame
        api, where, kept = frame.api, self._pointer(), frame.hold_in_body()
        api.decref_unless_null(frame.builder, frame.builder.load(kept, typ=POINTER))  # of the previous turn of a loop
        frame.builder.store(attribute(api, frame.builder, owner, api.object(frame.builder, _GAUSS)), kept)
        frame.builder.store(owner, where)

        def restore(builder: ir.IRBuilder) -> None:
            target, value = builder.load(where, typ=POINTER), builder.load(kept, typ=POINTER)
            known = builder.and_(*(builder.icmp_unsigned("!=", pointer, NULL) for pointer in (target, value)))
            with builder.if_then(known):
                status = api.call(builder, "PyObject_SetAttr", target, api.object(builder, _GAUSS), value)
                with builder.if_then(api.error(builder, status), likely=False):
                    api.call(builder, "PyErr_Clear")

        return restore

    def _pointer(self) -> ir.Value:
        """Return a slot that is null until something was saved."""
        slot = self._frame.scratch(POINTER)
        with self._frame.builder.goto_entry_block():
            self._frame.builder.store(NULL, slot)
        return slot
