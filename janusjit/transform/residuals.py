"""What the backward pass finds again of branches and loops: on a tape, or computed anew.

Owns `Recording`, one a branch or loop that is not nested in another. Forward, every way to the end of an arm or of a
turn pushes what its own backward region needs; backward, that region begins with the pop. Invariant: pops undo pushes,
last first, because a backward region goes through the forward region in the opposite order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from janusjit.ir.builder import GraphBuilder, Substitution
from janusjit.ir.dims import DimExpr, Symbol, symbol, symbols_of
from janusjit.ir.graph import Node, Region, Value, walk
from janusjit.ir.types import INT
from janusjit.ir.verify import symbols_in
from janusjit.spans import BackwardSpan
from janusjit.transform.activity import BREAK, CONTINUE, ENDS, terminators
from janusjit.transform.dimension_names import rename_dims
from janusjit.transform.recomputation import Choice, choose


def unused_tape(builder: GraphBuilder) -> int:
    """Return a number above those of all tapes in the graph and in the open regions, which may be no part of it yet."""
    regions = (builder.graph.body, *builder.open_regions)
    nodes = (node for region in regions for node in walk(region))
    used: Iterable[int] = (node.attributes["tape"] for node in nodes if "tape" in node.attributes)
    return max(used, default=0) + 1


def way_to(region: Region, end: Node) -> list[Node]:
    """Return the nodes control comes by between the beginning of a region and ``end``, in it or in arms of ``if``s."""
    found = _way(region, end)
    assert found is not None
    return found


def _way(region: Region, end: Node) -> list[Node] | None:
    for position, node in enumerate(region.nodes):
        if node is end:
            return region.nodes[:position]
        for arm in node.regions if node.op == "if" else ():
            rest = _way(arm, end)
            if rest is not None:
                return region.nodes[:position] + rest
    return None


@dataclass(eq=False)
class Pop:
    """A pop of a frame in a region of the backward pass, and the nodes that go back through the frame's way.

    ``around`` are the regions it lies in, ``region`` among them.
    """

    node: Node
    region: Region
    around: tuple[Region, ...]
    users: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Frame:
    """What is pushed at ``end``, the terminator of an arm or of a way through a loop's body.

    ``way`` are the nodes control came by; ``pops`` take the frame from the tape.
    ``counts`` are the dimensions bound on the way that the backward region speaks of; their values are pushed on top.
    """

    end: Node
    way: Sequence[Node]
    parameters: Sequence[Value]
    pops: list[Pop] = field(default_factory=list)
    choice: Choice = field(default_factory=Choice)
    counts: list[Symbol] = field(default_factory=list)

    def defined(self) -> set[Value]:
        return {*self.parameters, *(result for node in self.way for result in node.results)}


@dataclass(frozen=True)
class Turns:
    """Results a forward loop has got: how many turns it went round, and by which of several ways it was left."""

    turns: Value
    way_out: Value | None


class Recording:
    """The tape of a branch or a loop.

    Parameters
    ----------
    builder : GraphBuilder
        Appends the backward pass; ``root`` stands in one of its open regions.
    root : Node
        The branch or loop.
    tape : int
        The number of a tape that nothing is on yet.

    Attributes
    ----------
    token : Value
        The height of the tape after ``root``; it stands for what is not there before `finish`.
    visited : set of Node
        The branches and loops, ``root`` among them, that are gone back through.
    """

    def __init__(self, builder: GraphBuilder, root: Node, tape: int) -> None:
        self._builder, self._root = builder, root
        self._tape = {"tape": tape}
        self.token = Value(INT)
        self.visited: set[Node] = set()
        self._frames: dict[Node, Frame] = {}
        self._numbers: dict[Node, int] = {}
        self._turns: dict[Node, Turns] = {}
        self._bound = 0
        self._begin = len(builder.region.nodes)
        self._home = builder.region
        self._substitution = Substitution()
        self._start = Node("tape_new", (), (INT,), dict(self._tape), root.span)
        region = next(region for region in builder.open_regions if root in region.nodes)
        region.nodes.insert(region.nodes.index(root), self._start)

    # -- backward

    def pop(self, end: Node, way: Sequence[Node], parameters: Sequence[Value], token: Value) -> Pop:
        """Emit the pop of what is needed of a way to ``end``; `close` it when the way has been gone back through."""
        frame = self._frames.setdefault(end, Frame(end, way, parameters))
        node = self._builder.emit(
            "tape_pop", (token,), self._tape, span=BackwardSpan.of(end.span), result_types=(INT,)
        )
        pop = Pop(node, self._builder.region, self._builder.open_regions)
        frame.pops.append(pop)
        return pop

    def close(self, pop: Pop) -> None:
        """Note that what has been emitted since is what goes back through the way."""
        pop.users = pop.region.nodes[pop.region.nodes.index(pop.node) + 1 :]

    def pop_number(self, ends: Sequence[Node], token: Value) -> tuple[Value, Value]:
        """Emit the pop of which of ``ends`` a turn came to; return the token after it, and the number."""
        self._numbers.update((end, number) for number, end in enumerate(ends))
        results = self._builder.emit("tape_pop", (token,), self._tape, result_types=(INT, INT)).results
        return results[0], results[1]

    def count_turns(self, loop: Node) -> Turns:
        """Let a forward loop count its turns, and say by which of several ways it is left."""
        if loop in self._turns:
            return self._turns[loop]
        (body,) = loop.regions
        zero = self._before(loop, 0)
        loop.inputs += (zero,)
        count = Value(INT, body, len(body.parameters))
        body.parameters += (count,)
        leaving = list(terminators(body, BREAK))
        for end in list(terminators(body, CONTINUE)):
            one = self._before(end, 1)
            self._insert(end, following := Node("add", (count, one), (INT,), span=loop.span))
            end.inputs += (following.result,)
        for number, end in enumerate(leaving):
            extra = (count, self._before(end, number)) if len(leaving) > 1 else (count,)
            end.inputs += extra
        turns = _add_result(loop)
        self._turns[loop] = Turns(turns, _add_result(loop) if len(leaving) > 1 else None)
        return self._turns[loop]

    def _before(self, node: Node, number: int) -> Value:
        constant = Node("constant", (), (INT,), {"value": number, "dtype": "i64"}, node.span)
        self._insert(node, constant)
        return constant.result

    def _insert(self, node: Node, new: Node) -> None:
        region = self._region_of(node)
        region.nodes.insert(region.nodes.index(node), new)

    def _region_of(self, node: Node) -> Region:
        for region in (*self._builder.open_regions, *_regions_in(self._root)):
            if any(other is node for other in region.nodes):
                return region
        raise AssertionError(f"{node!r} is in no region")

    # -- settling what is kept

    def finish(self) -> None:
        """Decide what is kept, put it on the tape, and let the backward pass find it there."""
        depth = {node: level for level, node in _nested(self._root, 0)}
        for frame in sorted(self._frames.values(), key=lambda frame: -depth[frame.end]):
            self._settle(frame)
        token = self._thread(self._root, self._start.result)
        self._substitution.set(self.token, token)
        for node in self._home.nodes[self._begin :]:
            self._substitute(node)

    def _around(self, pop: Pop) -> Iterable[Pop]:
        """Yield the pops among whose users, and in whose very region, a pop stands."""
        pops = (other for frame in self._frames.values() for other in frame.pops)
        return (other for other in pops if other.region is pop.region and pop.node in other.users)

    def _substitute(self, node: Node) -> None:
        self._substitution.apply(node)
        for region in node.regions:
            for inner in walk(region):
                self._substitution.apply(inner)

    def _settle(self, frame: Frame) -> None:
        """Decide what of a frame is kept, complete its pops, and compute the rest behind them."""
        defined = frame.defined()
        wanted = [_used_by(pop.users, defined) for pop in frame.pops]
        everything = list(dict.fromkeys(value for values in wanted for value in values))
        frame.choice = choose(everything, frame.way, defined, self._builder.graph.memory_limit is not None)
        frame.counts = self._counts(frame)
        for pop, values in zip(frame.pops, wanted, strict=True):
            self._complete(frame, pop, values)

    def _counts(self, frame: Frame) -> list[Symbol]:
        """Return the dimensions bound on a frame's way that are spoken of behind its pops, and not known there."""
        bound = _bound_by(frame.way)
        if not bound:
            return []
        known = {*self._builder.graph.symbols, *(s for r in self._builder.open_regions for s in _bound_by(r.nodes))}
        spoken_of = symbols_of(dim for value in frame.choice.kept for dim in value.type.shape)
        spoken_of |= {symbol for pop in frame.pops for node in pop.users for symbol in _mentioned(node)}
        return [symbol for symbol in bound if symbol in spoken_of and symbol not in known]

    def _bind_counts(self, frame: Frame, pop: Pop) -> dict[Symbol, DimExpr]:
        """Put the pop of the dimensions before that of the values that have them; return their names behind it.

        Each pop has names of its own: two pops of a way, or of ways that bind the same dimension, may be nested.
        """
        types = (INT, *[INT] * len(frame.counts))
        counts = Node("tape_pop", pop.node.inputs, types, dict(self._tape), pop.node.span)
        pop.node.inputs = counts.results[:1]
        names: dict[Symbol, DimExpr] = {}
        for found in frame.counts:
            self._bound += 1
            names[found] = symbol(f"{found.name}_{self._tape['tape']}_{self._bound}", found.minimum)
        binding = [
            Node("bind_dim", (value,), (), {"symbol": next(iter(names[found].symbols()))}, pop.node.span)
            for found, value in zip(frame.counts, counts.results[1:], strict=True)
        ]
        here = pop.region.nodes.index(pop.node)
        pop.region.nodes[here:here] = [counts, *binding]
        return names

    def _complete(self, frame: Frame, pop: Pop, values: Sequence[Value]) -> None:
        names = self._bind_counts(frame, pop) if frame.counts else {}
        nodes = pop.region.nodes
        behind = nodes.index(pop.node) + 1
        if not frame.choice.kept:
            self._substitution.set(pop.node.results[0], pop.node.inputs[0])
            behind -= 1
            del nodes[behind]
        stands_for = dict(zip(frame.choice.kept, (_add_result(pop.node, v) for v in frame.choice.kept), strict=True))
        nodes[behind:behind] = copies = frame.choice.again(values, frame.way, stands_for)
        for around in self._around(pop):
            around.users += copies
        for node in pop.users:
            _replace(node, stands_for)
        for node in (pop.node, *copies, *pop.users) if names else ():
            rename_dims(node, names)

    # -- forward

    def _thread(self, node: Node, token: Value, in_loop: bool = False) -> Value:
        """Let the token go through a branch or a loop; return it as it is behind."""
        if node.op == "loop":
            (body,) = node.regions
            node.inputs += (token,)
            parameter = Value(INT, body, len(body.parameters))
            body.parameters += (parameter,)
            self._thread_region(body, parameter, in_loop=True)
            return _add_result(node)
        for arm in node.regions:
            self._thread_region(arm, token, in_loop)
        return _add_result(node) if any(arm.terminator.op == "yield" for arm in node.regions) else token

    def _thread_region(self, region: Region, token: Value, in_loop: bool) -> None:
        """Let the token go through a region; ``in_loop`` tells ends of loops gone back through from those around."""
        for node in list(region.nodes):
            if node in self.visited or (in_loop and _leads_on(node)):
                token = self._thread(node, token, in_loop)
        end = region.terminator
        if end.op != "yield" and not (in_loop and end.op in ENDS):
            return
        frame = self._frames.get(end)
        if frame is not None:
            token = self._push(region, frame.choice.kept, token)
            dims = [Node("dim", (), (INT,), {"dim": DimExpr((((s,), 1),))}, end.span) for s in frame.counts]
            region.nodes[-1:-1] = dims
            token = self._push(region, [node.result for node in dims], token)
        if end in self._numbers:
            number = Node("constant", (), (INT,), {"value": self._numbers[end], "dtype": "i64"}, end.span)
            region.nodes.insert(-1, number)
            token = self._push(region, [number.result], token)
        end.inputs += (token,)

    def _push(self, region: Region, values: Sequence[Value], token: Value) -> Value:
        if not values:
            return token
        push = Node("tape_push", (token, *values), (INT,), dict(self._tape), region.terminator.span)
        region.nodes.insert(-1, push)
        return push.result


