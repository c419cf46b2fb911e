"""Work memory that outlives the calls it is used in.

Owns the pool of blocks, in compiled code that the whole process shares: `block_new` takes a block out of it, or makes
one, and hands it out as a capsule; when the capsule goes, the block returns to the pool. Invariant: what is in the pool
belongs to nobody, lies in the order in which it was given back, and is never more than the limit; a block is 64-byte
aligned, and its size stands before it.

Fresh memory costs a page fault every 4 KB, which is more than much of the arithmetic done in it; so arenas, tapes and
the memory of large results (`array_memory`) are kept. What has stayed longest goes first: when there is no room, or
when so many others have been given back since that nobody seems to want it. Kernels take memory on threads that do not
hold the GIL (`kernel_memory`), so the pool has a lock; who does not get it soon goes without the pool: no thread waits
for another that is kept from running, and a forked child for none that it does not have.
"""

from __future__ import annotations

import ctypes
import sys

from llvmlite import ir

from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.python_api import I1, I32, I64, NULL, POINTER, VOID, PythonApi, opaque
from janusjit.backend.llvm.python_api_shared import is_loaded, load_shared, shared, shared_address
from janusjit.backend.llvm.values import declare

#: blocks in the pool, at most
COUNT = 64
#: bytes in the pool, at most, unless `limit_kept` says otherwise
LIMIT = 1 << 28
#: what stands before a block
HEADER = 64
#: blocks from this size on are put on huge pages where the system has them
HUGE = 1 << 22
_MADV_HUGEPAGE = 14
#: a block of work memory may be this many times larger than what is asked for
_LOOSE = 4
#: how many blocks may be given back until one that has been in the pool all the while goes
AGE = 1024

_LIBRARY = "workspace"
_ADDRESSES, _SIZES, _TIMES, _STATE = "block_addresses", "block_sizes", "block_times", "block_state"
#: words of the state: blocks in the pool, their bytes, how many these may be, how many blocks were ever given back, and
#: whether somebody is at the pool
_USED, _BYTES, _LIMIT, _CLOCK, _BUSY = range(5)
_WORDS = 5
#: how often one looks whether the pool is free; who is at it has left by then, if it runs at all
_LOOKS = 1000


def _variable(api: PythonApi, name: str, length: int, element: ir.Type, initial: list[int] | None = None) -> ir.Value:
    known = api.module.globals.get(name)
    if known is None:
        known = ir.GlobalVariable(api.module, ir.ArrayType(element, length), name)
        known.initializer = ir.Constant(known.value_type, initial)
    return opaque(known)


