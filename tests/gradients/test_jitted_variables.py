"""Variables and tapes in compiled code: the same results, wholly in the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import janusjit as jj
from tests.gradients.test_gradients import programs

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 4)), RNG.normal(size=(16, 2))
LONG = RNG.normal(size=(40, 8, 4))


def weights():
    rng = np.random.default_rng(1)
    return [jj.Variable(rng.normal(size=shape) * 0.5) for shape in ((4, 6), (6,), (6, 2))]


def predict(w, x):
    return np.tanh(x @ w[0] + w[1]) @ w[2]


def compared(function, make, calls=5, host_calls=0, graph_calls=None, **options):
    """Run a function in Python and compiled on arguments of its own; compare results and arguments after each call."""
    mine, theirs = make(), make()
    compiled = jj.jit(function, warmup=1, background=False, **options)
    for _ in range(calls):
        same(compiled(*mine), function(*theirs))
        same(mine, theirs)
    assert compiled.reason is None, compiled.reason
    wanted = calls - 1 if graph_calls is None else graph_calls
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (wanted, host_calls), compiled.stats
    return compiled


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, jj.Variable):
        assert (one.requires_grad, one.is_leaf) == (other.requires_grad, other.is_leaf)
        same(one.data, other.data)
        same(one.grad, other.grad)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        same([*one.values()], [*other.values()])
    elif isinstance(one, np.ndarray | float | np.generic):
        assert np.shape(one) == np.shape(other) and np.asarray(one).dtype == np.asarray(other).dtype
        if isinstance(one, np.ndarray):
            assert one.flags.writeable == other.flags.writeable
        # sums in another order, over some steps
        tolerance = 1e-6 if np.asarray(one).dtype == np.float32 else 1e-9
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-12)
    elif hasattr(one, "__dict__"):
        same(vars(one), vars(other))
    else:
        assert one == other


# ---------------------------------------------------------------------- in the manner of PyTorch


def no_grad_step(w, x, y):
    loss = ((predict(w, x) - y) ** 2).mean()
    loss.backward()
    with jj.no_grad():
        for part in w:
            part -= 0.05 * part.grad
            part.zero_grad()
    return loss.item()


def data_step(w, x, y):
    for part in w:
        part.grad = None
    loss = ((predict(w, x) - y) ** 2).mean()
    loss.backward()
    for part in w:
        part.data -= 0.05 * part.grad
    return loss


def accumulating_step(w, x, y):
    for number in range(2):
        loss = ((predict(w, x[number::2]) - y[number::2]) ** 2).sum()
        loss.backward()
    for part in w:
        part.data = part.data - 0.01 * part.grad
    return float(loss)


def cotangent_step(w, x, y):
    out = predict(w, x)
    out.backward(out.detach().numpy() - y)
    with jj.no_grad():
        for part in w:
            part.assign_sub(0.01 * part.grad)
    grads = [part.grad for part in w]
    for part in w:
        part.zero_grad()
    return grads


def detached_step(w, x, y):
    hidden = np.tanh(x @ w[0] + w[1])
    loss = ((hidden.detach() @ w[2] - y) ** 2).mean() + (hidden * hidden.data).sum() * 0.1
    loss.backward()
    with jj.no_grad():
        for part in w:
            part -= 0.05 * part.grad
            part.grad = None
    return loss.data, hidden


def data_in_the_loss(w, x, y):
    with jj.no_grad():
        norm = (w[0] * w[0]).sum()
    loss = (predict(w, x) * norm + (x @ w[0].data).sum()).mean()
    loss.backward()
    for part in w:
        part.data -= 0.01 * part.grad
    again = ((x @ w[0].data) * w[1]).sum()
    again.backward()
    return norm, loss, again


def buffer_step(w, x, y):
    rows = jj.Variable(np.zeros((3, 16, 2)), requires_grad=False)
    for number in range(3):
        rows[number] = predict(w, x * (number + 1.0))
    rows[1] *= 2.0
    loss = (rows[0] - y).var() + rows.sum() * 0.01
    loss.backward()
    for part in w:
        part.data -= 0.05 * part.grad
        part.zero_grad()
    return loss.item()


def branching_step(w, x, y):
    error = predict(w, x) - y
    loss = (error**2).mean()
    if loss > 0.7:
        loss = loss * 2.0
        loss += 1.0
    else:
        loss = abs(error).mean()
    loss.backward()
    for part in w:
        part.data -= 0.05 * part.grad
        part.zero_grad()
    return loss.item()


@pytest.mark.parametrize(
    "step",
    [
        no_grad_step, data_step, accumulating_step, cotangent_step, detached_step, data_in_the_loss, buffer_step,
        branching_step,
    ],
)  # fmt: skip
def test_a_step_is_wholly_in_the_graph(step):
    compiled = compared(step, lambda: (weights(), X.copy(), Y.copy()))
    assert compiled.stats.deopts == 0


def test_losses_fall():
    w = weights()
    step = jj.jit(no_grad_step, warmup=1, background=False)
    losses = [step(w, X, Y) for _ in range(200)]
    assert losses[-1] < 0.7 * losses[0] and step.stats.graph_calls == 199


def loop_of_steps(w, xs, y):
    total = 0.0
    for x in xs:
        loss = ((predict(w, x) - y) ** 2).mean()
        loss.backward()
        with jj.no_grad():
            for part in w:
                part -= 0.02 * part.grad
                part.zero_grad()
        total += loss.item()
    return total


def while_it_is_large(w, x, y, limit):
    steps, value = 0, 100.0
    while value > limit and steps < 50:
        loss = ((predict(w, x) - y) ** 2).mean()
        loss.backward()
        for part in w:
            part.data -= 0.1 * part.grad
            part.zero_grad()
        value = loss.item()
        steps += 1
    return steps


def from_turn_to_turn(w, x, y, limit):
    steps = 0
    loss = ((predict(w, x) - y) ** 2).mean()
    while loss.item() > limit and steps < 50:
        loss.backward()
        for part in w:
            part.data -= 0.1 * part.grad
            part.zero_grad()
        loss = ((predict(w, x) - y) ** 2).mean()
        steps += 1
    return steps


def sum_over_a_loop(w, xs, y):
    total = jj.Variable(0.0, requires_grad=False) * 1.0
    for x in xs:
        total = total + ((predict(w, x) - y) ** 2).mean()
    total.backward()
    for part in w:
        part.data -= 0.001 * part.grad
        part.zero_grad()
    return total.item()


def recurrent(w, xs):
    state = np.zeros((8, 6))
    for x in xs:
        state = np.tanh(x @ w[0] + state * w[1])
    loss = (state @ w[2]).mean()
    loss.backward()
    with jj.no_grad():
        for part in w:
            part -= 0.05 * part.grad
            part.zero_grad()
    return loss.item()


def test_loops_of_steps():
    y = Y[:8]
    compared(loop_of_steps, lambda: (weights(), LONG.copy(), y))
    compared(while_it_is_large, lambda: (weights(), X.copy(), Y.copy(), 0.9))


def test_what_is_recorded_in_one_turn_and_gone_back_through_in_the_next_is_pythons():
    compiled = jj.jit(from_turn_to_turn, warmup=1, background=False)
    mine, theirs = weights(), weights()
    for _ in range(4):
        assert compiled(mine, X, Y, 0.9) == from_turn_to_turn(theirs, X, Y, 0.9)
        same(mine, theirs)
    assert compiled.reason.code.startswith("gradient.")


def test_loops_that_are_gone_back_through():
    compared(sum_over_a_loop, lambda: (weights(), LONG.copy(), Y[:8]))
    compared(recurrent, lambda: (weights(), LONG.copy()))


class Linear:
    def __init__(self, size, rng):
        self.weight = jj.Variable(rng.normal(size=size) * 0.5)
        self.bias = jj.Variable(np.zeros(size[1]))

    def __call__(self, x):
        return x @ self.weight + self.bias

    def parameters(self):
        return [self.weight, self.bias]


class Model:
    def __init__(self):
        rng = np.random.default_rng(3)
        self.layers = [Linear((4, 6), rng), Linear((6, 2), rng)]

    def parameters(self):
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def __call__(self, x):
        return self.layers[1](np.maximum(self.layers[0](x), 0.0))


class Momentum:
    def __init__(self, parameters, rate):
        self.parameters, self.rate = parameters, rate
        self.velocities = [np.zeros(parameter.shape) for parameter in parameters]

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.zero_grad()

    @jj.no_grad()
    def step(self):
        for parameter, velocity in zip(self.parameters, self.velocities, strict=True):
            velocity *= 0.9
            velocity += parameter.grad
            parameter -= self.rate * velocity


def model_step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_model_and_an_optimiser():
    def make():
        model = Model()
        return model, Momentum(model.parameters(), 0.05), X.copy(), Y.copy()

    compared(model_step, make, calls=8)


# ---------------------------------------------------------------------- in the manner of TensorFlow


def tape_step(w, x, y):
    with jj.GradientTape() as tape:
        loss = ((predict(w, x) - y) ** 2).mean()
    for part, gradient in zip(w, tape.gradient(loss, w), strict=True):
        part.assign_sub(0.05 * gradient)
    return loss.numpy()


def watched_step(parameters, x, y):
    with jj.GradientTape() as tape:
        p = tape.watch(parameters)
        loss = ((np.tanh(x @ p["w"]) * p["scale"] - y.sum()) ** 2).mean()
    gradients = tape.gradient(loss, p)
    parameters["w"] -= 0.01 * gradients["w"]
    parameters["scale"] = parameters["scale"] - 0.01 * gradients["scale"].item()
    return loss, gradients


def persistent_step(w, x, y):
    with jj.GradientTape(persistent=True) as tape:
        hidden = np.tanh(x @ w[0] + w[1])
        first = (hidden**2).mean()
        second = ((hidden @ w[2] - y) ** 2).mean() + first
    a = tape.gradient(first, w)
    b, by_hidden = tape.gradient([second, first], [w[0], hidden])
    del tape
    w[0].assign_sub(0.01 * (a[0] + b))
    return first, a, by_hidden


def penalty_step(w, x, y):
    x = jj.Variable(x)
    with jj.GradientTape() as outer:
        with jj.GradientTape() as inner:
            out = predict(w, x).sum()
        slope = inner.gradient(out, x)
        loss = ((predict(w, x) - y) ** 2).mean() + 0.1 * (slope**2).sum()
    gradients = outer.gradient(loss, w)
    for part, gradient in zip(w, gradients, strict=True):
        part.assign_sub(0.01 * gradient)
    return loss, slope


def branch_on_tape(w, x, y):
    with jj.GradientTape() as tape:
        out = predict(w, x)
        if out.sum() > 0.0:
            loss = ((out - y) ** 2).mean()
            loss = loss * 1.5
        else:
            loss = abs(out - y).sum() * 0.1
    for part, gradient in zip(w, tape.gradient(loss, w), strict=True):
        part.assign_sub(0.3 * gradient)
    return loss.item()


def unconnected(w, x, y):
    other = jj.Variable([1.0, 2.0])
    with jj.GradientTape(persistent=True) as tape:
        loss = (x @ w[0]).sum()
    return (
        tape.gradient(loss, [other, w[0], w[2]]),
        tape.gradient(loss, other, unconnected_gradients="zero"),
        tape.gradient(loss, w[0], output_gradients=2.0),
        tape.gradient(w[0], w[0]),
    )


@pytest.mark.parametrize("step", [tape_step, persistent_step, penalty_step, branch_on_tape, unconnected])
def test_a_tape_is_wholly_in_the_graph(step):
    compared(step, lambda: (weights(), X.copy(), Y.copy()))


def test_watched_arrays():
    compared(watched_step, lambda: ({"w": np.ones((4, 3)) * 0.3, "scale": 1.5}, X.copy(), Y.copy()))


def tape_loop(w, xs, y):
    total = 0.0
    for x in xs:
        with jj.GradientTape() as tape:
            loss = ((predict(w, x) - y) ** 2).mean()
        for part, gradient in zip(w, tape.gradient(loss, w), strict=True):
            part.assign_sub(0.02 * gradient)
        total += float(loss)
    return total


def test_a_loop_with_tapes():
    compared(tape_loop, lambda: (weights(), LONG.copy(), Y[:8]))


# ---------------------------------------------------------------------- the mode of the caller


def forward(w, x):
    return predict(w, x)


def test_a_function_called_under_no_grad():
    w = weights()
    compiled = jj.jit(forward, warmup=1, background=False)
    with jj.no_grad():
        for _ in range(4):
            same(compiled(w, X), forward(w, X))
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)
    for _ in range(4):
        loss = compiled(w, X).sum()  # what is recorded has to leave the function: Python runs it
        loss.backward()
        expected = weights()
        forward(expected, X).sum().backward()
        same([part.grad for part in w], [part.grad for part in expected])
        for part in w:
            part.zero_grad()
    with jj.no_grad():
        assert not compiled(w, X).requires_grad


def test_a_function_called_while_a_tape_records():
    w = weights()
    compiled = jj.jit(no_grad_step, warmup=1, background=False)
    for _ in range(3):
        compiled(w, X, Y)
    inside = jj.jit(forward, warmup=1, background=False)
    for _ in range(4):
        with jj.GradientTape() as tape:
            loss = inside(w, X).sum()
        with jj.GradientTape() as other:
            expected = forward(w, X).sum()
        same(tape.gradient(loss, w), other.gradient(expected, w))


# ---------------------------------------------------------------------- what is left to Python


def reported(w, x, y, log):
    loss = ((predict(w, x) - y) ** 2).mean()
    log.write(f"{loss.item():.6f}\n")
    loss.backward()
    for part in w:
        part.data -= 0.05 * part.grad
        part.zero_grad()
    return loss.item()


def reported_under_no_grad(w, x, log):
    with jj.no_grad():
        out = predict(w, x)
        log.write(f"{(out * 2.0).requires_grad}\n")
        later = out * w[1][:2]
    after = (w[0] * 2.0).sum()
    after.backward()
    return later, after.item()


class Log:
    def __init__(self):
        self.lines = []
        self.write = eval("lambda text, lines=self.lines: lines.append(text)", {"self": self})


@pytest.mark.parametrize("step", [reported, reported_under_no_grad])
def test_python_is_needed_in_between(step):
    mine, theirs = (weights(), X.copy(), Y.copy(), Log()), (weights(), X.copy(), Y.copy(), Log())
    if step is reported_under_no_grad:
        mine, theirs = (mine[0], mine[1], mine[3]), (theirs[0], theirs[1], theirs[3])
    compiled = jj.jit(step, warmup=1, background=False)
    for _ in range(5):
        same(compiled(*mine), step(*theirs))
    assert mine[-1].lines == theirs[-1].lines and len(mine[-1].lines) == 5
    same(mine[0], theirs[0])


def used_twice(x):
    loss = (x * x).sum()
    loss.backward()
    loss.backward()


def used_tape(x):
    with jj.GradientTape() as tape:
        y = x * x
    tape.gradient(y, x)
    return tape.gradient(y, x)


def leaf_written(x):
    x += 1.0


def no_cotangent(x):
    (x * 2.0).backward()


@pytest.mark.parametrize("function", [used_twice, used_tape, leaf_written, no_cotangent])
def test_exceptions_are_pythons(function):
    with pytest.raises(RuntimeError) as wanted:
        function(jj.Variable([1.0, 2.0]))
    compiled = jj.jit(function, warmup=1, background=False)
    for _ in range(4):
        x = jj.Variable([1.0, 2.0])
        with pytest.raises(RuntimeError) as found:
            compiled(x)
        assert str(found.value) == str(wanted.value)
        assert (x.grad is None) is (function is not used_twice)


def differentiated(x):
    def inner(at):
        v = jj.Variable(at)
        (v**3).sum().backward()
        return (v.grad * at).sum()

    return jj.grad(inner)(x)


def test_variables_in_a_function_that_is_differentiated():
    compiled = jj.jit(differentiated, warmup=1, background=False)
    x = np.array([0.3, 1.2])
    for _ in range(4):
        same(compiled(x), differentiated(x))


# ---------------------------------------------------------------------- random programs

STYLES = """

