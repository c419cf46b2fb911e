"""From Core back to a Python function.

Owns making a code object of a `FunctionCore`, with or without probes. Invariant: the generated function returns,
raises and changes what the original does, and its tracebacks show the user's lines.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from types import CodeType, FunctionType

from janusjit.analysis.continuation import FrameShape
from janusjit.analysis.core import (
    Block,
    DeleteCell,
    FunctionCore,
    Instruction,
    LoadCell,
    Opaque,
    Parameters,
    StoreCell,
)
from janusjit.analysis.generate import expressions, loops, statements
from janusjit.analysis.generate.emitter import RUNTIME, Emitter
from janusjit.analysis.generate.places import complete_places
from janusjit.analysis.generate.resume import MANAGER, PENDING, host_body, host_core, resume_body
from janusjit.analysis.generate.runtime import CodeMaker, Runtime, closure_for
from janusjit.analysis.walk import walk
from janusjit.pacing import pause
from janusjit.spans import Span

__all__ = [
    "Generated",
    "Mode",
    "expressions",
    "generate",
    "generate_host",
    "generate_resumption",
    "instantiate",
    "loops",
    "statements",
]

_FACTORY = ".factory"
_FUNCTION = ".function"
_QUALIFIED = f"{_FACTORY}.<locals>.{_FUNCTION}"


@dataclass(frozen=True, slots=True)
class Mode:
    """What to generate.

    Attributes
    ----------
    probes : bool
        Whether to write calls of the profiler's probes.
    original_functions : bool
        Whether nested functions are made from CPython's code (as users must see them) or generated too.
    replaces : bool
        Whether hot loops ask at their back edges for compiled code that does the rest (on-stack replacement).
    records : bool
        Whether values are handed to a recording, and what is written is made known before: objects, and containers
        with their items.
    """

    probes: bool = False
    original_functions: bool = False
    replaces: bool = False
    records: bool = False


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated code object and the runtime object its functions capture."""

    code: CodeType
    runtime: Runtime


def generate(core: FunctionCore, mode: Mode = Mode()) -> Generated:
    """Make a code object that does what a function in Core does.

    Parameters
    ----------
    core : FunctionCore
        The function.
    mode : Mode
        What to generate.

    Raises
    ------
    SourceError
        ``source.unsupported`` if Python's own compiler refuses the generated tree.
    """
    functions: list[FunctionCore] = []
    emitter = Emitter(core, mode, functions)
    body, pending = emitter.block(core.body)
    entry = [_entry(core, emitter)] if mode.probes else []
    definition = _definition(core, [*_declarations(core, emitter), *entry, *emitter.closed(body, pending)], emitter)
    return _compiled(core, emitter, definition, [*core.free, RUNTIME], mode)


def generate_resumption(shape: FrameShape, bound: tuple[str, ...], span: Span, mode: Mode = Mode()) -> Generated:
    """Make a code object that goes on in the middle of a function.

    Its parameters are the pending operation, ``__exit__`` of each ``with``, then the frame's variables in order; the
    cells the frame's closures share are free variables.

    Parameters
    ----------
    shape : FrameShape
        The frame.
    bound : tuple of str
        The locals that the pending operation gives.
    span : Span
        Of the pending operation; `janusjit.spans.UNKNOWN_SPAN` if nothing is pending.
    mode : Mode
        What to generate.
    """
    core = shape.core
    functions: list[FunctionCore] = []
    emitter = Emitter(core, mode, functions, unbound=_maybe_unbound(core))
    body = resume_body(emitter, shape, bound, span)
    managers = [MANAGER.format(number) for number in range(len(shape.managers))]
    names = [PENDING, *managers, *(name for name, _ in shape.variables)]
    outer = [*dict.fromkeys([*core.free, *sorted(core.cells)]), RUNTIME]
    declared = _resumed_declarations(core, emitter, names)
    variables = [name for name, _ in shape.variables]
    taking = [ast.Assign([emitter.target(name)], emitter.runtime("taken", emitter.name(name))) for name in variables]
    definition = _function_definition(emitter, names, [*declared, *map(emitter.at, taking), *body])
    return _compiled(core, emitter, definition, outer, mode)


