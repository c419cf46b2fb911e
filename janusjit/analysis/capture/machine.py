"""The abstract machine: Core, interpreted over abstract values, emitting a graph.

Owns the control stack, frames, unwinding and emission. Invariant: the machine's stack is explicit, so a state can be
forked at a branch and both continuations run; instructions are executed by the functions registered in `EXECUTE`,
one for each Core node kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import starmap
from typing import Any, TypeVar

from janusjit.analysis.capture.blame import blamed_by
from janusjit.analysis.capture.effort import Effort
from janusjit.analysis.capture.externals import Externals, Unread
from janusjit.analysis.capture.followed import may_specialize, specialize
from janusjit.analysis.capture.gradients_under_way import GradientsUnderWay
from janusjit.analysis.capture.host_sites import HostSites
from janusjit.analysis.capture.recorded_operations import RecordedOperations
from janusjit.analysis.capture.settled_loops import SettledLoops
from janusjit.analysis.capture.signals import EitherUsed, PoisonUsed, PythonRaise, Terminated, Unwinding
from janusjit.analysis.capture.state import (
    Cell,
    ControlEntry,
    Frame,
    GraphLoopEntry,
    LoopEntry,
    State,
    TryEntry,
    keeps_generator,
)
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    EitherValue,
    HostValue,
    Known,
    Poison,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
    lift,
)
from janusjit.analysis.core import Atom, Block, Constant, FunctionCore, Instruction
from janusjit.analysis.frame_readers import frame_reader
from janusjit.errors import CaptureFailure, Category
from janusjit.ir.dims import Dim, DimExpr, Symbol, symbol, symbols_of
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.types import TensorType
from janusjit.ops import OPS
from janusjit.ops.type_rules import TypeRuleError
from janusjit.pacing import pause

InstructionKind = TypeVar("InstructionKind", bound=Instruction)
EXECUTE: dict[type[Instruction], Callable[[Machine, Any], None]] = {}
FINISH: dict[type[ControlEntry], Callable[[Machine, Any], None]] = {}


def executes(
    kind: type[InstructionKind],
) -> Callable[[Callable[[Machine, InstructionKind], None]], Callable[[Machine, InstructionKind], None]]:
    """Register the function that captures one Core node kind."""

    def register(function: Callable[[Machine, InstructionKind], None]) -> Callable[[Machine, InstructionKind], None]:
        EXECUTE[kind] = function
        return function

    return register


class Machine:
    """One capture in progress.

    Attributes
    ----------
    state : State
        Of the control path being followed.
    region : Region
        The region that receives nodes.
    decisions : dict
        For each fork that could not be merged in an earlier attempt: ``"split"`` or ``"guard"``.
    nested, held : int
        How many rules wait for a run of the machine that they started, and `State.mark` when the last did. What they do
        next is not on the stack: paths are joined before they go on, and what they may hold outlives the joins.
    dropping : bool
        Whether a variable has just let go of a generator of Python's.
    several_kinds : bool
        Whether a join of paths has left a number of one of several kinds.
    effort : Effort
        What the capture has taken so far.
    hosts : HostSites
        The instructions that Python runs, and the commit points made for them.
    outermost : (int, Instruction) or None
        The instruction that is being executed and not by a nested run, and how many frames there were before it.
    gradients : GradientsUnderWay
        What is being differentiated by.
    recorded, settled : RecordedOperations, SettledLoops
        What capture knows of operations on variables, and of what loops carry.
    recursion, recursions, pool : Recursion or None, int, ObjectPool or None
        The recursion that is being kept in the graph, how many were tried, and the objects that may be met at run time.
    """

    def __init__(
        self, graph: Graph, externals: Externals, profile: Any, relaxations: Any, decisions: Any, hosts: HostSites
    ) -> None:
        self.graph = graph
        self.externals = externals
        self.profile = profile
        self.relaxations = relaxations
        self.decisions = decisions
        self.hosts = hosts
        self.outermost: tuple[int, Instruction] | None = None
        self.state = State(externals.templates)
        self.region: Region = graph.body
        self.span, self.site = graph.span, -1
        self.births: dict[Value, int] = {}
        self.symbol_births: dict[Symbol, int] = {}
        self.effort, self.samples = Effort(hosts.deadline), dict[Symbol, int]()
        self.nested = self.held = self.forks = self.symbol_count = self.recursions = 0
        self.dropping = self.several_kinds = False
        self.written, self.aliased, self.joined = set[int](), set[int](), set[frozenset[int]]()
        self.layouts, self.doubts = dict[Value, tuple[Dim | None, ...]](), dict[Value, Instruction | None]()
        self.gradients, self.recorded, self.settled = GradientsUnderWay(graph), RecordedOperations(), SettledLoops()
        self.recursion = self.pool = None  # type: Any

    # ------------------------------------------------------------------ emission

    def emit(
        self,
        op: str,
        *inputs: Value,
        guard: InGraphGuard | None = None,
        types: tuple[TensorType, ...] | None = None,
        **attributes: Any,
    ) -> Value:
        """Append an operation and return its first result."""
        return self.emit_node(op, inputs, attributes, guard, types).results[0]

    def emit_node(
        self,
        op: str,
        inputs: tuple[Value, ...],
        attributes: dict[str, Any] | None = None,
        guard: InGraphGuard | None = None,
        types: tuple[TensorType, ...] | None = None,
        regions: tuple[Region, ...] = (),
    ) -> Node:
        """Append a node; result types come from the registry unless given."""
        if types is None:
            try:
                types = OPS[op].infer(tuple(v.type for v in inputs), attributes or {})
            except TypeRuleError as error:
                raise self.unsupported("array.type_rule", f"{op}", str(error)) from error
        if guard is None and op in OPS and OPS[op].may_fail(tuple(v.type for v in inputs), attributes or {}):
            guard = self.guard("numpy.exception", self.span.text or op, "no NumPy error")
        node = Node(op, inputs, types, attributes, self.span, regions, guard)
        self.append(node)
        return node

    def append(self, node: Node) -> None:
        """Append a finished node to the current region."""
        self.effort.node(self)
        self.region.nodes.append(node)
        for value in node.results:
            self.births[value] = len(self.births)

    def born_since(self, value: Value, mark: int) -> bool:
        """Whether a value was made after ``births`` had ``mark`` entries."""
        return self.births.get(value, -1) >= mark

    def sized_since(self, value: Value, mark: int) -> bool:
        """Whether a value's shape uses a symbol bound after ``births`` had ``mark`` entries."""
        return any(self.symbol_births.get(used, -1) >= mark for used in symbols_of(value.type.shape))

    def guard(self, code: str, subject: str, expected: str, relaxation: Any = None, evidence: str = "") -> InGraphGuard:
        """Make a new in-graph guard at the present instruction."""
        made = InGraphGuard(
            code, subject, expected, self.site, span=self.span, evidence=evidence, relaxation=relaxation
        )
        self.graph.guards.in_graph.append(made)
        return made

    def require(self, condition: Value, guard: InGraphGuard) -> None:
        """Emit a guard node: deoptimize unless ``condition`` holds."""
        self.emit_node("guard", (condition,), {}, guard, ())

    def terminate(self, node: Node) -> Terminated:
        """End the current region; the caller raises what is returned."""
        self.region.nodes.append(node)
        return Terminated()

    def fail(self, code: str, subject: str, expected: str, relaxation: Any = None) -> Terminated:
        """End the current region with an unconditional deoptimization; the caller raises what is returned."""
        guard = self.guard(code, subject, expected, relaxation)
        return self.terminate(Node("fail", (), (), {}, self.span, (), guard))

    def unsupported(
        self, code: str, construct: str, reason: str, category: Category = "supportable", hint: str = ""
    ) -> CaptureFailure:
        """Return the failure that leaves the present instruction, or the whole function, in Python."""
        failure = CaptureFailure(code, category, self.span, construct, reason, hint)
        failure.instruction = self.blamed()
        return failure

    def blamed(self) -> Instruction | None:
        """Return the instruction that Python would have to run if the present one cannot be captured."""
        return blamed_by(self)

    # ------------------------------------------------------------------ values

    @property
    def dims(self) -> dict[Value, DimExpr]:
        """Which dimensions run-time ints are, on the present path."""
        return self.state.dims

    @property
    def frame(self) -> Frame:
        """The top frame."""
        return self.state.frames[-1]

    def get(self, atom: Atom) -> AbstractValue:
        """Return the value of an atom in the top frame."""
        if isinstance(atom, Constant):
            return lift(atom.value)
        return self.resolve(self._bound(atom.name))

    def hand_on(self, atom: Atom) -> AbstractValue:
        """Return the value of an atom for a rule that does not look into it: it may be of one of several kinds."""
        return lift(atom.value) if isinstance(atom, Constant) else self.settle(self._bound(atom.name))

    def _bound(self, name: str) -> AbstractValue:
        value = self.frame.locals.get(name)
        if value is None:
            raise self.python_error(UnboundLocalError, f"cannot access local variable '{name}'")
        return value

    def resolve(self, value: AbstractValue) -> AbstractValue:
        """Read an outside item on first use; refuse what a join could not merge, or left of one of several kinds."""
        value = self.settle(value)
        if isinstance(value, EitherValue):
            raise EitherUsed(value)
        return value

    def settle(self, value: AbstractValue) -> AbstractValue:
        """Return what `resolve` does, or a value that is of one of several kinds."""
        if isinstance(value, Unread):
            return self.externals.force(value)
        if isinstance(value, Poison):
            raise PoisonUsed(value.fork, value.reason)
        return self.state.refined.get(value.identity, value) if isinstance(value, EitherValue) else value

    def set(self, name: str, value: AbstractValue) -> None:
        """Bind a local of the top frame."""
        before = self.frame.locals.get(name)
        self.frame.locals[name] = value
        if type(before) is HostValue:
            self.let_go(name, before)

    def let_go(self, name: str, value: Any) -> None:
        """Hear that a variable no longer refers to a value; where a generator goes by that, the graph is to end."""
        self.dropping |= keeps_generator(name, value) and not self.state.keeps(value)
        if self.dropping and self.nested:
            raise self.unsupported("python.generator", name, "a generator is dropped")

    def heap(self, reference: Reference) -> Any:
        """Return the heap object a reference points to, in the present state."""
        return self.state.at(reference.index)

    def python_error(self, type_: type[BaseException], message: str) -> PythonRaise:
        """Return the raising of a built-in exception that eager would raise here too."""
        return PythonRaise(type_, Known(type_(message)), approximate=True)

    def decide(self, condition: Value) -> bool | Value:
        """Return which way a condition goes, where the machine works on values that are there; else itself."""
        return condition

    def differentiate_by(self, value: Value) -> None:
        """Hear that gradients flow to a value."""
        self.gradients.sources.add(value)

    def differentiates(self, values: Iterable[Value]) -> bool:
        """Whether a gradient under way may flow through any of some values."""
        return self.gradients.flow_through(values)

    def catch_up(self, gradient: Iterable[Value | None] | None = None) -> None:
        """On values that are there, do what has been put among the nodes, or the backward pass to a ``gradient``."""

    def unrolls(self) -> bool:
        """Whether loops are gone through turn by turn: only where the machine works on values that are there."""
        return False

    # ------------------------------------------------------------------ run-time numbers made constants

    def new_symbol(self, minimum: int) -> DimExpr:
        """Return a dimension symbol that a ``bind_dim`` node will define."""
        self.symbol_count += 1
        made = symbol(f"d{self.symbol_count}", minimum)
        self.symbol_births[next(iter(made.symbols()))] = len(self.births)
        return made

    def sample_dim(self, dim: DimExpr) -> int | None:
        """Return a dimension's size in the call capture looks at, if inputs tell it."""
        sizes = self.externals.symbol_sizes()
        return dim.evaluate(sizes) if dim.symbols() <= sizes.keys() else None

    def may_specialize(self, value: Scalar) -> bool:
        """Whether a run-time number may be assumed to be what it is in the call capture looks at."""
        return may_specialize(self, value)

    def value_key(self) -> Any:
        """Return under which name it is remembered that a number at the present instruction varies."""
        return ("value", self.span.file, self.frame.core.qualified_name, self.frame.core.span.line, self.site)

    def specialize(self, value: Scalar) -> Any:
        """Guard that a run-time number has the value it has now, and return that value."""
        return specialize(self, value)

    def constant(self, value: AbstractValue, what: str) -> Any:
        """Return the Python object of a value that capture must know, specialising on a run-time number.

        Raises
        ------
        CaptureFailure
            If it is neither known nor may be assumed.
        """
        value = self.resolve(value)
        if isinstance(value, Scalar) and self.may_specialize(value):
            return self.specialize(value)
        if isinstance(value, TupleValue):
            return tuple(self.constant(item, what) for item in value.items)
        if isinstance(value, SliceValue):
            return slice(*(self.constant(part, what) for part in (value.start, value.stop, value.step)))
        if isinstance(value, Known):
            return value.value
        raise self.unsupported("python.value", what, f"{what} must be known when the function is compiled")

    # ------------------------------------------------------------------ running

    def run(self, stop: tuple[int, int]) -> None:
        """Run until control is no deeper than ``stop``; raise `Terminated` if the path ends before."""
        while self.state.depth > stop:
            try:
                STEP_BY_KIND[0](self) if self.several_kinds else self.step()
            except PythonRaise as raised:
                self.unwind(Unwinding("raise", raised))

    def step(self) -> None:
        """Execute one instruction, or leave a finished block."""
        pause()
        self.effort.step(self)
        entry = self.frame.blocks[-1]
        if self.dropping:
            raise DROP[0](self, entry)
        if entry.index < len(entry.block.instructions):
            instruction = entry.block.instructions[entry.index]
            entry.index += 1
            noted = self.externals.sets_error_modes
            self.span, self.site = self.state.noted(instruction.span) if noted else instruction.span, instruction.site
            if self.nested == 0:
                self.outermost = (len(self.state.frames), instruction)
            if instruction in self.hosts.instructions:
                raise SUSPEND[0](self, instruction)
            execute = EXECUTE.get(type(instruction))
            if execute is None:
                raise self.unsupported(
                    "python.construct", type(instruction).__name__, "the construct has no capture rule yet"
                )
            execute(self, instruction)
        else:
            FINISH[type(entry)](self, entry)

    def push(self, block: Block) -> None:
        """Run a block next in the top frame."""
        self.frame.blocks.append(ControlEntry(block))

    def run_nested(self, stop: tuple[int, int]) -> None:
        """Run until control is no deeper than ``stop`` for a rule that goes on afterwards."""
        around = self.nested, self.held
        self.nested, self.held = self.nested + 1, State.mark()
        try:
            self.run(stop)
        finally:
            self.nested, self.held = around

    def run_block(self, block: Block) -> None:
        """Run a block to its end, now."""
        stop = self.state.depth
        self.push(block)
        self.run_nested(stop)

    def enter(
        self,
        core: FunctionCore,
        namespace: dict[str, Any],
        code: Any,
        arguments: dict[str, AbstractValue],
        cells: dict[str, AbstractValue],
        target: str | None,
        result: str = "value",
    ) -> Frame:
        """Push the frame of a call; parameters and locals captured by inner functions become cells."""
        self.refuse_frame_reader(core)
        self.externals.note_namespace(core.span.file, namespace)
        if len(self.state.frames) > 120:
            raise self.unsupported("python.recursion", "call", "calls are nested deeper than 120", hint="")
        own = dict(cells)
        for name in core.cells:
            own[name] = self.state.allocate(Cell(value=arguments.pop(name, None)))
        frame = Frame(core, namespace, code, arguments, own, [ControlEntry(core.body)], target, result)
        self.state.frames.append(frame)
        return frame

    def refuse_frame_reader(self, core: FunctionCore) -> None:
        """Leave a function to Python that looks at its own frame: in generated code it would see another one."""
        reader = frame_reader(core)
        if reader is not None:
            raise self.unsupported("python.frame", reader, f"{core.name} looks at its own variables by it")

    # ------------------------------------------------------------------ unwinding

    def unwind(self, unwinding: Unwinding) -> None:
        """Leave control entries until something stops a break, continue, return or raise."""
        while True:
            blocks = self.frame.blocks
            if not blocks:
                if self._leave_frame(unwinding):
                    return
                continue
            entry = blocks[-1]
            if isinstance(entry, LoopEntry) and unwinding.kind in ("break", "continue"):
                if unwinding.kind == "break":
                    blocks.pop()
                return
            if isinstance(entry, GraphLoopEntry):
                entry.loop.leave(self, unwinding)
                return
            loop = entry.instruction if isinstance(entry, LoopEntry) and unwinding.kind == "raise" else None
            if loop is not None and self.frame.draws_from_python(loop):
                raise self._uncaught(unwinding.value)  # a handler runs after the generator is dropped
            blocks.pop()
            if isinstance(entry, TryEntry) and UNWIND_TRY[0](self, entry, unwinding):
                return

    def _leave_frame(self, unwinding: Unwinding) -> bool:
        """Pop the top frame for a return or raise; tell whether control stopped."""
        if unwinding.kind == "return":
            self.finish_frame(unwinding.value)
            return True
        frame = self.state.pop()
        raised: PythonRaise = unwinding.value
        if not self.state.frames or any(starmap(keeps_generator, frame.locals.items())):  # as long as the traceback is
            raise self._uncaught(raised)
        if frame.result == "invoked":
            raise raised
        return False

    def _uncaught(self, raised: PythonRaise) -> Terminated:
        shown = raised.exception.value if isinstance(raised.exception, Known) else ""
        return self.fail("python.exception", f"raise {raised.type_.__name__}({shown})", "no exception")

    def finish_frame(self, value: AbstractValue) -> None:
        """Return from the top frame."""
        if len(self.state.frames) == 1:
            raise EXIT[0](self, value)
        frame = self.state.pop()
        self.state.returned = value if frame.result == "invoked" else NONE
        if frame.result == "instance":
            value = self.constructed(frame, value)
        if frame.target is not None:
            self.set(frame.target, value)
        for name, local in frame.locals.items():
            self.let_go(name, local)

    def constructed(self, frame: Frame, returned: AbstractValue) -> AbstractValue:
        """Return the instance that an ``__init__`` has been called for, which has to return None."""
        assert frame.instance is not None
        returned = self.resolve(returned)
        if not isinstance(returned, Known) or returned.value is not None:
            raise self.python_error(TypeError, "__init__() should return None")
        return frame.instance


#: set by `janusjit.analysis.capture.exceptions`, `.exits`, `.hosts` and `.kinds`, which build on the machine
STEP_BY_KIND: list[Callable[[Machine], None]] = []
DROP: list[Callable[[Machine, ControlEntry], Terminated]] = []
SUSPEND: list[Callable[[Machine, Instruction], Terminated]] = []
UNWIND_TRY: list[Callable[[Machine, TryEntry, Unwinding], bool]] = []
EXIT: list[Callable[[Machine, AbstractValue], Terminated]] = []


def _finish_block(machine: Machine, entry: ControlEntry) -> None:
    machine.frame.blocks.pop()
    if not machine.frame.blocks:
        machine.finish_frame(NONE)


FINISH[ControlEntry] = _finish_block
