"""Calls of functions that have settled, from CPython's call to the entry of compiled code and back.

Owns `call_jitted`, the C function by which CPython calls a jitted function (`janusjit.runtime.native_call`): what one
does on the settled path, without a frame of Python around it. Invariants: whatever is not settled, or not as usual, is
left to the method of the same name in Python; the tuple of entries is held while one of them runs, which it keeps
alive.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.python_api import I8, I32, I64, NULL, POINTER, PythonApi, opaque
from janusjit.backend.llvm.python_api_shared import is_loaded, load_shared, shared, shared_address

_STATE = "jitted_call"

#: where in an instance its lifecycle, function, code, arity and sentinel are, and where in a lifecycle its entries
_OFFSETS = ("lifecycle", "function", "code", "arity", "sentinel", "entries")
#: objects, and functions of C that take an object and another: of them the address, and the object, stand one by one
_OBJECTS = ("plain", "tally", "plain_calls", "review_at", "fallback", "retry", "disabled")
_FUNCTIONS = ("tracer", "tracer_self", "tool", "tool_self", "debugger", "coverage")
#: the words of the state, in order; ``tool`` is null where there is no ``sys.monitoring``, and ``switched`` the address
#: of a word that is 0 as long as ``disabled`` need not be asked
#: ``depth`` is how many entries are under way that were called without CPython's look at the stack
WORDS = (*_OFFSETS, *_OBJECTS, *_FUNCTIONS, "switched", "depth")

#: how many those may be, in all threads
_DEPTH = 50

#: CPython's ``PY_VECTORCALL_ARGUMENTS_OFFSET``, which says that the word before the arguments may be overwritten
_ARGUMENTS_OFFSET = 1 << 63


@shared(POINTER, POINTER, POINTER, I64, POINTER, is_hot=True)
def _call_jitted(api: PythonApi, function: ir.Function) -> None:
    _Call(api, function).emit()


call_jitted = _call_jitted


def set_state(words: dict[str, int]) -> None:
    """Tell the code what it needs to know; all the objects have to stay alive."""
    state = (ctypes.c_int64 * len(WORDS)).from_address(shared_address(call_jitted, _STATE))
    for number, word in enumerate(WORDS):
        state[number] = words[word]


def address() -> int:
    """Return the address of the function: of the C type ``vectorcallfunc``."""
    return shared_address(call_jitted)


def load() -> None:
    """Compile the code, unless that has been done."""
    load_shared({call_jitted.symbol})


def depth() -> int:
    """Return how many entries are under way that were called without CPython's look at the stack."""
    return ctypes.c_int64.from_address(shared_address(call_jitted, _STATE) + 8 * WORDS.index("depth")).value


def is_there() -> bool:
    """Return whether the code has been loaded."""
    return is_loaded(call_jitted)