def generate_host(
    core: FunctionCore,
    instruction: Instruction,
    operands: tuple[str, ...],
    results: tuple[str, ...],
    protected: bool = False,
) -> Generated:
    """Make a code object that runs one instruction of a function.

    Its parameters are the locals it reads; it returns the one of ``results``, locals it binds, or a tuple of them;
    and where an exception is ``protected``, a `Raised` if a whole ``try`` raises that binds some.
    """
    alone = host_core(core, instruction)
    emitter = Emitter(alone, Mode(original_functions=True), [], unbound=_maybe_unbound(core))
    body = host_body(emitter, instruction, results, protected)
    outer = [*dict.fromkeys([*core.free, *sorted(core.cells)]), RUNTIME]
    declared = _resumed_declarations(alone, emitter, list(operands))
    definition = _function_definition(emitter, list(operands), [*declared, *body])
    return _compiled(core, emitter, definition, outer, Mode(original_functions=True))


def _function_definition(emitter: Emitter, names: list[str], body: list[ast.stmt]) -> ast.stmt:
    emitter.span = emitter.core.span
    arguments = _arguments(Parameters(positional=tuple(names)))
    node: ast.stmt = emitter.at(ast.FunctionDef(_FUNCTION, arguments, body, [], None))
    return node


def _compiled(
    core: FunctionCore, emitter: Emitter, definition: ast.stmt, outer_names: list[str], mode: Mode
) -> Generated:
    """Compile a definition as a function nested in one that has ``outer_names`` as variables."""
    factory = ast.FunctionDef(
        name=_FACTORY,
        args=ast.arguments(
            posonlyargs=[], args=[ast.arg(name) for name in outer_names], kwonlyargs=[], kw_defaults=[], defaults=[]
        ),
        body=[definition],
        decorator_list=[],
    )
    module = ast.Module([emitter.at(factory)], [])
    complete_places(module)
    pause()
    compiled = compile(module, core.span.file, "exec", dont_inherit=True)
    code = _inner(_inner(compiled, _FACTORY), _FUNCTION)
    code = _renamed(code, core.qualified_name).replace(co_name=core.name)
    return Generated(code, Runtime(emitter.functions, _code_maker(mode)))


def _code_maker(mode: Mode) -> CodeMaker:
    made: dict[int, Generated] = {}

    def code_of(core: FunctionCore) -> tuple[CodeType, Runtime | None]:
        if mode.original_functions and core.code is not None:
            return core.code, None
        if id(core) not in made:
            made[id(core)] = generate(core, Mode(False, mode.original_functions))
        generated = made[id(core)]
        return generated.code, generated.runtime

    return code_of


def _renamed(code: CodeType, qualified_name: str) -> CodeType:
    """Give a code object, and the classes and functions in its opaque statements, the names they have in the source."""

    def rename(text: str) -> str:
        return qualified_name + text.removeprefix(_QUALIFIED) if text.startswith(_QUALIFIED) else text

    constants = tuple(
        _renamed(item, qualified_name) if isinstance(item, CodeType) else rename(item) if type(item) is str else item
        for item in code.co_consts
    )
    return code.replace(co_qualname=rename(code.co_qualname), co_consts=constants)


def _inner(code: CodeType, name: str) -> CodeType:
    return next(item for item in code.co_consts if isinstance(item, CodeType) and item.co_name == name)