class _Pool:
    """The pool's variables in the shared module, for emitting code that uses them."""

    def __init__(self, api: PythonApi, builder: ir.IRBuilder) -> None:
        self._api, self._builder = api, builder
        self._state = _variable(api, _STATE, _WORDS, I64, [0, 0, LIMIT, 0, 0])
        self._addresses = _variable(api, _ADDRESSES, COUNT, POINTER)
        self._sizes = _variable(api, _SIZES, COUNT, I64)
        self._times = _variable(api, _TIMES, COUNT, I64)

    def get(self, which: int) -> ir.Value:
        return self._builder.load(self._api.address(self._builder, self._state, 8 * which), typ=I64)

    def set(self, which: int, value: ir.Value) -> None:
        self._builder.store(value, self._api.address(self._builder, self._state, 8 * which))

    def enter(self, entered: ir.Block, otherwise: ir.Block) -> None:
        """Emit the branch to ``entered`` as the only thread at the pool, or ``otherwise`` if others do not leave it."""
        builder, before = self._builder, self._builder.block
        look, again = builder.append_basic_block("look"), builder.append_basic_block("again")
        builder.branch(look)
        builder.position_at_end(look)
        looks = builder.phi(I64)
        looks.add_incoming(ir.Constant(I64, 0), before)
        place = self._api.address(builder, self._state, 8 * _BUSY)
        outcome = builder.cmpxchg(place, ir.Constant(I64, 0), ir.Constant(I64, 1), "acquire", "monotonic")
        builder.cbranch(builder.extract_value(outcome, 1), entered, again)
        builder.position_at_end(again)
        following = builder.add(looks, ir.Constant(I64, 1))
        looks.add_incoming(following, again)
        builder.cbranch(builder.icmp_signed("<", following, ir.Constant(I64, _LOOKS)), look, otherwise)

    def leave(self) -> None:
        """Emit letting others at the pool."""
        place = self._api.address(self._builder, self._state, 8 * _BUSY)
        self._builder.atomic_rmw("xchg", place, ir.Constant(I64, 0), "release")

    def address_at(self, index: ir.Value) -> ir.Value:
        return self._builder.gep(self._addresses, [index], source_etype=POINTER)

    def size_at(self, index: ir.Value) -> ir.Value:
        return self._builder.gep(self._sizes, [index], source_etype=I64)

    def time_at(self, index: ir.Value) -> ir.Value:
        return self._builder.gep(self._times, [index], source_etype=I64)

    def remove(self, index: ir.Value) -> ir.Value:
        """Emit the removal of a block; return its address."""
        builder, one = self._builder, ir.Constant(I64, 1)
        block = builder.load(self.address_at(index), typ=POINTER)
        self.set(_BYTES, builder.sub(self.get(_BYTES), builder.load(self.size_at(index), typ=I64)))
        left = builder.sub(self.get(_USED), one)
        self.set(_USED, left)
        behind = builder.mul(builder.sub(left, index), ir.Constant(I64, 8))
        move = builder.module.declare_intrinsic("llvm.memmove", [POINTER, POINTER, I64])
        for place in (self.address_at, self.size_at, self.time_at):
            builder.call(move, [place(index), place(builder.add(index, one)), behind, ir.Constant(I1, 0)])
        return block

    def append(self, block: ir.Value, size: ir.Value) -> None:
        """Emit the addition of a block, for which there is room."""
        builder, count = self._builder, self.get(_USED)
        now = builder.add(self.get(_CLOCK), ir.Constant(I64, 1))
        self.set(_CLOCK, now)
        builder.store(block, self.address_at(count))
        builder.store(size, self.size_at(count))
        builder.store(now, self.time_at(count))
        self.set(_USED, builder.add(count, ir.Constant(I64, 1)))
        self.set(_BYTES, builder.add(self.get(_BYTES), size))

    def age(self) -> ir.Value:
        """Emit how many blocks were given back since the first one was."""
        return self._builder.sub(self.get(_CLOCK), self._builder.load(self.time_at(ir.Constant(I64, 0)), typ=I64))


def most_bytes(builder: ir.IRBuilder, size: ir.Value) -> ir.Value:
    """Emit how large a block of work memory may be where so many bytes are asked for."""
    return builder.add(builder.mul(size, ir.Constant(I64, _LOOSE)), ir.Constant(I64, HUGE))


