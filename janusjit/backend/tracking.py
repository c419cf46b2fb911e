"""Which steps are looked at one by one for floating-point errors, and which are looked at together.

Owns `track` and the order in which a step's operands are handed to `janusjit.backend.witness`. Steps whose call can
still be given up are looked at together, where the graph ends: plain Python does the call again and warns. One by one
are looked at: those that follow a write to the caller's memory of which there is no backup, those in loops whose turns
are long enough not to feel it (so that no turn is made twice), and all where errors have kept coming. Invariant: no
error of a step looked at together is still unseen when a step looked at by itself begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from janusjit.backend.plan import FusedStep, NodeStep, Plan, RegionStep, Step, element_inputs, nodes_of, walk
from janusjit.backend.storage import Placement
from janusjit.ir.dims import Dim
from janusjit.ir.floating_point import is_told_apart
from janusjit.ir.graph import Value
from janusjit.transform.facts import errors_of, errors_watched, flags_guard, may_raise

#: a look takes as long as some two hundred elementwise operations on an element; it may take a fiftieth of a step
_WORK = 8192
#: what a size counts that is not known
_UNKNOWN_SIZE = 1024


@dataclass
class Tracking:
    """What is looked at when.

    Attributes
    ----------
    steps : set of Step
        Those after which their own errors are looked for.
    before : set of Step
        Those before which the errors of all steps so far are looked for.
    point_of_no_return : float
        The time of the first step that writes the caller's memory for good.
    apart : bool
        Whether every step is looked at by itself.
    """

    steps: set[Step] = field(default_factory=set)
    before: set[Step] = field(default_factory=set)
    point_of_no_return: float = math.inf
    apart: bool = False


def track(plan: Plan, placement: Placement) -> Tracking:
    """Return what is looked at when, in a plan of which it is known where arrays live."""
    guard = flags_guard(plan.graph)
    tracking = Tracking()
    if guard is None or not errors_watched(plan.graph):
        return tracking
    tracking.apart = is_told_apart(guard)
    if tracking.apart:
        tracking.steps = set(walk(plan.steps))
    for step in plan.steps:
        if any(placement.inputs_written_by(one) - plan.recoverable for one in walk([step])):
            tracking.point_of_no_return = step.time
            tracking.before.add(step)
            tracking.steps.update(one for one in walk(plan.steps) if one.time >= step.time)
            break
    _track_loops(plan.steps, tracking)
    watched = errors_watched(plan.graph)
    tracking.steps = {
        step for step in tracking.steps if any(may_raise(node, e) for node in nodes_of(step) for e in watched)
    }
    return tracking


def _track_loops(steps: list[Step], tracking: Tracking) -> None:
    for step in steps:
        if not isinstance(step, RegionStep) or step.time >= tracking.point_of_no_return:
            continue
        inside = [one for body in step.bodies for one in walk(body)]
        if step.node.op == "loop" and _is_long(inside):
            tracking.before.add(step)
            tracking.steps.update(inside)
        else:
            for body in step.bodies:
                _track_loops(body, tracking)


def _is_long(steps: list[Step]) -> bool:
    """Return whether a turn of these steps takes so long that looks at them do not count."""
    looked_at = [step for step in steps if any(map(errors_of, nodes_of(step)))]
    return bool(looked_at) and sum(map(_work, steps)) >= _WORK * len(looked_at)


def _work(step: Step) -> int:
    if isinstance(step, FusedStep):
        return _size(step.shape) * len(nodes_of(step))
    if isinstance(step, NodeStep) and any(value.type.rank > 0 for value in (*step.node.inputs, *step.node.results)):
        inner = step.node.inputs[0].type.shape[-1:] if step.node.op == "matmul" else ()
        return sum(_size((*result.type.shape, *inner)) for result in step.node.results)
    return 0


def _size(shape: tuple[Dim, ...]) -> int:
    return math.prod(dim if isinstance(dim, int) else _UNKNOWN_SIZE for dim in shape)


def is_of_numbers(step: Step) -> bool:
    """Return whether a step is an operation on numbers."""
    return isinstance(step, NodeStep) and all(v.type.rank == 0 for v in (*step.node.inputs, *step.node.results))


def operands_of(step: FusedStep | NodeStep) -> list[Value]:
    """Return what a step computes from: arrays in memory and numbers, constants left out."""
    known = step.values if isinstance(step, FusedStep) else ()
    read = (value for node in nodes_of(step) for value in element_inputs(node) if value not in known)
    return [value for value in dict.fromkeys(read) if value.node is None or value.node.op != "constant"]


def is_overwritten(value: Value, step: FusedStep, placement: Placement) -> bool:
    """Return whether a step writes over an array that it reads."""
    storage = placement.storage(value) if value.type.rank > 0 else None
    return storage is not None and any(placement.storage(stored) is storage for stored in step.stores)
