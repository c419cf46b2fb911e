"""What runs at each kind of commit point.

Owns `RUNNERS`: for each kind, what does Python's part and goes on behind it. Invariant: a host call is run once; an
exception that it raises goes on in Python where a handler of the user's stands around it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from janusjit.analysis.continuation import CommitPoint
from janusjit.analysis.core import Call as CallInstruction
from janusjit.analysis.core import Several
from janusjit.analysis.finalization import feeds_loop
from janusjit.analysis.frame_values import Raised
from janusjit.analysis.loop_iterators import (
    LoopIterator,
    draws,
    holds_generator,
    iter_of_loop,
    leave_loops,
    reaches_generator,
)
from janusjit.runtime.python_frames import Deferred, HostFunction, entering

if TYPE_CHECKING:
    from janusjit.runtime.resumption import Resumptions

#: calls of compiled functions within each other; deeper ones are plain Python, which takes less of Python's stack
DEPTH_LIMIT = 50


def _host_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    host = HostFunction(point)
    after = resumptions.continuation(point.after)
    first, several = 1 + len(point.operands), len(point.after.outcome) != 1
    protected = point.after.protected
    call = point.instruction
    untracked = isinstance(call, Several) and not call.in_time
    if isinstance(call, Several):
        call = call.body.instructions[-1]
    feeds = isinstance(call, CallInstruction) and feeds_loop(point.core, call)
    kept = {name for name, _ in point.after.frames[-1].variables}
    temporary = [at for at, name in enumerate(point.operands, 1) if name not in kept]
    let_go = _without_operands(resumptions, point)

    def run(result: tuple[Any, ...]) -> Any:
        state = result[first:]
        resumptions.host_calls += 1
        try:
            outcome = host.of(state)(*result[1:first])
        except BaseException as error:
            if not protected:
                raise
            return after.resume_raising(error, state)
        if type(outcome) is Raised:
            return after.resume_raising(outcome, state)
        if feeds:
            outcome = iter_of_loop(outcome) if holds_generator(outcome) else outcome
        if untracked and (reaches_generator(outcome, True) or _hold_generators(result[1:first])):
            return Deferred(after.python, (*outcome, *state) if several else (outcome, *state))
        state = (*outcome, *state) if several and outcome is not None else (outcome, *state)
        for at in temporary:
            if draws(result[at]):
                return (let_go, *state)  # what the operands leave to be done is done before anything else
        return after.go_on(state)

    def run_without_outcome(result: tuple[Any, ...]) -> Any:
        state = result[first:]
        resumptions.host_calls += 1
        try:
            host.of(state)(*result[1:first])
        except BaseException as error:
            if not protected:
                raise
            return after.resume_raising(error, state)
        if untracked and _hold_generators(result[1:first]):
            return Deferred(after.python, state)
        for at in temporary:
            if draws(result[at]):
                return (let_go, *state)
        return after.go_on(state)

    return run if point.after.outcome else run_without_outcome


def _hold_generators(operands: tuple[Any, ...]) -> bool:
    """Whether a generator may have been stored in one of some objects, which are no generators."""
    return any(reaches_generator(operand, True) for operand in operands if not draws(operand))


def _without_operands(resumptions: Resumptions, point: CommitPoint) -> CommitPoint:
    """Return the point behind a host call at which its operands are no longer referred to."""
    made = CommitPoint("commit", point.instruction, (), point.after, None, point.core, point.reason, point.code)
    made.runner = _commit_runner(resumptions, made)
    return made


def _call_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    assert point.callee is not None
    callee, after = resumptions.continuation(point.callee), resumptions.continuation(point.after)
    first, takes, protected = 1 + len(point.operands), bool(point.after.outcome), point.after.protected
    calls = resumptions.calls

    def run(result: tuple[Any, ...]) -> Any:
        state = result[first:]
        depth = getattr(calls, "depth", 0)
        calls.depth = depth + 1
        try:
            if depth < DEPTH_LIMIT:
                value = resumptions.drive(callee.go_on(result[1:first]))
            else:
                resumptions.host_calls += 1
                value = resumptions.drive(callee.python(*result[1:first]))
        except BaseException as error:
            if not protected:
                raise
            return after.resume_raising(error, state)
        finally:
            calls.depth = depth
        return after.go_on((value, *state) if takes else state)

    return run


def _enter_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    assert point.exhausted is not None
    host = HostFunction(point)
    inside, outside = resumptions.continuation(point.after), resumptions.continuation(point.exhausted)
    slot, takes, protected = point.slot, bool(point.after.outcome), point.exhausted.protected

    def run(result: tuple[Any, ...]) -> Any:
        before, after = result[2 : 2 + slot], result[3 + slot :]
        resumptions.host_calls += 1
        try:
            enter, leave = entering(result[1])
            entered = host.of((*before, leave, *after))(enter)
        except BaseException as error:
            if not protected:
                raise
            return outside.resume_raising(error, (*before, *after))
        state = (*before, leave, *after)
        return inside.go_on((entered, *state) if takes else state)

    return run


def _leave_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    host = HostFunction(point)
    after = resumptions.continuation(point.after)
    protected = point.after.protected

    def run(result: tuple[Any, ...]) -> Any:
        state = result[2:]
        resumptions.host_calls += 1
        try:
            host.of(state)(functools.partial(result[1], None, None, None))
        except BaseException as error:
            if not protected:
                raise
            return after.resume_raising(error, state)
        return after.go_on(state)

    return run


_EXHAUSTED = object()


def _draw_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    assert point.exhausted is not None
    drawn, exhausted = resumptions.continuation(point.after), resumptions.continuation(point.exhausted)
    protected, slot = point.after.protected, point.slot + 1

    def run(result: tuple[Any, ...]) -> Any:
        iterator, state = result[slot], result[1:]
        if holds_generator(iterator):  # only the loop is to refer to it: what does now is gone after this
            return (*result[:slot], LoopIterator(generator=iterator), *result[slot + 1 :])
        resumptions.host_calls += 1
        try:
            item = next(iterator.generator if type(iterator) is LoopIterator else iterator, _EXHAUSTED)
        except BaseException as error:
            if not protected:
                raise
            return drawn.resume_raising(error, state)
        if item is not _EXHAUSTED:
            return drawn.go_on((item, *state))
        if type(iterator) is LoopIterator:
            iterator.leave()  # it may draw from others that are not exhausted
        return exhausted.go_on(state)

    return run


def _commit_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    after = resumptions.continuation(point.after)
    first = 1 + len(point.operands)
    if first == 1:
        return lambda result: after.go_on(result[1:])

    def run(result: tuple[Any, ...]) -> Any:
        leave_loops(result[1:first])
        return after.go_on(result[first:])

    return run


def _python_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    after = resumptions.continuation(point.after)

    def run(result: tuple[Any, ...]) -> Any:
        resumptions.host_calls += 1
        return Deferred(after.twin, result[1:])

    return run


def _guard_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    after = resumptions.continuation(point.after)
    return lambda result: resumptions.guard_failed(point, after, result[1:])


def _raise_runner(resumptions: Resumptions, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
    after, first = resumptions.continuation(point.after), 1 + len(point.operands)
    assert point.error is not None
    error, point.error = [point.error], None
    return lambda result: after.resume_raising(error.pop(), result[first:])


RUNNERS: dict[str, Callable[[Resumptions, CommitPoint], Callable[[tuple[Any, ...]], Any]]] = {
    "host": _host_runner,
    "call": _call_runner,
    "draw": _draw_runner,
    "enter": _enter_runner,
    "leave": _leave_runner,
    "commit": _commit_runner,
    "python": _python_runner,
    "guard": _guard_runner,
    "raise": _raise_runner,
}