@shared(POINTER, I64, I64, library=_LIBRARY)
def block_take(api: PythonApi, function: ir.Function) -> None:
    """Return a block of at least so many bytes: the smallest in the pool up to a bound, or a new one, or null.

    Of blocks of a size it is the one that was given back last, which may be in the cache still.
    """
    size, most = function.args
    names = ("entry", "search", "turn", "look", "better", "looked", "reuse", "leave", "make")
    entry, search, turn, look, better, looked, reuse, leave, make = map(function.append_basic_block, names)
    builder = PacedBuilder(entry)
    pool = _Pool(api, builder)
    pool.enter(search, make)
    builder.position_at_end(search)
    count, one = pool.get(_USED), ir.Constant(I64, 1)
    builder.branch(turn)
    builder.position_at_end(turn)
    index, best, smallest = builder.phi(I64), builder.phi(I64), builder.phi(I64)
    builder.cbranch(builder.icmp_signed("<", index, count), look, looked)
    builder.position_at_end(look)
    found = builder.load(pool.size_at(index), typ=I64)
    fits = builder.and_(builder.icmp_signed(">=", found, size), builder.icmp_signed("<=", found, smallest))
    following = builder.add(index, one)
    builder.cbranch(fits, better, turn)
    builder.position_at_end(better)
    builder.branch(turn)
    for phi, first, kept, taken in (
        (index, ir.Constant(I64, 0), following, following),
        (best, ir.Constant(I64, -1), best, index),
        (smallest, most, smallest, found),
    ):
        phi.add_incoming(first, search)
        phi.add_incoming(kept, look)
        phi.add_incoming(taken, better)
    builder.position_at_end(looked)
    builder.cbranch(builder.icmp_signed(">=", best, ir.Constant(I64, 0)), reuse, leave)
    builder.position_at_end(reuse)
    found = pool.remove(best)
    pool.leave()
    builder.ret(found)
    builder.position_at_end(leave)
    pool.leave()
    builder.branch(make)
    builder.position_at_end(make)
    builder.ret(_made(api, builder, size))


def _made(api: PythonApi, builder: ir.IRBuilder, size: ir.Value) -> ir.Value:
    """Emit the making of a block; null if there is no memory, of which the pool has none then either."""
    large = builder.icmp_signed(">=", size, ir.Constant(I64, HUGE))
    alignment = builder.select(large, ir.Constant(I64, 1 << 21), ir.Constant(I64, HEADER))
    whole = builder.add(size, ir.Constant(I64, HEADER))
    slot = opaque(builder.alloca(POINTER))
    allocate = declare(api.module, "posix_memalign", I32, [POINTER, I64, I64])
    status = builder.call(allocate, [slot, alignment, whole])
    with builder.if_then(builder.icmp_signed("!=", status, ir.Constant(I32, 0)), likely=False):
        block_release(api, builder)
        status = builder.call(allocate, [slot, alignment, whole])
        with builder.if_then(builder.icmp_signed("!=", status, ir.Constant(I32, 0)), likely=False):
            builder.ret(NULL)
    start = builder.load(slot, typ=POINTER)
    if sys.platform == "linux":
        with builder.if_then(large, likely=False):
            advise = declare(api.module, "madvise", I32, [POINTER, I64, I32])
            builder.call(advise, [start, whole, ir.Constant(I32, _MADV_HUGEPAGE)])  # if it cannot, it does not
    block = api.address(builder, start, HEADER)
    builder.store(size, api.address(builder, block, -8))
    return block


@shared(VOID, POINTER, library=_LIBRARY)
def block_give(api: PythonApi, function: ir.Function) -> None:
    """Put a block into the pool, in place of those that were there longest; free it where it is too large."""
    (block,) = function.args
    names = ("entry", "fits", "turn", "drop", "put", "old", "done", "free")
    entry, fits, turn, drop, put, old, done, free = map(function.append_basic_block, names)
    builder = PacedBuilder(entry)
    pool = _Pool(api, builder)
    first = ir.Constant(I64, 0)
    size = block_size(api, builder, block)
    builder.cbranch(builder.icmp_signed("<=", size, pool.get(_LIMIT)), fits, free)
    builder.position_at_end(fits)
    pool.enter(turn, free)
    builder.position_at_end(turn)
    is_full = builder.icmp_signed("==", pool.get(_USED), ir.Constant(I64, COUNT))
    is_much = builder.icmp_signed(">", builder.add(pool.get(_BYTES), size), pool.get(_LIMIT))
    builder.cbranch(builder.or_(is_full, is_much), drop, put)
    builder.position_at_end(drop)
    _free(api, builder, pool.remove(first))
    builder.branch(turn)
    builder.position_at_end(put)
    pool.append(block, size)
    builder.cbranch(builder.icmp_signed(">", pool.age(), ir.Constant(I64, AGE)), old, done)
    builder.position_at_end(old)
    _free(api, builder, pool.remove(first))
    builder.branch(done)
    builder.position_at_end(done)
    pool.leave()
    builder.ret_void()
    builder.position_at_end(free)
    _free(api, builder, block)
    builder.ret_void()


