"""Going back through nodes, branches and loops.

Owns `Reverse`. An ``if`` is gone back through by an ``if`` on the same condition, a ``loop`` by one of as many turns.
What a backward region needs of the forward region it belongs to is written down as if it could be seen from there;
`janusjit.transform.residuals` then decides what is kept on a tape and what is computed again. Invariant: of the ways
through a loop's body that lead to different terminators, each is gone back through by itself, and which it was is on
the tape. All of them go back through the same branches and loops, also where no cotangent comes by: what one way has
pushed there, the others must pop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from janusjit.ir.builder import GraphBuilder
from janusjit.ir.graph import TAPE_OPERATIONS, Node, Region, Value, walk
from janusjit.ir.types import INT
from janusjit.ops import OPS
from janusjit.ops.gradient import Cotangent, Emit, Pullback, Term
from janusjit.ops.registry import NotDifferentiable, NotDifferentiableError, ZeroGradient
from janusjit.spans import BACKWARD, BackwardSpan
from janusjit.transform.activity import BREAK, CONTINUE, Activity, terminators
from janusjit.transform.autodiff_errors import AutodiffError
from janusjit.transform.cotangents import ArmCotangents, Cotangents, LoopCotangents
from janusjit.transform.recomputation import computed_again
from janusjit.transform.residuals import Recording, unused_tape, way_to


class Reverse:
    """One backward pass: goes back through nodes and adds to cotangents.

    Parameters
    ----------
    builder : GraphBuilder
        Appends nodes.
    activity : Activity
        The values that have a cotangent.
    stand_ins : mapping, optional
        Copies of nodes that are gone back through instead of the nodes.

    Attributes
    ----------
    cotangents : Cotangents
        Of the values of the nodes gone through, and of those they depend on.
    """

    def __init__(
        self, builder: GraphBuilder, activity: Activity, stand_ins: Mapping[Node, Node] | None = None
    ) -> None:
        self.builder, self.activity = builder, activity
        self._stand_ins = stand_ins or {}
        self.cotangents = Cotangents()
        self._recording: Recording | None = None
        self._token: Value | None = None
        self._adjoint_tapes: dict[int, int] = {}
        self._copies: set[Node] = set()
        self._in_loop = False
        self._next_tape = 0

    def nodes(self, nodes: Sequence[Node]) -> None:
        """Go back through nodes that stand in program order."""
        behind = len(nodes)
        while behind:
            behind -= 1
            node = nodes[behind]
            if node.op == "checkpoint_leave":
                begin = _entrance(nodes, node)
                self._again(nodes[begin : behind + 1])
                behind = begin
            elif any(value in self.activity for value in node.results):
                self.node(node)

    def _again(self, nodes: Sequence[Node]) -> None:
        """Compute what stands between the marks of a checkpoint again, and go back through that."""
        if not any(self.cotangents.get(result) is not None for node in nodes for result in node.results):
            return
        copies = computed_again(self.builder, nodes)
        self._copies.update(copies.values())
        for copy in copies.values():
            self.cotangents.keep([*copy.results, *(value for region in copy.regions for value in _values_in(region))])
        self.activity.spread(list(copies.values()))
        for node, copy in copies.items():
            self._hand_over(node, copy)
        self.nodes(list(copies.values()))

    def _hand_over(self, node: Node, copy: Node) -> None:
        """Let the results of a copy have the cotangents of a node's."""
        for original, result in zip(node.results, copy.results, strict=True):
            term = self.cotangents.get(original)
            if term is not None and result in self.activity:
                self._add(result, term, node)

    def node(self, node: Node) -> None:
        """Go back through a node."""
        if node in self._stand_ins:
            self._hand_over(node, self._stand_ins[node])
            node = self._stand_ins[node]
        cotangents = tuple(self.cotangents.get(result) for result in node.results)
        on_tape = any(result in self.activity.tapes for result in node.results)
        # another way through the loop may go back through it: then it has pushed on this one as well
        pushes = bool(node.regions) and self._in_loop and node not in self._copies
        if not on_tape and not pushes and all(cotangent is None for cotangent in cotangents):
            return
        if node.regions:
            self._structured(node)
            return
        pulled = self._tape(node, cotangents) if node.op in TAPE_OPERATIONS else self._pulled_back(node, cotangents)
        for value, contribution in zip(node.inputs, pulled, strict=True):
            if contribution is not None and value in self.activity:
                self._add(value, contribution, node)

    def _add(self, value: Value, contribution: Cotangent, node: Node) -> None:
        if value in self.activity.tapes:
            if self.cotangents.get(value) is not None:
                raise AutodiffError("autodiff.tape", "what is on a tape is used twice", node)
            assert isinstance(contribution, Term)
            self.cotangents.set(value, contribution)
        elif contribution is not None:
            self.cotangents.add(value, contribution)

    def _pulled_back(self, node: Node, cotangents: tuple[Term | None, ...]) -> Sequence[Cotangent]:
        emit = Emit(self.builder, BackwardSpan.of(node.span), node.guard)
        inputs, results = (tuple(map(emit.term, values)) for values in (node.inputs, node.results))
        wanted = tuple(value in self.activity for value in node.inputs)
        return pull_back(Pullback(emit, node, inputs, results, cotangents, wanted))

    def _zero(self, value: Value) -> Term:
        """Emit a zero cotangent: of a token, that of an empty tape."""
        emit = Emit(self.builder, BACKWARD)
        if value in self.activity.tapes:
            return Term(emit, self._new_tape(self._adjoint(self.activity.tapes[value])))
        return emit.zeros(value.type)

    # -- tapes: the cotangents of what is on one are on another

    def _adjoint(self, tape: int) -> int:
        if tape not in self._adjoint_tapes:
            self._adjoint_tapes[tape] = self._unused_tape()
        return self._adjoint_tapes[tape]

    def _unused_tape(self) -> int:
        if not self._next_tape:
            self._next_tape = unused_tape(self.builder)
        self._next_tape += 1
        return self._next_tape - 1

    def _new_tape(self, tape: int) -> Value:
        return self.builder.emit("tape_new", (), {"tape": tape}, result_types=(INT,)).result

    def _tape(self, node: Node, cotangents: tuple[Term | None, ...]) -> list[Cotangent]:
        if node.op == "tape_new":
            return []
        emit, tape = Emit(self.builder, BackwardSpan.of(node.span)), {"tape": self._adjoint(node.attributes["tape"])}
        token = cotangents[0]
        if node.op == "tape_pop":
            values = [(v, c) for v, c in zip(node.results[1:], cotangents[1:], strict=True) if v.type.is_float]
            terms = [self._zero(value) if term is None else term for value, term in values]
            height = self._new_tape(tape["tape"]) if token is None else token.value
            pushed = [height, *(term.value for term in terms)]
            pushes: Cotangent = Term(emit, self.builder.emit("tape_push", pushed, tape, result_types=(INT,)).result)
            return [pushes]
        if token is None:
            return [None] * len(node.inputs)
        types = [value.type for value in node.inputs[1:] if value.type.is_float]
        popped = self.builder.emit("tape_pop", (token.value,), tape, result_types=(INT, *types)).results
        rest = iter(popped[1:])
        found: list[Cotangent] = [Term(emit, popped[0])]
        return found + [Term(emit, next(rest)) if value.type.is_float else None for value in node.inputs[1:]]

    # -- structured control flow

    def _structured(self, node: Node) -> None:
        if self._recording is not None and node not in self._copies:
            self._through(node)
            return
        around = self._recording, self._token, self._in_loop
        self._recording = Recording(self.builder, node, self._unused_tape())
        self._token, self._in_loop = self._recording.token, False
        self._through(node)
        self._recording.finish()
        self._recording, self._token, self._in_loop = around

    def _through(self, node: Node) -> None:
        assert self._recording is not None
        self._recording.visited.add(node)
        if node.op == "if":
            self._through_if(node)
        else:
            self._through_loop(node)

    def _back(self, end: Node, way: Sequence[Node], parameters: Sequence[Value], seed: Callable[[], None]) -> None:
        """Go back through the way that led to a terminator, with what the tape has of it."""
        assert self._recording is not None and self._token is not None
        pop = self._recording.pop(end, way, parameters, self._token)
        self._token = pop.node.results[0]
        seed()
        self.nodes(way)
        self._recording.close(pop)

    def _seed(self, end: Node, targets: Sequence[Value], terms: Sequence[Term | None]) -> None:
        """Hand the cotangents of ``targets`` to what a terminator gives them."""
        for source, target, term in zip(end.inputs, targets, terms, strict=False):
            if term is not None and source in self.activity and target in self.activity:
                self._add(source, term, end)

    def _through_if(self, node: Node) -> None:
        arms = [arm for arm in node.regions if arm.terminator.op == "yield"]
        terms = [self.cotangents.get(result) for result in node.results]

        def through(arm: Region) -> None:
            end = arm.terminator
            self._back(end, arm.nodes[:-1], (), lambda: self._seed(end, node.results, terms))

        if len(arms) == 1:  # nobody comes here by the other
            through(arms[0])
            return
        inside = [set(_values_in(arm)) for arm in arms]
        self._either(node.inputs[0], lambda: through(arms[0]), lambda: through(arms[1]), inside)

    def _either(
        self, condition: Value, then: Callable[[], None], otherwise: Callable[[], None], inside: Sequence[set[Value]]
    ) -> None:
        """Emit an ``if`` whose arms go back through this or that; cotangents of values outside come out of it."""
        around, token = self.cotangents, self._token
        arms: list[tuple[Region, ArmCotangents, Value]] = []
        for go_back, own in zip((then, otherwise), inside, strict=True):
            region, cotangents = Region(), ArmCotangents(around, own)
            self.cotangents, self._token = cotangents, token
            with self.builder.inside(region):
                go_back()
            assert self._token is not None
            arms.append((region, cotangents, self._token))
        self.cotangents = around
        targets = list(dict.fromkeys(value for _, cotangents, _ in arms for value in cotangents.changed()))
        before = {value: around.get(value) for value in targets}
        for region, cotangents, height in arms:
            with self.builder.inside(region):
                given = [cotangents.terms.get(value) or before[value] or self._zero(value) for value in targets]
                self.builder.terminate("yield", [height, *(term.value for term in given)])
        node = self.builder.branch(condition, arms[0][0], arms[1][0])
        self._token = node.results[0]
        for value, result in zip(targets, node.results[1:], strict=True):
            around.set(value, Term(Emit(self.builder, BACKWARD), result))

    # -- loops

    def _through_loop(self, node: Node) -> None:
        assert self._recording is not None
        around, self._in_loop = self._in_loop, True
        (body,) = node.regions
        inside = set(_values_in(body))
        loop = self._recording.count_turns(node)
        terms = [self.cotangents.get(result) for result in node.results]
        carried = self._carried(node, terms, inside)
        leaving = list(terminators(body, BREAK))

        def leave(end: Node) -> None:
            self._back(end, way_to(body, end), body.parameters, lambda: self._seed(end, node.results, terms))

        self._one_of(leaving, loop.way_out, leave, inside - set(body.parameters))
        self._turns(node, loop.turns, carried, inside)
        self._in_loop = around

    def _one_of(
        self, ends: Sequence[Node], number: Value | None, go_back: Callable[[Node], None], inside: set[Value]
    ) -> None:
        """Go back from the one of several terminators that ``number`` says."""
        if len(ends) == 1 or number is None:
            go_back(ends[0])
            return
        emit = Emit(self.builder, BACKWARD)
        first = emit.term(number).equal(0).value
        following = (emit.term(number) - 1).value
        rest = ends[1:]
        self._either(
            first, lambda: go_back(ends[0]), lambda: self._one_of(rest, following, go_back, inside), [inside, inside]
        )

    def _turns(self, node: Node, turns: Value, carried: Sequence[int], inside: set[Value]) -> None:
        """Emit the loop that goes back through the turns, from the cotangents of the parameters at the last."""
        (body,) = node.regions
        around, token = self.cotangents, self._token
        assert token is not None
        starts = [around.get(body.parameters[i]) or self._zero(body.parameters[i]) for i in carried]
        before = self.builder.region
        region = Region((INT, INT, *(term.type for term in starts)))
        left, height, *parameters = region.parameters

        def zero(value: Value) -> Term:
            with self.builder.inside(before):
                return self._zero(value)

        cotangents = LoopCotangents(around, inside, region, zero)
        self.cotangents, self._token = cotangents, height
        with self.builder.inside(region):
            leaving = self._unless_done(left)
            following = self._turn(node, carried, [Term(Emit(self.builder, BACKWARD), p) for p in parameters], inside)
            outside = [cotangents.terms[value] for value in cotangents.carried]
            one = Emit(self.builder, BACKWARD).constant(1, "i64").value
            fewer = self.builder.emit("subtract", (left, one), result_types=(INT,)).result
            given = [fewer, self._token, *(term.value for term in (*following, *outside))]
            self.builder.terminate("continue", given)
        leaving.inputs = region.parameters[1:]
        initial = [turns, token, *(term.value for term in (*starts, *cotangents.carried.values()))]
        made = self.builder.loop(initial, region, [p.type for p in region.parameters[1:]], BackwardSpan.of(node.span))
        self.cotangents, self._token = around, made.results[0]
        results = [Term(Emit(self.builder, BACKWARD), result) for result in made.results[1:]]
        for value, term in zip(cotangents.carried, results[len(carried) :], strict=True):
            around.set(value, term)
        for i, term in zip(carried, results, strict=False):
            if node.inputs[i] in self.activity:
                self._add(node.inputs[i], term, node)

    def _unless_done(self, left: Value) -> Node:
        """Emit the way out of the backward loop; return its ``break``, whose values are yet to be given."""
        done = Emit(self.builder, BACKWARD).term(left).equal(0).value
        then, otherwise = Region(), Region()
        with self.builder.inside(then):
            leaving = self.builder.terminate("break")
        with self.builder.inside(otherwise):
            self.builder.terminate("yield")
        self.builder.branch(done, then, otherwise)
        return leaving

    def _turn(self, node: Node, carried: Sequence[int], terms: list[Term], inside: set[Value]) -> list[Term]:
        """Go back through one turn; return the cotangents of what it began with."""
        assert self._recording is not None and self._token is not None
        (body,) = node.regions
        ends = list(terminators(body, CONTINUE))
        parameters = [body.parameters[i] for i in carried]

        def turn(end: Node) -> None:
            def seed() -> None:
                for i, term in zip(carried, terms, strict=True):
                    if end.inputs[i] in self.activity:
                        self._add(end.inputs[i], term, end)

            self._back(end, way_to(body, end), body.parameters, seed)

        number = None
        if len(ends) > 1:
            self._token, number = self._recording.pop_number(ends, self._token)
        if ends:
            self._one_of(ends, number, turn, inside - set(body.parameters))
        return [self.cotangents.get(p) or self._zero(p) for p in parameters]

    def _carried(self, node: Node, terms: Sequence[Term | None], inside: set[Value]) -> list[int]:
        """Return the carried values on which results with a cotangent depend, and tapes that are read."""
        (body,) = node.regions
        parameters = {parameter: index for index, parameter in enumerate(body.parameters)}
        unread = self._unread(node, terms)
        tapes = {i: self.activity.tapes[value] for value, i in parameters.items() if value in self.activity.tapes}
        found = set(tapes)
        results = [i for i, term in enumerate(terms) if term is not None]
        pending = [end.inputs[i] for end in terminators(body, BREAK) for i in results]
        pending += [end.inputs[i] for end in terminators(body, CONTINUE) for i in found]
        seen: set[Value] = set()
        while pending:
            value = pending.pop()
            if value in seen or value not in self.activity or value not in inside:
                continue
            seen.add(value)
            if value in parameters:
                found.add(parameters[value])
                pending += [end.inputs[parameters[value]] for end in terminators(body, CONTINUE)]
            elif value.node is not None:
                pending += value.node.inputs
                pending += [used for region in value.node.regions for n in walk(region) for used in n.inputs]
            elif isinstance(value.definition, Region):
                pending += _initial_values(body, value)
        return sorted(i for i in found if body.parameters[i] in self.activity and tapes.get(i) not in unread)

    def _unread(self, node: Node, terms: Sequence[Term | None]) -> set[int]:
        """Return the tapes a loop writes that nothing gone back through has read: those of other backward passes."""
        pushes = {one.attributes["tape"] for one in walk(node.regions[0]) if one.op == "tape_push"}
        results = zip(node.results, terms, strict=True)
        return pushes - {self.activity.tapes[value] for value, term in results if term and value in self.activity.tapes}


