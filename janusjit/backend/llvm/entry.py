"""The entry function of a specialization: prologue, and what its body asks of Python.

Owns `EntryEmitter`, which emits the prologue (places, guards, unboxing), serves the lowering of the graph as its
`PythonEmitter`, and emits the exits. Invariants: no effect happens before the last guard; what fails before the first
effect deoptimizes, what fails after it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm import boxing_arrays, effects, guards_arrays, guards_environment, guards_overlap
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.boxing import Exit
from janusjit.backend.llvm.entry_floating_point import FloatingPointFlags
from janusjit.backend.llvm.entry_frame import (
    FAILED_ARGUMENT_COUNT,
    FAILED_MEMORY,
    FAILED_PLACE,
    IN_GRAPH,
    RAISED,
    EntryFrame,
)
from janusjit.backend.llvm.entry_places import PlaceReader, place_key
from janusjit.backend.llvm.generator_states import GeneratorStates
from janusjit.backend.llvm.guards import GuardEmitter, unbox_scalar
from janusjit.backend.llvm.guards_overlap import emit_no_overlaps
from janusjit.backend.llvm.interruptions import deliver_signals
from janusjit.backend.llvm.python_api import I64, NULL, POINTER, PythonApi
from janusjit.backend.llvm.values import ArrayValue, Extent, Operand, Scalar
from janusjit.backend.llvm.workspace import block_new
from janusjit.errors import CompileError
from janusjit.ir import boxes as kinds
from janusjit.ir.dims import Symbol
from janusjit.ir.graph import Graph, GraphInput, Node
from janusjit.ir.guards import NoOverlap
from janusjit.ir.places import Place
from janusjit.ir.types import TensorType

#: the modules that declare emissions of guards, imported for that
GUARD_FAMILIES = (guards_arrays, guards_environment, guards_overlap)


class EntryEmitter:
    """Emits the entry function of ``graph`` into ``module``.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Module of the specialization.
    graph : Graph
        The graph.
    deoptimized : object
        What the function returns when a guard fails.
    name : str
        Symbol of the function.

    Attributes
    ----------
    inputs : list of Operand
        The graph's inputs in compiled code, after `emit_prologue`.
    input_objects : dict
        The ``PyObject*`` (borrowed) of each input that is an array, by its number, after `emit_prologue`.
    symbols : dict
        The value (``i64``) of each dimension symbol the entry guards bind, after `emit_prologue`.
    """

    def __init__(self, module: ir.Module, graph: Graph, deoptimized: object, name: str = "entry") -> None:
        self.graph = graph
        self.api = PythonApi(module)
        self.frame = EntryFrame(self.api, name, deoptimized)
        self.inputs: list[Operand] = []
        self.input_objects: dict[int, ir.Value] = {}
        self.symbols: dict[Symbol, ir.Value] = {}
        self._exits = {id(node.attributes["recipe"]): node for node in graph.walk() if node.op == "exit"}
        pinned = [*_places_of_inputs(graph), *(p for node in self._exits.values() for p in _places_of_exit(node))]
        self._boxed_places = pinned
        recipes = (node.attributes["recipe"] for node in self._exits.values())
        self._writes_arrays = any(isinstance(e, kinds.WriteArray) for recipe in recipes for e in recipe.effects)
        guarded = (place for guard in graph.guards.entry for place in guard.places)
        self._places = PlaceReader(self.frame, guarded, pinned)
        self._flags = FloatingPointFlags(graph, self.frame)
        self._states = GeneratorStates(self.frame, self._places)

    @property
    def builder(self) -> ir.IRBuilder:
        """Where the body begins, after `emit_prologue`."""
        return self.frame.builder

    @property
    def checks_flags(self) -> bool:
        """Whether the graph looks at the floating-point flags that the body has raised."""
        return self._flags.checked

    def emit_flags(self, builder: ir.IRBuilder) -> ir.Value:
        """Emit a look at the flags; return those that NumPy is to act on (``i32``, 0 if there are none)."""
        with self.frame.at(builder):
            return self._flags.emit_look()

    def emit_clear_flags(self, builder: ir.IRBuilder) -> None:
        """Emit the clearing of the flags."""
        with self.frame.at(builder):
            self._flags.clear()

    def emit_witness(
        self,
        builder: ir.IRBuilder,
        flags: ir.Value,
        time: int,
        address: ir.Value,
        restore: Callable[[], None] | None,
    ) -> None:
        """Emit asking `janusjit.backend.witness` whether the call goes on, and the way out if it does not.

        ``restore`` emits what has to be done before plain Python does the call again; None if it cannot any more.
        """
        with self.frame.at(builder):
            result = self._flags.emit_question(flags, time, address, restore is not None)
            if restore is None:
                self.frame.begin_exit()
                self._raise_if(self.api.is_null(builder, result))
                self.api.decref(builder, result)
                return
            with builder.if_then(self.api.is_null(builder, result), likely=False):
                self.api.call(builder, "PyErr_Clear")
            self.api.decref_unless_null(builder, result)
            goes_on = builder.icmp_unsigned("==", result, self.api.object(builder, True))
            with builder.if_then(builder.not_(goes_on), likely=True):
                restore()
                self.emit_fail(builder, self._flags.guard_number)

    def pinned(self, builder: ir.IRBuilder, operand: Scalar) -> Scalar:
        """Emit what keeps the computation of a number before this, and its flags; return the number."""
        with self.frame.at(builder):
            return self._flags.pinned(operand)

    def emit_prologue(self) -> None:
        """Emit the entry guards in order, and the unboxing of the inputs."""
        frame = self.frame
        count = ir.Constant(I64, len(self.graph.parameters))
        frame.fail_if(frame.builder.icmp_signed("!=", frame.count, count), FAILED_ARGUMENT_COUNT)
        guards = GuardEmitter(frame, self._places, len(self.graph.parameters))
        apart: list[tuple[int, NoOverlap]] = []
        for number, guard in enumerate(self.graph.guards.entry):
            if isinstance(guard, NoOverlap):
                apart.append((number, guard))
            else:
                guards.emit(guard, number)
        emit_no_overlaps(guards, apart)
        for place in self._boxed_places:
            guards.require_present(self._places.read(place), FAILED_PLACE)
        self.inputs = [self._unbox(guards, input_, index) for index, input_ in enumerate(self.graph.inputs)]
        self.symbols = dict(guards.established.symbols)
        frame.begin_body()
        for input_ in self.graph.inputs:
            if input_.kind == "generator":
                self._states.save(input_.place)
        self.inputs = self._flags.emit_clear(self.inputs)

    def _unbox(self, guards: GuardEmitter, input_: GraphInput, index: int) -> Operand:
        type_ = input_.value.type
        if input_.kind in ("generator", "object"):
            address = self.builder.ptrtoint(self._places.read(input_.place).value, I64)
            return Scalar(type_.dtype, address)
        if input_.kind != "array":
            return Scalar(type_.dtype, unbox_scalar(guards, input_.place, input_.kind, FAILED_PLACE))
        facts = guards.established.arrays.get(place_key(input_.place))
        if facts is None or facts.dtype != type_.dtype or len(facts.dims) != type_.rank:
            raise CompileError("backend.input", f"no array guard vouches for the input at {input_.place}: {type_}")
        self.input_objects[index] = self._places.read(input_.place).value
        return ArrayValue(facts.dtype, facts.pointer, facts.dims, facts.strides, input_index=index)

    def finish(self, optimized: bool = True) -> None:
        """Complete the function and the module's object table. Nothing may be emitted afterwards.

        Unless ``optimized``, LLVM translates the function as it stands, in a third of the time: it is long, and mostly
        calls kernels, which are functions of their own.
        """
        self.frame.finish()
        if not optimized:
            self.frame.function.attributes.add("noinline")
            self.frame.function.attributes.add("optnone")
        self.api.finish_table()

    # -- PythonEmitter ------------------------------------------------------------------------------------------------

    def allocate_array(
        self, builder: ir.IRBuilder, type_: TensorType, dims: Sequence[Extent], strides: Sequence[Extent] | None = None
    ) -> tuple[ir.Value, ir.Value]:
        """Emit the making of a fresh ndarray; return its ``PyObject*`` and the address of its data."""
        with self.frame.at(builder):
            slot = self.frame.hold_in_body()
            self.api.decref_unless_null(builder, builder.load(slot, typ=POINTER))  # of the previous turn of a loop
            builder.store(NULL, slot)
            made = boxing_arrays.new_array(self.api, self.frame, type_.dtype, dims, strides)
            if self._writes_arrays:  # in place, perhaps before this: the call cannot be run again from its beginning
                self._raise_if(self.api.is_null(builder, made))
            else:
                self._fail_without_memory(self.api.is_null(builder, made))
            builder.store(made, slot)
            return made, self.api.field(builder, made, layout.ARRAY_DATA, POINTER)

    def allocate_block(self, builder: ir.IRBuilder, size: ir.Value) -> ir.Value:
        """Emit the taking of work memory until the call ends; return its address."""
        with self.frame.at(builder):
            slot, address = self.frame.hold_in_body(), self.frame.scratch(POINTER)
            made = block_new(self.api, builder, size, address)
            self._fail_without_memory(self.api.is_null(builder, made))
            builder.store(made, slot)
            return builder.load(address, typ=POINTER)

    def hold(self, builder: ir.IRBuilder, reference: ir.Value) -> None:
        """Take over a new reference to an object made in the body, in place of that of the previous turn of a loop."""
        with self.frame.at(builder):
            slot = self.frame.hold_in_body()
            self.api.decref_unless_null(builder, builder.load(slot, typ=POINTER))
            builder.store(reference, slot)

    def hold_slot(self) -> ir.Value:
        """Return the address of a reference, null at first, that is released on every way out."""
        return self.frame.hold_in_body()

    def copy_state(
        self, builder: ir.IRBuilder, generator: ir.Value, types: tuple[type, type | None]
    ) -> list[Callable[[ir.IRBuilder], None]]:
        """Emit a copy of the state of a generator; return what emits copying it back."""
        with self.frame.at(builder):
            return self._states.copy(generator, types)

    def emit_fail(self, builder: ir.IRBuilder, guard_number: int) -> None:
        """Emit the deoptimization for in-graph guard ``guard_number``; ends the current block."""
        with self.frame.at(builder):
            self.frame.begin_exit()
            self.frame.fail(IN_GRAPH + guard_number)

    def emit_out_of_memory(self, builder: ir.IRBuilder) -> None:
        """Emit the way out for a failed allocation; ends the current block."""
        with self.frame.at(builder):
            self.frame.begin_exit()
            if self._writes_arrays:
                self.api.call(builder, "PyErr_NoMemory")
            self.frame.fail(RAISED if self._writes_arrays else FAILED_MEMORY)

    def object(self, builder: ir.IRBuilder, value: Any) -> ir.Value:
        """Emit a borrowed reference to a Python object, which is kept alive as long as the code.

        The address comes from the module's object table, not from the code itself.
        """
        return self.api.object(builder, value)

    def emit_exit(self, builder: ir.IRBuilder, recipe: kinds.ExitRecipe, operands: Sequence[Operand]) -> None:
        """Emit an exit of the graph; ends the current block."""
        values = self._exits[id(recipe)].inputs
        frame = self.frame
        with frame.at(builder):
            frame.begin_exit()
            exit_ = Exit(frame, self._places, operands, values, self.graph.inputs, self._fail_without_memory)
            if any(effects.is_in_place(exit_, effect) for effect in recipe.effects):
                exit_.failed = self._raise_if
            result = exit_.box(recipe.result)
            commits = [(effect, effects.prepare(exit_, effect)) for effect in recipe.effects]
            for effect, commit in commits:
                if isinstance(effect, kinds.CallFunction):
                    exit_.failed = self._raise_if  # who knows what it had done before it raised
                commit()
                exit_.failed = self._raise_if
            if _takes_exceptions(recipe):
                result = deliver_signals(self.api, frame.builder, result)
                self._raise_if(self.api.is_null(frame.builder, result))
            else:
                self.api.incref(frame.builder, result)
            frame.return_result(result)
            frame.begin_exit()

    def _fail_without_memory(self, condition: ir.Value) -> None:
        """Emit: if ``condition``, clear the exception that is set and deoptimize."""
        builder = self.frame.builder
        with builder.if_then(condition, likely=False):
            self.api.call(builder, "PyErr_Clear")
            self.frame.fail(FAILED_MEMORY)

    def _raise_if(self, condition: ir.Value) -> None:
        self.frame.fail_if(condition, RAISED)


def _takes_exceptions(recipe: kinds.ExitRecipe) -> bool:
    """Whether Python goes on from an exit inside what handles exceptions, and can do so by raising one."""
    if not isinstance(recipe.result, kinds.SequenceBox) or not recipe.result.items:
        return False
    first = recipe.result.items[0]
    points = first.objects if isinstance(first, kinds.ChoiceBox) else (getattr(first, "value", None),)
    return any(isinstance(point, kinds.PythonPoint) and point.takes_exceptions for point in points)


def _places_of_inputs(graph: Graph) -> Iterator[Place]:
    return (input_.place for input_ in graph.inputs if input_.kind in ("array", "generator", "object"))


def _places_of_exit(node: Node) -> Iterator[Place]:
    recipe: kinds.ExitRecipe = node.attributes["recipe"]
    pending: list[Any] = [recipe.result, *recipe.effects]
    while pending:
        part = pending.pop()
        if isinstance(part, (kinds.PlaceBox, kinds.WriteArray)):
            yield part.place
        elif isinstance(part, (kinds.Box, kinds.Effect)):
            pending.extend(vars(part).values())
        elif isinstance(part, tuple):
            pending.extend(part)