def backward(x):
    loss = program(x)
    loss.backward()
    gradient = x.grad
    x.zero_grad()
    return loss.item(), gradient


def taped(x):
    with jj.GradientTape() as tape:
        at = tape.watch(x)
        loss = program(at)
    return loss.item(), tape.gradient(loss, at, unconnected_gradients="zero")
"""


@settings(max_examples=20)
@given(programs(), st.integers(0, 10_000))
def test_random_programs(tmp_path_factory, source, seed):
    path = tmp_path_factory.mktemp("programs") / "program.py"
    path.write_text(source + STYLES)
    space = {"np": np, "jj": jj, "__name__": "program"}
    exec(compile(path.read_text(), path, "exec"), space)
    x = np.random.default_rng(seed).normal(size=3)
    value, expected = jj.value_and_grad(space["program"])(x)
    for style, argument in ((space["backward"], jj.Variable(x)), (space["taped"], x)):
        compiled = jj.jit(style, warmup=1, background=False)
        for function in (style, compiled, compiled, compiled):
            loss, gradient = function(argument)
            assert loss == pytest.approx(value, rel=1e-12)
            gradient = np.zeros(3) if gradient is None else gradient
            np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)  # sums in another order
        assert compiled.stats.graph_calls >= 1 and compiled.stats.host_calls == 0, compiled.reason