def _bound_by(nodes: Sequence[Node]) -> list[Symbol]:
    """Return the dimensions that nodes bind, in order."""
    found = (node.attributes.get("symbol") for node in nodes)
    return list(dict.fromkeys(symbol for symbol in found if isinstance(symbol, Symbol)))


def _mentioned(node: Node) -> Iterable[Symbol]:
    """Yield the dimensions that a node and those nested in it speak of."""
    for one in (node, *(inner for region in node.regions for inner in walk(region))):
        yield from symbols_in(tuple(one.attributes.values()))
        yield from symbols_of(dim for value in one.results for dim in value.type.shape)
        yield from symbols_of(dim for region in one.regions for p in region.parameters for dim in p.type.shape)


def _leads_on(node: Node) -> bool:
    """Return whether control may leave an ``if`` for the next turn, or the end, of the loop around it."""
    return node.op == "if" and any(True for arm in node.regions for _ in terminators(arm, ENDS))


def _add_result(node: Node, like: Value | None = None) -> Value:
    result = Value(INT if like is None else like.type, node, len(node.results))
    node.results += (result,)
    return result


def _regions_in(node: Node) -> Iterable[Region]:
    for region in node.regions:
        yield region
        for inner in region.nodes:
            yield from _regions_in(inner)


def _nested(node: Node, depth: int) -> Iterable[tuple[int, Node]]:
    """Yield the terminators in a branch or loop with how deep the branch or loop they end a way through is nested."""
    for region in node.regions:
        for inner in region.nodes:
            yield from _nested(inner, depth + 1)
            if inner.op == "yield" or (inner.op in ENDS and node.op == "loop"):
                yield depth, inner
    if node.op == "loop":
        for end in terminators(node.regions[0], ENDS):
            yield depth, end


def _used_by(users: Sequence[Node], defined: set[Value]) -> list[Value]:
    """Return the values of a forward way that nodes, or nodes nested in them, use."""
    nodes = (inner for node in users for inner in (node, *(n for r in node.regions for n in walk(r))))
    return list(dict.fromkeys(value for node in nodes for value in node.inputs if value in defined))


def _replace(node: Node, stands_for: dict[Value, Value]) -> None:
    node.inputs = tuple(stands_for.get(value, value) for value in node.inputs)
    for region in node.regions:
        for inner in region.nodes:
            _replace(inner, stands_for)