def _entrance(nodes: Sequence[Node], leaving: Node) -> int:
    """Return where the checkpoint that ``leaving`` leaves is entered."""
    number = leaving.attributes["number"]
    marks = (i for i, n in enumerate(nodes) if n.op == "checkpoint_enter" and n.attributes["number"] == number)
    begin = next(marks, None)
    if begin is None:
        raise AutodiffError("autodiff.checkpoint", "a checkpoint is left that has not been entered here", leaving)
    return begin


def pull_back(pullback: Pullback) -> Sequence[Cotangent]:
    """Return what the op's rule gives for each input.

    Raises
    ------
    AutodiffError
        The op has no gradient.
    """
    node, gradient = pullback.node, OPS[pullback.node.op].gradient
    if isinstance(gradient, NotDifferentiable):
        raise AutodiffError("autodiff.not_differentiable", f"{node.op} has no gradient: {gradient.reason}", node)
    if isinstance(gradient, ZeroGradient):
        return [None] * len(node.inputs)
    try:
        found: Sequence[Cotangent] = gradient(pullback)
    except NotDifferentiableError as error:
        raise AutodiffError("autodiff.not_differentiable", f"{error} has no gradient", node) from error
    return found


def _initial_values(body: Region, parameter: Value) -> list[Value]:
    """Return what the nested loop that ``parameter`` belongs to begins and goes on with."""
    for node in walk(body):
        if parameter.definition in node.regions:
            ends = terminators(node.regions[0], CONTINUE)
            return [node.inputs[parameter.index], *(end.inputs[parameter.index] for end in ends)]
    return []


def _values_in(region: Region) -> list[Value]:
    """Return the values defined in a region and in those nested in it."""
    nested = [parameter for node in walk(region) for inner in node.regions for parameter in inner.parameters]
    return [*region.parameters, *nested, *(result for node in walk(region) for result in node.results)]
