"""Single uses of variables and tapes in compiled code, each as in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from tests.gradients.test_jitted_variables import X, Y, predict, same, weights


def recorded_leaves(w, x, y):
    return predict(w, x)


def returned_after(w, x, y):
    h = np.tanh(x @ w[0])
    loss = h.sum()
    loss.backward()
    return (h, loss)


def retain(w, x, y):
    loss = predict(w, x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    return w[0].grad


def retained_leaves(w, x, y):
    loss = predict(w, x).sum()
    loss.backward(retain_graph=True)
    w[0].zero_grad()
    return loss


def new_leaf(w, x, y):
    v = jj.Variable(w[0].data * 2.0)
    loss = (x @ v).sum()
    loss.backward()
    return v


def new_leaf_int(w, x, y):
    v = jj.Variable([1, 2, 3, 4])
    loss = (x * v).sum()
    loss.backward()
    return (v, jj.Variable(3), jj.Variable(2.5, requires_grad=False))


def nested_no_grad(w, x, y):
    with jj.no_grad():
        a = (x @ w[0]).sum()
        with jj.no_grad():
            b = a * 2
        c = b * w[1]
    return (a, b, c)


def no_grad_branch(w, x, y):
    with jj.no_grad():
        s = (x @ w[0]).sum()
        t = s * w[1] if s > 0 else s * w[1] * 3
    loss = (w[1] * t).sum()
    loss.backward()
    return t


def no_grad_loop(w, x, y):
    with jj.no_grad():
        s = 0.0
        for r in x:
            s = s + (r @ w[0]).sum()
    return s


def early_return(w, x, y):
    with jj.no_grad():
        if x.sum() > 1000000000.0:
            return None
        return x @ w[0]


def exception_inside(w, x, y):
    try:
        with jj.no_grad():
            raise ValueError("x")
    except ValueError:
        pass
    return (x @ w[0]).requires_grad


def requires_toggle(w, x, y):
    w[0].requires_grad = False
    loss = predict(w, x).sum()
    loss.backward()
    w[0].requires_grad = True
    return (w[0].grad, w[1].grad)


def methods(w, x, y):
    h = x @ w[0]
    a = h.sum(axis=0).reshape(2, 3).T.mean()
    b = h.max() + h.min() + h.std()
    c = np.concatenate([h, h]).sum() + np.stack([a, b]).sum() + h[::2, 1].sum()
    loss = a + b + c + abs(h).sum() + (-h).mean() + h.clip(-1, 1).sum()
    loss.backward()
    return (w[0].grad, loss.item(), h.shape, h.ndim, len(h), h.dtype)


def comparison(w, x, y):
    h = x @ w[0]
    m = h > 0
    k = np.where(m, h, 0.1 * h)
    loss = (k * m).sum()
    loss.backward()
    return (m, w[0].grad)


def view_in_place(w, x, y):
    h = x @ w[0]
    v = h[1:]
    v *= 2.0
    h[0] = 1.0
    loss = (h * h).sum()
    loss.backward()
    return (w[0].grad, v)


def item_assign_leaf(w, x, y):
    with jj.no_grad():
        w[1][0] = 3.0
        w[0][:2] *= 0.5
    return


def assigned(w, x, y):
    w[1].assign(2.0)
    w[0].assign_add(x[:4, :1])
    return w[1].is_leaf


def host_call_in_between(w, x, y):
    h = predict(w, x)
    k = np.fft.fft(h.detach().numpy().sum(axis=0)).real.sum()
    loss = (h * k).sum()
    loss.backward()
    return w[0].grad


def data_set(w, x, y):
    w[0].data = w[0].data * 2
    loss = predict(w, x).sum()
    loss.backward()
    w[1].data = np.zeros(6)
    return w[1]


def clipped(w, x, y):
    for p in w:
        p.zero_grad()
    loss = ((predict(w, x) - y) ** 2).mean()
    loss.backward()
    n = np.sqrt(sum((p.grad**2).sum() for p in w))
    for p in w:
        p.grad *= min(1.0, 0.1 / n)
    with jj.no_grad():
        for p in w:
            p -= p.grad
    return n


def two_tapes(w, x, y):
    with jj.GradientTape() as a, jj.GradientTape() as b:
        loss = predict(w, x).sum()
    return (a.gradient(loss, w[0]), b.gradient(loss, w[1]), loss)


def tape_in_with(w, x, y):
    with jj.GradientTape() as a:
        loss = predict(w, x).sum()
        g = a.gradient(loss, w[0])
        w[0] * 2
    return (g, loss)


def operation_after_the_tape(w, x, y):
    with jj.GradientTape(persistent=True) as t:
        h = x @ w[0]
    loss = h.sum()
    return (t.gradient(loss, w[0]), t.gradient(h, w[0]))


def operation_before_the_tape(w, x, y):
    h = x @ w[0]
    with jj.GradientTape() as t:
        loss = h.sum() * w[1].sum()
    return t.gradient(loss, [w[0], w[1], h])


def tape_nograd(w, x, y):
    with jj.GradientTape() as t:
        with jj.no_grad():
            h = x @ w[0]
        loss = (h.sum() * w[1]).sum()
    return t.gradient(loss, w)


def stopped_recording(w, x, y):
    with jj.GradientTape() as t:
        h = (x @ w[0]).sum()
        with t.stop_recording():
            k = h * 2
        loss = h * 3
    return (t.gradient(loss, w[0]), k.item())


def backward_in_tape(w, x, y):
    with jj.GradientTape():
        loss = predict(w, x).sum()
        loss.backward()
    return w[0].grad


def view_target(w, x, y):
    with jj.GradientTape() as t:
        h = x @ w[0]
        k = h[1:]
    return t.gradient(k, w[0])


def third_derivative(w, x, y):
    v = jj.Variable(x[0])
    with jj.GradientTape() as a:
        with jj.GradientTape() as b:
            with jj.GradientTape() as c:
                loss = (v**4).sum()
            g1 = c.gradient(loss, v)
        g2 = b.gradient(g1, v)
    return (a.gradient(g2, v), g2, g1)


def single_precision(w, x, y):
    v = jj.Variable(x.astype(np.float32))
    loss = (np.exp(v) * np.float32(2)).mean()
    loss.backward()
    return (v, loss)


def running(w, x, y):
    total = 0.0
    for _i in range(3):
        loss = predict(w, x).sum()
        loss.backward()
        total = total + loss
    return total


def by_identity(w, x, y):
    velocities = {id(p): np.zeros(p.shape) for p in w}
    loss = predict(w, x).sum()
    loss.backward()
    for p in w:
        velocities[id(p)] += p.grad
        p.data -= 0.01 * velocities[id(p)]
        p.zero_grad()
    return loss.item()


def penalties(w, x, y):
    loss = sum((p**2).sum() for p in w)
    loss.backward()
    return (loss, [p.grad for p in w])


def string(w, x, y):
    loss = predict(w, x).sum()
    loss.backward()
    return f"{loss.item():.3f} {loss:.3f}"


def instances(w, x, y):
    return (
        [isinstance(p, jj.Variable) for p in w],
        isinstance(x, jj.Variable),
        w[0].requires_grad,
        hasattr(w[0], "grad"),
    )


def python_float(w, x, y):
    loss = (w[1] * float(w[1].sum())).sum()
    loss.backward()
    return w[1].grad


def gradient_of_data(w, x, y):
    return jj.grad(lambda a: (a @ w[0].data).sum())(x)


def recursion(w, x, y):

    def f(n, h):
        return h if n == 0 else f(n - 1, np.tanh(h * 1.1))

    loss = f(3, x @ w[0]).sum()
    loss.backward()
    return loss.item()


def generator_sum(w, x, y):
    loss = sum((p.sum() * i for i, p in enumerate(w)))
    loss.backward()
    return w[2].grad


def dict_of_sources(w, x, y):
    d = {"a": w[0], "b": w[1]}
    with jj.GradientTape() as t:
        loss = (x @ d["a"] + d["b"]).sum()
    return t.gradient(loss, d)


def mean_loss(w, x, y):
    return ((predict(w, x) - y) ** 2).mean()


jitted_loss = jj.jit(mean_loss, warmup=1, background=False)


def called(w, x, y):
    mean_loss(w, x, y).backward()
    return w[0].grad


def jitted_inside(w, x, y):
    loss = jitted_loss(w, x, y) * 2.0
    for number in range(3):
        loss = loss + jitted_loss(w, x * number, y)
    loss.backward()
    return w[1].grad, loss.item()


class Network:
    def __init__(self, w):
        self.w = w

    @jj.jit
    def __call__(self, x):
        return predict(self.w, x)


def jitted_method(w, x, y):
    out = Network(w)(x)
    out.backward(out.data - y)
    return w[2].grad


def out_argument(w, x, y):
    h = x @ w[0]
    o = np.zeros((16, 6))
    try:
        np.add(h, 1.0, out=o)
    except TypeError:
        return "TE"
    return o


def as_array(w, x, y):
    try:
        return np.asarray(x @ w[0])
    except TypeError:
        return "TE"


def backward_in_either_arm(w, x, y):
    loss = predict(w, x).sum()
    if x[0, 0] > 100.0:
        loss.backward()
        w[0].zero_grad()
    else:
        (loss * 2.0).backward()
    return [part.grad for part in w]


def backward_in_either_arm_of_both(w, x, y):
    found = []
    for number in range(2):
        loss = predict(w, x[number:]).sum()
        if (x[number] > 0.0).all():
            (loss * 3.0).backward()
        else:
            loss.backward()
        found.append(w[0].grad)
        w[0].zero_grad()
    return found


def behind_a_loop(w, x, y):
    total = 0.0
    for row in x:
        w[1].data += row.sum() * 0.01
        total += w[1].data.sum()
        if total > 1e6:
            break
    else:
        loss = (x @ w[0] * w[1]).sum()
        loss.backward()
    return w[1].grad, total


#: what leaves the function before it has been gone back through, or meets code of Python in between
PYTHON = [as_array, host_call_in_between, out_argument, recorded_leaves, retained_leaves]
#: host calls of three calls
HOSTS = {running: 9, string: 3}
FUNCTIONS = [
    backward_in_either_arm,
    backward_in_either_arm_of_both,
    behind_a_loop,
    returned_after,
    retain,
    new_leaf,
    new_leaf_int,
    nested_no_grad,
    no_grad_branch,
    no_grad_loop,
    early_return,
    exception_inside,
    requires_toggle,
    methods,
    comparison,
    view_in_place,
    item_assign_leaf,
    assigned,
    data_set,
    clipped,
    two_tapes,
    tape_in_with,
    operation_after_the_tape,
    operation_before_the_tape,
    tape_nograd,
    stopped_recording,
    backward_in_tape,
    view_target,
    third_derivative,
    single_precision,
    by_identity,
    penalties,
    instances,
    python_float,
    gradient_of_data,
    recursion,
    generator_sum,
    dict_of_sources,
    called,
    jitted_inside,
    jitted_method,
]


@pytest.mark.parametrize("function", [*FUNCTIONS, *HOSTS, *PYTHON], ids=lambda function: function.__name__)
def test_use(function):
    mine, theirs = (weights(), X.copy(), Y.copy()), (weights(), X.copy(), Y.copy())
    compiled = jj.jit(function, warmup=1, background=False)
    for _ in range(4):
        same(compiled(*mine), function(*theirs))
        same(mine, theirs)
    if function in PYTHON:
        assert compiled.reason.code == "gradient.recorded"
    else:
        assert compiled.reason is None
        assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, HOSTS.get(function, 0))
        assert compiled.stats.deopts == 0


def test_a_jitted_function_whose_plain_caller_goes_back():
    compiled = jj.jit(mean_loss, warmup=1, background=False)
    mine, theirs = weights(), weights()
    for _ in range(4):
        for w, loss in ((mine, compiled), (theirs, mean_loss)):
            loss(w, X, Y).backward()
        same(mine, theirs)
    assert compiled.reason.code == "gradient.recorded" and compiled.stats.graph_calls == 0