def block_size(api: PythonApi, builder: ir.IRBuilder, block: ir.Value) -> ir.Value:
    """Emit how many bytes a block has."""
    return builder.load(api.address(builder, block, -8), typ=I64)


def _free(api: PythonApi, builder: ir.IRBuilder, block: ir.Value) -> None:
    builder.call(declare(api.module, "free", VOID, [POINTER]), [api.address(builder, block, -HEADER)])


@shared(VOID, POINTER, library=_LIBRARY)
def block_returned(api: PythonApi, function: ir.Function) -> None:
    """Destroy a capsule: its block returns to the pool."""
    (capsule,) = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    block_give(api, builder, api.call(builder, "PyCapsule_GetPointer", capsule, NULL))
    builder.ret_void()


@shared(POINTER, I64, POINTER, library=_LIBRARY)
def block_new(api: PythonApi, function: ir.Function) -> None:
    """Return a capsule that holds a block of so many bytes, and store the block's address; null if there is no memory.

    An exception is set where the capsule could not be made.
    """
    size, address = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    block = block_take(api, builder, size, most_bytes(builder, size))
    builder.store(block, address)
    with builder.if_then(builder.icmp_unsigned("==", block, NULL), likely=False):
        api.call(builder, "PyErr_NoMemory")
        builder.ret(NULL)
    capsule = api.call(builder, "PyCapsule_New", block, NULL, block_returned.declare(api.module))
    with builder.if_then(builder.icmp_unsigned("==", capsule, NULL), likely=False):
        _free(api, builder, block)
    builder.ret(capsule)


@shared(VOID, library=_LIBRARY)
def block_release(api: PythonApi, function: ir.Function) -> None:
    """Free all blocks in the pool."""
    names = ("entry", "turn", "free", "done", "nothing")
    entry, turn, free, done, nothing = map(function.append_basic_block, names)
    builder = PacedBuilder(entry)
    pool = _Pool(api, builder)
    pool.enter(turn, nothing)
    builder.position_at_end(turn)
    last = builder.sub(pool.get(_USED), ir.Constant(I64, 1))
    builder.cbranch(builder.icmp_signed(">=", last, ir.Constant(I64, 0)), free, done)
    builder.position_at_end(free)
    _free(api, builder, pool.remove(last))
    builder.branch(turn)
    builder.position_at_end(done)
    pool.leave()
    builder.branch(nothing)
    builder.position_at_end(nothing)
    builder.ret_void()


# ---------------------------------------------------------------------- from Python


def _state() -> ctypes.Array[ctypes.c_int64]:
    load_shared([block_take.symbol])
    return (ctypes.c_int64 * _WORDS).from_address(shared_address(block_take, _STATE))


def kept_memory() -> int:
    """Return how many bytes of memory are kept for later calls."""
    return int(_state()[_BYTES])


def release_memory() -> int:
    """Give the memory that is kept for later calls back to the system.

    Returns
    -------
    int
        How many bytes it was.

    Notes
    -----
    It is work memory, and that of large results which nothing refers to any more; arrays that are in use are not
    concerned. Later calls take memory anew.

    Examples
    --------
    >>> import janusjit as jj
    >>> jj.release_memory() >= 0
    True
    >>> jj.release_memory()
    0
    """
    kept = kept_memory()
    ctypes.PYFUNCTYPE(None)(shared_address(block_release))()
    return kept


def limit_kept(limit: int) -> None:
    """Keep at most so many bytes from here on; to be said again when code is loaded, before which none are kept."""
    if not is_loaded(block_take):
        return
    _state()[_LIMIT] = limit
    if kept_memory() > limit:
        release_memory()