def _declarations(core: FunctionCore, emitter: Emitter) -> list[ast.stmt]:
    """Declare the globals, the free variables that are written, and the locals that nothing binds."""
    emitter.span = core.span
    written: set[str] = set()
    for instruction in walk(core.body):
        if isinstance(instruction, StoreCell | DeleteCell):
            written.add(instruction.name)
        elif isinstance(instruction, Opaque):
            written.update(instruction.writes)
    declared: list[ast.stmt] = []
    if core.declared_globals:
        declared.append(emitter.at(ast.Global(sorted(core.declared_globals))))
    if outside := sorted(written & set(core.free)):
        declared.append(emitter.at(ast.Nonlocal(outside)))
    found = core.parameters
    bound = written | set(emitter.definitions) | {found.variadic, found.variadic_keyword}
    bound.update(found.positional_only, found.positional, found.keyword_only)
    for name in sorted(core.variables - bound):
        node = ast.AnnAssign(emitter.target(name), emitter.constant(None), None, 1)  # in a function, no code
        declared.append(emitter.at(node))
    return declared


def _resumed_declarations(core: FunctionCore, emitter: Emitter, parameters: list[str]) -> list[ast.stmt]:
    """Declare the globals, the shared variables, and every other variable of the function as local."""
    emitter.span = core.span
    shared = sorted({*core.free, *core.cells})
    declared: list[ast.stmt] = []
    if core.declared_globals:
        declared.append(emitter.at(ast.Global(sorted(core.declared_globals))))
    if shared:
        declared.append(emitter.at(ast.Nonlocal(shared)))
    for name in sorted(core.variables - {*shared, *parameters, *core.declared_globals}):
        node = ast.AnnAssign(emitter.target(name), emitter.constant(None), None, 1)  # in a function, no code
        declared.append(emitter.at(node))
    return declared


def _maybe_unbound(core: FunctionCore) -> frozenset[str]:
    """Return the variables that nested functions share and that may be read when they are not bound."""
    parameters = core.parameters
    bound = {*parameters.positional_only, *parameters.positional, *parameters.keyword_only}
    bound |= {name for name in (parameters.variadic, parameters.variadic_keyword) if name is not None}
    found: set[str] = set()
    for instruction in core.body.instructions:
        for inner in walk(Block([instruction])):
            if isinstance(inner, DeleteCell) or (isinstance(inner, LoadCell) and inner.name not in bound):
                found.add(inner.name)
        if isinstance(instruction, StoreCell):
            bound.add(instruction.name)
    return frozenset(found & core.cells) - set(core.free)


def _entry(core: FunctionCore, emitter: Emitter) -> ast.stmt:
    emitter.span = core.span
    node: ast.stmt = emitter.at(ast.Expr(emitter.runtime("enter")))
    return node


def _definition(core: FunctionCore, body: list[ast.stmt], emitter: Emitter) -> ast.stmt:
    kind = ast.AsyncFunctionDef if core.kind in ("coroutine", "async generator") else ast.FunctionDef
    emitter.span = core.span
    node: ast.stmt = emitter.at(
        kind(name=_FUNCTION, args=_arguments(core.parameters), body=body, decorator_list=[], returns=None)
    )
    return node


def _arguments(parameters: Parameters) -> ast.arguments:
    def nodes(names: tuple[str, ...]) -> list[ast.arg]:
        return [ast.arg(name) for name in names]

    return ast.arguments(
        posonlyargs=nodes(parameters.positional_only),
        args=nodes(parameters.positional),
        vararg=None if parameters.variadic is None else ast.arg(parameters.variadic),
        kwonlyargs=nodes(parameters.keyword_only),
        kw_defaults=[None for _ in parameters.keyword_only],
        kwarg=None if parameters.variadic_keyword is None else ast.arg(parameters.variadic_keyword),
        defaults=[],
    )


def instantiate(generated: Generated, function: FunctionType) -> FunctionType:
    """Make the generated function that stands for ``function``: its globals, cells, defaults, name and attributes."""
    captured = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    code = generated.code
    made = FunctionType(
        code,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        closure_for(code, captured, generated.runtime),
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__annotations__ = function.__annotations__
    made.__qualname__ = function.__qualname__
    made.__module__ = function.__module__
    made.__doc__ = function.__doc__
    made.__dict__.update(function.__dict__)
    return made
