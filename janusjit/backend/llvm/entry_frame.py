"""One activation of an entry function: its ways out, and the references it holds.

Owns the status block and the `EntryFrame` through which prologue, body and exits of an entry function share one stack
frame. Invariant: every way out releases exactly the references held at that point, because code is emitted in an order
in which a later block is dominated by the holds emitted before it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir

from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.python_api import I32, I64, NULL, POINTER, VOID, PythonApi, opaque
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.errors import CompileError

STATUS_BLOCK = "status"

NOT_FAILED = -1
FAILED_MEMORY = -2  #: an object to be returned or stored could not be made
FAILED_PLACE = -3  #: a place no guard vouches for could not be read
FAILED_ARGUMENT_COUNT = -4
RAISED = -5  #: an effect raised: the exception is the caller's
IN_GRAPH = 1_000_000  #: in-graph guard ``j`` is reported as ``IN_GRAPH + j``


_HELD_SHIFT, _BOXED_SHIFT = 32, 48


class Status(ctypes.Structure):
    """What the compiled code counts, in the memory it writes.

    Attributes
    ----------
    hits : int
        Calls that went through to an exit.
    failed : int
        Why the last call that did not was given up: an index in ``graph.guards.entry``, or `IN_GRAPH` plus an index in
        ``graph.guards.in_graph``, or a negative ``FAILED_…`` constant; `NOT_FAILED` when the last call succeeded.
    """

    _fields_ = [("hits", ctypes.c_int64), ("failed", ctypes.c_int64)]
    hits: int
    failed: int


class EntryFrame:
    """The activation of ``PyObject *entry(PyObject *self, PyObject *const *arguments, Py_ssize_t count)``.

    Parameters
    ----------
    api : PythonApi
        The C API of the module the function is added to.
    name : str
        Symbol of the function.
    deoptimized : object
        What the function returns when a guard fails.

    Notes
    -----
    References are held in three places: by the prologue, a growing prefix of slots; by the body (`hold_in_body`), slots
    that are null until used, so any way out may release them; and by the exit being emitted (`hold_box`), again a
    growing prefix, shared by all exits because only one is taken.
    """

    def __init__(self, api: PythonApi, name: str, deoptimized: object) -> None:
        self.api = api
        self.function = ir.Function(api.module, ir.FunctionType(POINTER, [POINTER, POINTER, I64]), name)
        self.function.attributes.add("nounwind")
        _, self.arguments, self.count = self.function.args
        self.builder = PacedBuilder(self.function.append_basic_block("entry"))
        self._slot_storage = self.builder.alloca(ir.ArrayType(POINTER, 0), name="held")
        self._box_storage = self.builder.alloca(ir.ArrayType(POINTER, 0), name="boxes")
        self._slots, self._boxes = opaque(self._slot_storage), opaque(self._box_storage)
        self._used, self.boxed, self._most_boxed = 0, 0, 0
        self._in_body = False
        self._final_count = ir.Constant(I64, 0)
        self._body_failures: list[ir.Constant] = []
        self._restorers: list[Callable[[ir.IRBuilder], None]] = []
        self._deoptimized = deoptimized
        status = ir.GlobalVariable(api.module, ir.ArrayType(I64, 2), STATUS_BLOCK)
        status.initializer = ir.Constant(status.value_type, [0, NOT_FAILED])
        self._status = opaque(status)
        self._fail_block = self.function.append_basic_block("deoptimize")
        self._failure = ir.IRBuilder(self._fail_block).phi(I64, "failure")

    @contextmanager
    def at(self, builder: ir.IRBuilder) -> Iterator[None]:
        """Emit with another builder of the same function for a while."""
        mine, self.builder = self.builder, builder
        yield
        self.builder = mine

    def scratch(self, type_: ir.Type) -> ir.Value:
        """Return a stack slot of ``type_``, allocated once in the entry block."""
        with self.builder.goto_entry_block():
            return opaque(self.builder.alloca(type_))

    def hold(self, reference: ir.Value) -> None:
        """Take over a new reference (or null) in the prologue: every way out emitted after this releases it."""
        self.builder.store(reference, self._slot())

    def begin_body(self) -> None:
        """End the prologue: from here on ways out release whatever slots are in use in the end."""
        self._in_body = True

    def hold_in_body(self) -> ir.Value:
        """Return a slot, null at first, for a reference to be released on every way out."""
        slot = self._slot()
        with self.builder.goto_entry_block():
            self.builder.store(NULL, slot)
        return slot

    def _slot(self) -> ir.Value:
        with self.builder.goto_entry_block():
            address = self.api.address(self.builder, self._slots, 8 * self._used)
        self._used += 1
        return address

    def begin_exit(self) -> None:
        """Begin an exit: no box is held yet."""
        self.boxed = 0

    def hold_box(self, reference: ir.Value) -> None:
        """Take over a new reference in an exit: every later way out of this exit releases it."""
        self.builder.store(reference, self.api.address(self.builder, self._boxes, 8 * self.boxed))
        self.boxed += 1
        self._most_boxed = max(self._most_boxed, self.boxed)

    def fail(self, number: int) -> None:
        """Emit a jump to the deoptimizing way out, and end the block."""
        self._note_failure(number)
        self.builder.branch(self._fail_block)

    def fail_if(self, condition: ir.Value, number: int) -> None:
        """Emit: give the call up for reason ``number`` if ``condition`` holds, else go on."""
        self._note_failure(number)
        going_on = self.builder.append_basic_block()
        branch = self.builder.cbranch(condition, self._fail_block, going_on)
        branch.set_weights([1, 1_000_000])
        self.builder.position_at_end(going_on)

    def fail_unless(self, condition: ir.Value, number: int) -> None:
        """Emit: give the call up for reason ``number`` unless ``condition`` holds."""
        self._note_failure(number)
        going_on = self.builder.append_basic_block()
        branch = self.builder.cbranch(condition, going_on, self._fail_block)
        branch.set_weights([1_000_000, 1])
        self.builder.position_at_end(going_on)

    def _note_failure(self, number: int) -> None:
        """One word says it all: 32 bits reason, 16 bits how many slots are held, 16 bits how many boxes."""
        failure = ir.Constant(I64, (number & 0xFFFFFFFF) | self.boxed << _BOXED_SHIFT)
        if self._in_body:
            self._body_failures.append(failure)  # how many are held is known in the end only
        else:
            failure.constant |= self._used << _HELD_SHIFT
        self._failure.add_incoming(failure, self.builder.block)

    def on_failure(self, restore: Callable[[ir.IRBuilder], None]) -> None:
        """Let ``restore`` emit code into the way out by which a call is given up, before any reference is released."""
        self._restorers.append(restore)

    def return_result(self, result: ir.Value) -> None:
        """Emit the successful way out with a new reference."""
        self._release(self.builder, self._final_count, ir.Constant(I64, self.boxed))
        hits = self.api.address(self.builder, self._status, 0)
        self.builder.store(self.builder.add(self.builder.load(hits, typ=I64), ir.Constant(I64, 1)), hits)
        self.builder.store(ir.Constant(I64, NOT_FAILED), self.api.address(self.builder, self._status, 8))
        self.builder.ret(result)

    def finish(self) -> None:
        """Emit the deoptimizing way out and settle the size of the frame. Nothing may be held afterwards."""
        self._slot_storage.allocated_type = ir.ArrayType(POINTER, max(self._used, 1))
        self._box_storage.allocated_type = ir.ArrayType(POINTER, max(self._most_boxed, 1))
        if max(self._used, self._most_boxed) >= 1 << _BOXED_SHIFT - _HELD_SHIFT:
            raise CompileError("backend.frame", f"an entry holds {self._used} references, more than a failure can tell")
        self._final_count.constant = self._used
        for failure in self._body_failures:
            failure.constant |= self._used << _HELD_SHIFT
        builder = ir.IRBuilder(self._fail_block)
        number = builder.sext(builder.trunc(self._failure, I32), I64)
        if self._restorers:
            with builder.if_then(builder.icmp_signed("!=", number, ir.Constant(I64, RAISED))):
                for restore in self._restorers:
                    restore(builder)
        held = builder.lshr(self._failure, ir.Constant(I64, _HELD_SHIFT))
        held = builder.and_(held, ir.Constant(I64, (1 << _BOXED_SHIFT - _HELD_SHIFT) - 1))
        self._release(builder, held, builder.lshr(self._failure, ir.Constant(I64, _BOXED_SHIFT)))
        builder.store(number, self.api.address(builder, self._status, 8))
        with builder.if_then(builder.icmp_signed("==", number, ir.Constant(I64, RAISED))):
            builder.ret(NULL)
        sentinel = self.api.object(builder, self._deoptimized)
        self.api.incref(builder, sentinel)
        builder.ret(sentinel)

    def _release(self, builder: ir.IRBuilder, held: ir.Value, boxed: ir.Value) -> None:
        release_references(self.api, builder, self._boxes, boxed)
        release_references(self.api, builder, self._slots, held)


@shared(VOID, POINTER, I64, is_hot=True)
def release_references(api: PythonApi, function: ir.Function) -> None:
    """``for (i = count; i-- > 0;) Py_XDECREF(references[i]);``."""
    references, count = function.args
    entry, loop, release, done = (function.append_basic_block(n) for n in ("entry", "loop", "release", "done"))
    ir.IRBuilder(entry).branch(loop)
    builder = ir.IRBuilder(loop)
    left = builder.phi(I64)
    left.add_incoming(count, entry)
    builder.cbranch(builder.icmp_signed(">", left, ir.Constant(I64, 0)), release, done)
    builder.position_at_end(release)
    index = builder.sub(left, ir.Constant(I64, 1))
    reference = builder.load(builder.gep(references, [index], source_etype=POINTER), typ=POINTER)
    with builder.if_then(builder.icmp_unsigned("!=", reference, NULL)):
        api.decref(builder, reference)
    left.add_incoming(index, builder.block)
    builder.branch(loop)
    ir.IRBuilder(done).ret_void()
