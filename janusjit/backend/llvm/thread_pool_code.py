"""The code of the thread pool.

Owns its functions. A *job* is a range of rows and a task, which does the rows from one number to another; the thread
that has a job is the *caller*, and does rows as the workers do, chunk by chunk.

Invariants. The word ``JOB`` says how many workers may still join the job at hand and how many are in it; whoever is
in it joined by one atomic operation on that word, and while anybody is, the job's other words stay as they are. The
caller waits for workers that have joined only: one that does not get a processor costs nothing but its help. Workers
never touch Python.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm import thread_placement as placement
from janusjit.backend.llvm.thread_pool_state import (
    ALONE,
    AWAITED,
    BLAS_MOST,
    BLAS_THREADS,
    BLOCK,
    BUSY,
    CALM,
    CALM_WORK,
    CARE,
    CAUTION,
    CHUNK,
    CONDITION,
    CONTEXT,
    CONTROL,
    DEBT,
    DECLINED,
    DIVIDED,
    ENDING,
    FLAGS,
    FORGET,
    HANDLES,
    HELD_UP,
    JOB,
    JOINED,
    MOST_CAUTION,
    MOST_DEBT,
    MOST_WAKE_WORK,
    MUTEX,
    ON_X86,
    OWN_SIGNALS,
    PARALLEL_FOR,
    PARALLEL_FOR_TYPE,
    RAISED,
    REFUSED,
    ROWS,
    SETMASK,
    SHARED,
    SLEEPING,
    SLEPT,
    SPINS,
    STATE,
    STOP,
    TASK,
    TASK_TYPE,
    THREADS,
    WAKE_WORK,
    WOKEN,
    WORDS,
    WORKERS,
    WORTH_WAKING,
    Code,
    constant,
)
from janusjit.backend.llvm.values import I32, I64, POINTER, VOID


def emit(module: ir.Module) -> None:
    """Emit the functions and the state."""
    state = ir.GlobalVariable(module, ir.ArrayType(I64, WORDS), STATE)
    state.initializer = ir.Constant(state.value_type, None)
    state.align = 64
    work = _emit_work(module)
    grow = _emit_grow(module, _emit_worker(module, work, placement.emit_leave(module)))
    _emit_parallel_for(module, work, grow, placement.emit_lead(module))
    _emit_stop(module)
    _emit_forget(module)


def _emit_work(module: ir.Module) -> ir.Function:
    """Emit ``work(number, home)``: do chunks of the job at hand until none is left, those of share ``home`` first.

    So from job to job a thread does the same rows as far as possible, which are in its cache.
    """
    code = Code(module, "work", ir.FunctionType(VOID, [I64, I64]))
    builder = code.builder
    number, home = code.function.args
    task, context = code.get(TASK), builder.inttoptr(code.get(CONTEXT), POINTER)
    rows, chunk, threads = code.get(ROWS), code.get(CHUNK), code.get(THREADS)
    looked = code.slot(I64, constant(0))
    with code.turns() as finished:
        at = builder.load(looked, typ=I64)
        code.leave_if(builder.icmp_signed(">=", at, threads), finished)
        builder.store(builder.add(at, constant(1)), looked)
        share = builder.urem(builder.add(home, at), threads)
        end_of_share = _first_chunk(code, builder.add(share, constant(1)), rows, chunk, threads)
        with code.turns() as done:
            taken = builder.atomic_rmw("add", code.share(share), constant(1), "seq_cst")
            code.leave_if(builder.icmp_signed(">=", taken, end_of_share), done)
            start = builder.mul(taken, chunk)
            end = builder.add(start, chunk)
            end = builder.select(builder.icmp_signed("<", end, rows), end, rows)
            builder.call(_task(builder, task), [context, number, start, end])
    builder.ret_void()
    return code.function


def _first_chunk(code: Code, share: ir.Value, rows: ir.Value, chunk: ir.Value, threads: ir.Value) -> ir.Value:
    """Return the first chunk of a share."""
    builder = code.builder
    chunks = builder.udiv(builder.add(rows, builder.sub(chunk, constant(1))), chunk)
    return builder.udiv(builder.mul(share, chunks), threads)


def _task(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """Return the function at an address, so that it can be called."""
    return builder.inttoptr(address, TASK_TYPE.as_pointer())


def _parts(code: Code, job: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return how many workers may still join a job, and its number."""
    builder = code.builder
    places = builder.and_(builder.lshr(job, constant(16)), constant(0xFFFF))
    return places, builder.lshr(job, constant(32))