class _Call:
    """The function under construction; ``self.slow`` is where it begins to leave a call to Python."""

    def __init__(self, api: PythonApi, function: ir.Function) -> None:
        self.api, self.function = api, function
        self.me, self.arguments, flagged, self.names = function.args
        state = ir.GlobalVariable(api.module, ir.ArrayType(I64, len(WORDS)), _STATE)
        state.initializer = ir.Constant(state.value_type, None)
        self._state = opaque(state)
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.count = self.builder.and_(flagged, ir.Constant(I64, _ARGUMENTS_OFFSET - 1))
        self.slow, self.unsettled = (function.append_basic_block(name) for name in ("slow", "unsettled"))

    def emit(self) -> None:
        """Emit all of it."""
        builder, api = self.builder, self.api
        lifecycle = self._slot("lifecycle")
        entries = self._field(lifecycle, "entries")
        api.incref(builder, entries)
        size = api.field(builder, entries, layout.VARIABLE_SIZE, I64)
        self._require(builder.icmp_signed(">", size, ir.Constant(I64, 0)), self.unsettled)
        self._require(api.is_null(builder, self.names), self.slow)
        code = api.field(builder, self._slot("function"), layout.FUNCTION_CODE, POINTER)
        self._require(builder.icmp_unsigned("==", code, self._slot("code")), self.slow)
        self._require(builder.icmp_signed("==", self._arity(), self.count), self.slow)
        self._require_usual()
        entry = api.field(builder, entries, layout.TUPLE_ITEMS, POINTER)
        result = self._call_entry(entry)
        refused = builder.icmp_unsigned("==", result, self._slot("sentinel"))
        with builder.if_then(refused, likely=False):
            api.decref(builder, result)
            again = self._call_with("retry", [self.me, entry], self.count, NULL)
            api.decref(builder, entries)
            builder.ret(again)
        api.decref(builder, entries)
        builder.ret(result)
        builder.position_at_end(self.slow)
        api.decref(builder, entries)
        self._emit_slow()
        builder.position_at_end(self.unsettled)
        self._emit_plain(lifecycle)
        builder.branch(self.slow)

    def _call_entry(self, entry: ir.Value) -> ir.Value:
        """Emit the call of an entry: of its function itself, unless many calls are under way.

        CPython looks whether there is room on the stack for another call, which takes longer than to count them.
        """
        builder, api = self.builder, self.api
        depth = self.builder.gep(self._state, [ir.Constant(I64, WORDS.index("depth"))], source_etype=I64)
        before = builder.load(depth, typ=I64)
        entered = builder.add(before, ir.Constant(I64, 1))
        definition = api.field(builder, entry, layout.BUILTIN_DEFINITION, POINTER)
        is_builtin = api.has_type(builder, entry, types.BuiltinFunctionType)
        direct = builder.and_(is_builtin, builder.icmp_unsigned("<", before, ir.Constant(I64, _DEPTH)))
        blocks = [self.function.append_basic_block(name) for name in ("looked_at", "direct", "by_python", "called")]
        looked_at, directly, by_python, called = blocks
        builder.cbranch(direct, looked_at, by_python)
        builder.position_at_end(looked_at)
        flags = api.field(builder, definition, layout.DEFINITION_FLAGS, I32)
        is_fast = builder.icmp_unsigned("==", flags, ir.Constant(I32, layout.METH_FASTCALL))
        builder.cbranch(is_fast, directly, by_python)
        builder.position_at_end(directly)
        type_ = ir.FunctionType(POINTER, [POINTER, POINTER, I64]).as_pointer()
        callee = builder.inttoptr(api.field(builder, definition, layout.DEFINITION_FUNCTION, I64), type_)
        builder.store(entered, depth)
        owner = api.field(builder, entry, layout.BUILTIN_SELF, POINTER)
        one = builder.call(callee, [owner, self.arguments, self.count])
        builder.store(builder.sub(builder.load(depth, typ=I64), ir.Constant(I64, 1)), depth)
        builder.branch(called)
        builder.position_at_end(by_python)
        other = api.call(builder, "PyObject_Vectorcall", entry, self.arguments, self.count, NULL)
        builder.branch(called)
        builder.position_at_end(called)
        result = builder.phi(POINTER)
        result.add_incoming(one, directly)
        result.add_incoming(other, by_python)
        return result

    def _emit_plain(self, lifecycle: ir.Value) -> None:
        """Emit the call of the function itself, which is counted, where it is left to Python; what follows is not."""
        builder, api = self.builder, self.api
        plain = self._attribute(lifecycle, "plain")
        is_plain = builder.icmp_unsigned("==", plain, api.object(builder, True))
        api.decref(builder, plain)
        self._require(is_plain, self.slow)
        tally = self._attribute(lifecycle, "tally")
        number = builder.add(self._number(tally, "plain_calls"), ir.Constant(I64, 1))
        with builder.if_then(builder.icmp_signed("!=", number, self._number(lifecycle, "review_at"))):
            calls = api.call(builder, "PyLong_FromLongLong", number)
            with builder.if_then(builder.not_(api.is_null(builder, calls)), likely=True):
                status = api.call(builder, "PyObject_SetAttr", tally, self._object("plain_calls"), calls)
                api.decref(builder, calls)
                api.decref(builder, tally)
                with builder.if_then(api.error(builder, status), likely=False):
                    builder.ret(NULL)
                callee = self._slot("function")
                api.incref(builder, callee)
                builder.ret(self._released(callee))
            builder.ret(NULL)
        api.decref(builder, tally)

    def _released(self, callee: ir.Value) -> ir.Value:
        """Emit a call with the arguments that there are of what is held for it, and given up then."""
        result = self.api.call(self.builder, "PyObject_Vectorcall", callee, self.arguments, self.count, self.names)
        self.api.decref(self.builder, callee)
        return result

    def _attribute(self, owner: ir.Value, name: str) -> ir.Value:
        """Emit ``getattr(owner, name)``, a new reference; the function returns where there is no such attribute."""
        found = self.api.call(self.builder, "PyObject_GenericGetAttr", owner, self._object(name))
        with self.builder.if_then(self.api.is_null(self.builder, found), likely=False):
            self.builder.ret(NULL)
        return found

    def _number(self, owner: ir.Value, name: str) -> ir.Value:
        """Emit the reading of an attribute that is an int, and not a large one."""
        found = self._attribute(owner, name)
        overflow = opaque(self.builder.alloca(I32))
        number = self.api.call(self.builder, "PyLong_AsLongLongAndOverflow", found, overflow)
        self.api.decref(self.builder, found)
        return number

    def _require_usual(self) -> None:
        """Emit the ways to Python where compiled code is switched off, and where a tracer or a debugger looks on."""
        builder = self.builder
        switched = builder.load(self._object("switched"), typ=I64)
        asked, unasked = (self.function.append_basic_block(name) for name in ("asked", "unasked"))
        builder.cbranch(builder.icmp_signed("==", switched, ir.Constant(I64, 0)), unasked, asked)
        builder.position_at_end(asked)
        self._require_enabled()
        builder.branch(unasked)
        builder.position_at_end(unasked)
        self._require_is(self._call_function("tracer", NULL), None)
        watched = self.function.append_basic_block("watched")
        usual = self.function.append_basic_block("usual")
        builder.cbranch(builder.icmp_unsigned("==", self._word("tool"), ir.Constant(I64, 0)), usual, watched)
        builder.position_at_end(watched)
        for number in ("debugger", "coverage"):
            self._require_is(self._call_function("tool", self._object(number)), None)
        builder.branch(usual)
        builder.position_at_end(usual)

    def _require_enabled(self) -> None:
        builder, api = self.builder, self.api
        with builder.goto_entry_block():
            value = opaque(builder.alloca(POINTER))
        status = api.call(builder, "PyContextVar_Get", self._object("disabled"), NULL, value)
        with builder.if_then(api.error(builder, status), likely=False):
            builder.ret(NULL)
        self._require_is(builder.load(value, typ=POINTER), False)

    def _require_is(self, reference: ir.Value, value: object) -> None:
        """Emit the way to Python unless a new reference, which is given up, is to ``value``, which lives for ever."""
        expected = self.api.object(self.builder, value)
        found = self.builder.icmp_unsigned("==", reference, expected)
        self.api.decref_unless_null(self.builder, reference)
        self._require(found, self.slow)

    def _call_function(self, name: str, argument: ir.Value) -> ir.Value:
        """Emit a call of a function of C."""
        type_ = ir.FunctionType(POINTER, [POINTER, POINTER])
        callee = self.builder.inttoptr(self._word(name), type_.as_pointer())
        return self.builder.call(callee, [self._object(f"{name}_self"), argument])

    def _emit_slow(self) -> None:
        builder, api = self.builder, self.api
        named = opaque(builder.alloca(I64))
        builder.store(ir.Constant(I64, 0), named)
        with builder.if_then(builder.not_(api.is_null(builder, self.names))):
            builder.store(api.field(builder, self.names, layout.VARIABLE_SIZE, I64), named)
        count = builder.add(self.count, builder.load(named, typ=I64))
        builder.ret(self._call_with("fallback", [self.me], count, self.names))

    def _call_with(self, name: str, first: Sequence[ir.Value], count: ir.Value, names: ir.Value) -> ir.Value:
        """Emit a call of an object with some arguments, and then ``count`` of those that there are."""
        builder, before = self.builder, ir.Constant(I64, len(first))
        place = opaque(builder.alloca(POINTER, size=builder.add(count, before)))
        for number, value in enumerate(first):
            builder.store(value, builder.gep(place, [ir.Constant(I64, number)], source_etype=POINTER))
        rest = builder.gep(place, [before], source_etype=POINTER)
        bytes_ = builder.mul(count, ir.Constant(I64, 8))
        type_ = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, ir.IntType(1)])
        copy = self.api.module.globals.get("llvm.memcpy.p0.p0.i64")
        copy = copy or ir.Function(self.api.module, type_, "llvm.memcpy.p0.p0.i64")
        builder.call(copy, [rest, self.arguments, bytes_, ir.Constant(ir.IntType(1), 0)])
        positional = builder.add(self.count, before)
        return self.api.call(builder, "PyObject_Vectorcall", self._object(name), place, positional, names)

    def _require(self, condition: ir.Value, otherwise: ir.Block) -> None:
        following = self.function.append_basic_block("usual")
        self.builder.cbranch(condition, following, otherwise)
        self.builder.position_at_end(following)

    def _word(self, name: str) -> ir.Value:
        place = self.builder.gep(self._state, [ir.Constant(I64, WORDS.index(name))], source_etype=I64)
        return self.builder.load(place, typ=I64)

    def _object(self, name: str) -> ir.Value:
        return self.builder.inttoptr(self._word(name), POINTER)

    def _slot(self, name: str) -> ir.Value:
        """Return, borrowed, what a slot of the instance holds."""
        return self._field(self.me, name)

    def _field(self, owner: ir.Value, name: str) -> ir.Value:
        return self.builder.load(self.builder.gep(owner, [self._word(name)], source_etype=I8), typ=POINTER)

    def _arity(self) -> ir.Value:
        """Emit the reading of the instance's arity, an int of one digit."""
        builder, api, arity = self.builder, self.api, self._slot("arity")
        digit = builder.zext(api.field(builder, arity, layout.INT_DIGITS, I32), I64)
        sign = api.field(builder, arity, layout.INT_TAG, I64)
        if not layout.INT_TAG_IS_SIGNED_SIZE:
            sign = builder.sub(ir.Constant(I64, 1), builder.and_(sign, ir.Constant(I64, 3)))
        return builder.mul(sign, digit)