def _is_wanted(code: Code, last: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return whether a worker that did job ``last`` before should join the one at hand; that job, and the places."""
    builder = code.builder
    job = code.get(JOB)
    places, number = _parts(code, job)
    is_new = builder.icmp_unsigned("!=", number, builder.load(last, typ=I64))
    return builder.and_(is_new, builder.not_(code.is_zero(places))), job, places


def _emit_worker(module: ir.Module, work: ir.Function, leave: ir.Function) -> ir.Function:
    """Emit the function of a worker: join jobs until told to end, and sleep where none has come for a while.

    It leaves the caller's processor when it is woken, so that both run by the time of the next job, and before it
    helps.
    """
    code = Code(module, "worker", ir.FunctionType(POINTER, [POINTER]))
    builder = code.builder
    number = builder.ptrtoint(code.function.args[0], I64)
    last, spins = code.slot(I64, constant(0)), code.slot(I64, constant(SPINS))
    with code.turns() as ended:
        code.leave_if(builder.not_(code.is_zero(code.get(ENDING))), ended)
        wanted, job, places = _is_wanted(code, last)
        with builder.if_else(wanted) as (join, wait):
            with join:
                joined = builder.add(builder.sub(job, constant(1 << 16)), constant(1))
                outcome = builder.cmpxchg(code.word(JOB), job, joined, "seq_cst")
                with builder.if_then(builder.extract_value(outcome, 1)):
                    builder.call(leave, [])
                    _emit_help(code, work, places, number)
                    builder.store(builder.lshr(job, constant(32)), last)
                    builder.store(constant(SPINS), spins)
            with wait:
                code.pause()
                # while a job is under way another one is near: its caller may have a long chunk left
                idle = builder.zext(code.is_zero(code.get(BUSY)), I64)
                left = builder.sub(builder.load(spins, typ=I64), idle)
                builder.store(left, spins)
                with builder.if_then(code.is_zero(left)):
                    _emit_sleep(code, last, number)
                    builder.call(leave, [])
                    builder.store(constant(SPINS), spins)
    builder.ret(ir.Constant(POINTER, None))
    return code.function


def _emit_help(code: Code, work: ir.Function, number: ir.Value, home: ir.Value) -> None:
    """Emit the work of a worker that has joined: under the caller's modes, handing back the exceptions raised."""
    builder = code.builder
    if ON_X86:
        code.set_control(code.get(CONTROL))
    else:
        code.call("fesetenv", code.word(CONTROL))
        code.call("feclearexcept", ir.Constant(I32, FLAGS))
    builder.call(work, [number, home])
    if ON_X86:
        raised = builder.and_(code.control(), constant(FLAGS))
    else:
        raised = builder.zext(code.call("fetestexcept", ir.Constant(I32, FLAGS)), I64)
    with code.unless(code.is_zero(raised)):
        code.change("or", RAISED, raised)
    code.change("sub", JOB, constant(1))


def _emit_sleep(code: Code, last: ir.Value, number: ir.Value) -> None:
    """Emit the sleep of a worker, until it is woken, unless there is a job for it by now or it is to end.

    It wakes for good even if the job it was woken for is done meanwhile: the next one often follows at once.
    """
    builder = code.builder
    code.call("pthread_mutex_lock", code.word(MUTEX))
    code.change("add", SLEEPING, constant(1))  # before the last look at the job: the caller looks in the other order
    wanted, _, _ = _is_wanted(code, last)
    ending = builder.not_(code.is_zero(code.get(ENDING)))
    with code.unless(builder.or_(wanted, ending)):
        code.change("add", SLEPT, constant(1))
        placement.emit_rest(code, number)
        code.call("pthread_cond_wait", code.word(CONDITION), code.word(MUTEX))
        placement.emit_rise(code, number)
    asleep = code.change("sub", SLEEPING, constant(1))
    wanted, _, places = _is_wanted(code, last)
    more = builder.and_(builder.icmp_unsigned(">", places, constant(1)), builder.icmp_signed(">", asleep, constant(1)))
    with builder.if_then(builder.and_(wanted, more)):  # so the caller need not wait for all to be woken
        code.call("pthread_cond_signal", code.word(CONDITION))
    code.call("pthread_mutex_unlock", code.word(MUTEX))


def _emit_grow(module: ir.Module, worker: ir.Function) -> ir.Function:
    """Emit ``grow(count)``: start workers until there are so many, or the system gives no more; for the caller."""
    code = Code(module, "grow", ir.FunctionType(VOID, [I64]))
    code.function.attributes.add("noinline")
    builder = code.builder
    with builder.if_then(code.is_zero(code.get(WORKERS))):
        code.call("pthread_mutex_init", code.word(MUTEX), ir.Constant(POINTER, None))
        code.call("pthread_cond_init", code.word(CONDITION), ir.Constant(POINTER, None))
    # a signal of the process is for the program's own threads: workers inherit that they get none of them
    all_signals, before = code.slot(I64, count=16), code.slot(I64, count=16)
    code.call("sigfillset", all_signals)
    for signal in OWN_SIGNALS:
        code.call("sigdelset", all_signals, ir.Constant(I32, signal))
    code.call("pthread_sigmask", ir.Constant(I32, BLOCK), all_signals, before)
    with code.turns() as grown:
        count = code.get(WORKERS)
        code.leave_if(builder.icmp_signed(">=", count, code.function.args[0]), grown)
        handle = builder.gep(code.word(HANDLES), [count], source_etype=I64)
        nothing, number = ir.Constant(POINTER, None), builder.inttoptr(builder.add(count, constant(1)), POINTER)
        status = code.call("pthread_create", handle, nothing, worker, number)
        with code.unless(code.is_zero(status)):
            code.set(REFUSED, constant(1))
            builder.branch(grown)
        code.change("add", WORKERS, constant(1))
    code.call("pthread_sigmask", ir.Constant(I32, SETMASK), before, ir.Constant(POINTER, None))
    builder.ret_void()
    return code.function


def _emit_parallel_for(module: ir.Module, work: ir.Function, grow: ir.Function, lead: ir.Function) -> None:
    code = Code(module, PARALLEL_FOR, PARALLEL_FOR_TYPE, internal=False)
    builder = code.builder
    task, context, rows, chunk, threads, work_time = code.function.args
    alone = code.function.append_basic_block("alone")
    limit = _emit_limit(code, threads)
    enough = builder.and_(
        builder.icmp_signed(">", limit, constant(1)), builder.icmp_signed(">", rows, chunk)
    )
    code.leave_if(builder.not_(enough), alone)
    # another Python thread has the workers, or this is a task: the job is done as it would be without workers
    code.leave_if(builder.not_(code.is_zero(code.change("xchg", BUSY, constant(1)))), alone)
    debt = code.get(DEBT)
    with builder.if_then(builder.icmp_signed(">", debt, constant(0)), likely=False):
        code.set(DEBT, builder.sub(debt, work_time))
        code.set(BUSY, constant(0))
        builder.branch(alone)
    helpers = builder.sub(limit, constant(1))
    lacking = builder.icmp_signed("<", code.get(WORKERS), helpers)
    with builder.if_then(builder.and_(lacking, code.is_zero(code.get(REFUSED))), likely=False):
        builder.call(grow, [helpers])
    awake = builder.icmp_signed(">", code.get(WORKERS), code.get(SLEEPING))
    declined = builder.add(code.get(DECLINED), work_time)
    code.set(DECLINED, declined)
    worth_waking = builder.icmp_signed(">=", declined, _most(builder, code.get(AWAITED), WAKE_WORK))
    worth_waking = builder.and_(worth_waking, builder.not_(code.is_zero(code.get(WORKERS))))
    with code.unless(builder.or_(awake, worth_waking)):
        code.set(BUSY, constant(0))
        builder.branch(alone)
    _emit_job(code, limit, helpers)
    with builder.if_then(worth_waking):
        _emit_wake(code, lead)
    shared = builder.add(code.get(SHARED), work_time)
    code.set(SHARED, shared)
    with builder.if_then(builder.icmp_signed(">=", shared, constant(WORTH_WAKING))):
        code.set(AWAITED, constant(WAKE_WORK))
    builder.call(work, [constant(0), constant(0)])
    share = builder.udiv(builder.mul(work_time, chunk), rows)
    half = builder.lshr(work_time, constant(1))
    longest = _least(builder, half, HELD_UP)
    _emit_close(code, helpers, builder.add(longest, builder.mul(share, constant(4))), work_time)
    code.change("add", DIVIDED, constant(1))
    code.set(BUSY, constant(0))
    builder.ret_void()
    builder.position_at_end(alone)
    code.change("add", ALONE, constant(1))
    function = _task(builder, builder.ptrtoint(task, I64))
    builder.call(function, [context, constant(0), constant(0), rows])
    builder.ret_void()


def _emit_job(code: Code, limit: ir.Value, helpers: ir.Value) -> None:
    """Emit the publishing of a job: its words and shares first, since workers may join as soon as ``JOB`` says so."""
    builder = code.builder
    task, context, rows, chunk, *_ = code.function.args
    parts = (*_addresses(builder, task, context), rows, chunk, limit, constant(0))
    for word, value in zip((TASK, CONTEXT, ROWS, CHUNK, THREADS, RAISED), parts, strict=True):
        code.set(word, value)
    number = code.slot(I64, constant(0))
    with code.turns() as shared_out:
        share = builder.load(number, typ=I64)
        code.leave_if(builder.icmp_signed(">=", share, limit), shared_out)
        builder.atomic_rmw("xchg", code.share(share), _first_chunk(code, share, rows, chunk, limit), "seq_cst")
        builder.store(builder.add(share, constant(1)), number)
    if ON_X86:
        code.set(CONTROL, builder.and_(code.control(), constant(~FLAGS)))
    else:
        code.call("fegetenv", code.word(CONTROL))
    placement.emit_place(code)
    _, number = _parts(code, code.get(JOB))
    following = builder.shl(builder.add(number, constant(1)), constant(32))
    code.set(JOB, builder.or_(following, builder.shl(helpers, constant(16))))


def _most(builder: ir.IRBuilder, value: ir.Value, least: int) -> ir.Value:
    """Return a number, or ``least`` if it is less."""
    return builder.select(builder.icmp_signed(">", value, constant(least)), value, constant(least))


def _least(builder: ir.IRBuilder, value: ir.Value, most: int) -> ir.Value:
    """Return a number, or ``most`` if it is greater."""
    return builder.select(builder.icmp_signed("<", value, constant(most)), value, constant(most))


def _addresses(builder: ir.IRBuilder, *pointers: ir.Value) -> Sequence[ir.Value]:
    return [builder.ptrtoint(pointer, I64) for pointer in pointers]


def _emit_limit(code: Code, threads: ir.Value) -> ir.Value:
    """Emit how many threads there may be: fewer, while BLAS may use fewer than it could."""
    builder = code.builder
    limit = code.slot(I64, threads)
    asked = code.get(BLAS_THREADS)
    with code.unless(code.is_zero(asked)):
        function = builder.inttoptr(asked, ir.FunctionType(I32, []).as_pointer())
        now = builder.sext(builder.call(function, []), I64)
        lowered = builder.icmp_signed("<", now, code.get(BLAS_MOST))
        fewer = builder.and_(lowered, builder.icmp_signed("<", now, threads))
        builder.store(builder.select(fewer, now, threads), limit)
    return builder.load(limit, typ=I64)


def _emit_wake(code: Code, lead: ir.Function) -> None:
    """Emit the waking of one who is asleep, who wakes another one if there is work for it; and what is awaited next.

    Where one just now is falling asleep, or waking, it is left to itself. One that has not slept since it was woken may
    still be on its way, so nothing is known yet of what it was worth.
    """
    builder = code.builder
    awaited, shared, slept = _most(builder, code.get(AWAITED), WAKE_WORK), code.get(SHARED), code.get(SLEPT)
    has_slept = builder.icmp_signed("!=", slept, code.get(WOKEN))
    twice = builder.shl(awaited, constant(1))
    twice = _least(builder, twice, MOST_WAKE_WORK)
    was_worth_it = builder.icmp_signed(">=", shared, constant(WORTH_WAKING))
    code.set(AWAITED, builder.select(was_worth_it, constant(WAKE_WORK), builder.select(has_slept, twice, awaited)))
    code.set(SHARED, builder.select(builder.or_(was_worth_it, has_slept), constant(0), shared))
    code.set(WOKEN, slept)
    code.set(DECLINED, constant(0))
    with code.unless(code.is_zero(code.get(SLEEPING))):
        taken = code.is_zero(code.call("pthread_mutex_trylock", code.word(MUTEX)))
        with builder.if_then(taken):
            builder.call(lead, [])
            code.call("pthread_mutex_unlock", code.word(MUTEX))
            code.call("pthread_cond_signal", code.word(CONDITION))


def _emit_close(code: Code, helpers: ir.Value, tolerated: ir.Value, work_time: ir.Value) -> None:
    """Emit the end of a job: nobody may join any more, and those who have are waited for."""
    builder = code.builder
    left, _ = _parts(code, code.change("and", JOB, constant(~(0xFFFF << 16))))
    code.set(JOINED, builder.add(code.get(JOINED), builder.sub(helpers, left)))
    before = code.now()
    with code.waiting() as closed:
        inside = builder.and_(code.get(JOB), constant(0xFFFF))
        code.leave_if(code.is_zero(inside), closed)
    waited = builder.sub(code.now(), before)
    calm = builder.add(code.get(CALM), work_time)
    code.set(CALM, calm)
    with builder.if_then(builder.icmp_signed(">", waited, tolerated), likely=False):
        _emit_debt(code, waited, calm)
    raised = code.get(RAISED)
    with code.unless(code.is_zero(raised)):
        if ON_X86:
            code.set_control(builder.or_(code.control(), raised))
        else:
            code.call("feraiseexcept", builder.trunc(raised, I32))


def _emit_debt(code: Code, waited: ir.Value, calm: ir.Value) -> None:
    """Emit that a worker has held up the caller for so long."""
    builder = code.builder
    was_calm = builder.icmp_signed(">=", calm, constant(CALM_WORK))
    care = _most(builder, builder.shl(code.get(CARE), constant(1)), CAUTION)
    care = builder.select(was_calm, constant(CAUTION), _least(builder, care, MOST_CAUTION))
    code.set(CARE, care)
    code.set(CALM, constant(0))
    code.set(DEBT, _least(builder, builder.mul(waited, care), MOST_DEBT))


def _emit_stop(module: ir.Module) -> None:
    """Emit the end of all workers; the next job starts others."""
    code = Code(module, STOP, ir.FunctionType(VOID, []), internal=False)
    builder = code.builder
    with code.waiting() as owned:
        code.leave_if(code.is_zero(code.change("xchg", BUSY, constant(1))), owned)
    with code.unless(code.is_zero(code.get(WORKERS))):
        code.set(ENDING, constant(1))
        code.call("pthread_mutex_lock", code.word(MUTEX))
        code.call("pthread_mutex_unlock", code.word(MUTEX))
        code.call("pthread_cond_broadcast", code.word(CONDITION))
        with code.turns() as joined:
            left = code.get(WORKERS)
            code.leave_if(code.is_zero(left), joined)
            left = builder.sub(left, constant(1))
            handle = builder.load(builder.gep(code.word(HANDLES), [left], source_etype=I64), typ=I64)
            code.call("pthread_join", handle, ir.Constant(POINTER, None))
            code.set(WORKERS, left)
        code.set(ENDING, constant(0))
    code.set(BUSY, constant(0))
    builder.ret_void()


def _emit_forget(module: ir.Module) -> None:
    """Emit what a forked child does, which has no workers whatever the state was when it was made."""
    code = Code(module, FORGET, ir.FunctionType(VOID, []), internal=False)
    for word in (JOB, WORKERS, ENDING, REFUSED, SLEEPING, BUSY, DECLINED, DEBT, SHARED, AWAITED, SLEPT, WOKEN):
        code.set(word, constant(0))
    code.builder.ret_void()
