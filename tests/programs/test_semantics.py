"""What NumPy training programs rely on, item by item: the habits found in a survey of published loops.

Each test builds its program twice, once for plain Python and once for `@jit`, makes the same calls on both, and
compares results, state, printed text and exceptions after each. ``graph_calls`` shows that the graph, not a fallback,
was compared.
"""

# ruff: noqa: B007, B905, UP031, UP032 - the programs are written as people write them

import numpy as np
import pytest

import janusjit
from tests.differential import Side, run_side_by_side

CALLS = 12


def vector(number, length=6):
    return np.arange(length) * 0.25 - 0.5 + 0.01 * number


def matrix(number, rows=4, columns=5):
    return vector(number, rows * columns).reshape(rows, columns) * (-1.0) ** np.arange(columns)


def check(build, calls=CALLS, in_graph=True):
    """Compare the program that ``build()`` returns, as a dict of `Side`'s parameters, with itself under `@jit`."""
    plain, jitted = build(), build()
    jitted["function"] = janusjit.jit(jitted["function"], warmup=2, background=False)
    found = run_side_by_side(Side(**plain), Side(**jitted), calls)
    assert not found, found
    stats = jitted["function"].stats
    assert stats.calls == calls
    (entry,) = jitted["function"].report().to_dict()["functions"]
    if in_graph:
        assert stats.graph_calls == calls - 2, entry["plain"] and entry["plain"]["cause"]
        assert stats.deopts <= 3
    elif not stats.graph_calls:
        assert entry["plain"]["cause"]["code"]
        assert entry["plain"]["cause"]["category"] in ("supportable", "fundamental", "user")
    return jitted["function"]


# 1. Views taken as copies, activations that are views, backward passes that mutate


@pytest.mark.parametrize(
    "contiguous",
    [
        np.ascontiguousarray,
        lambda x: np.asarray(x, order="C"),
        lambda x: np.array(x, order="C", copy=None),
        lambda x: x.astype(x.dtype, order="C", copy=False),
        lambda x: np.require(x, requirements="C"),
    ],
    ids=["ascontiguousarray", "asarray", "array", "astype", "require"],
)
@pytest.mark.parametrize("part", [lambda x: x, lambda x: x.T, lambda x: x[:, ::2], lambda x: x[1:], lambda x: x[:, :1]])
def test_an_array_asked_for_in_c_order_is_a_copy_where_it_was_in_another(contiguous, part):
    def step(x, by):
        made = contiguous(part(x))
        made += by
        return made, made.flags.c_contiguous, x.sum()

    def build():
        x = matrix(0)
        return {"function": step, "arguments": lambda n: (x, 0.5 * n)}

    check(build)


def test_row_view_taken_as_a_copy_and_updated():
    def factorize(P, Q, ratings):
        for i in range(P.shape[0]):
            P_i = P[i, :][:]
            error = ratings[i] - P_i @ Q
            P_i += 0.01 * (Q @ error)
        return ((ratings - P @ Q) ** 2).sum()

    def build():
        P, Q = matrix(0, 4, 3), matrix(1, 3, 5)
        return {"function": factorize, "arguments": lambda n: (P, Q, matrix(n))}

    check(build)


def test_embedding_columns_are_leaf_activations_mutated_in_the_backward_pass():
    def build():
        embedding = matrix(0, 4, 8)

        def step(words, rate):
            leaves = [embedding[:, word] for word in words]
            hidden = np.tanh(leaves[0] + leaves[1])
            gradient = (1.0 - hidden * hidden) * (hidden - leaves[2])
            for leaf in leaves[:2]:
                leaf -= rate * gradient
            return hidden

        def arguments(n):
            return [[1, 3, 5], [2, 6, 7], [0, 4, 5]][n % 3], 0.1 / (1 + n)

        return {"function": step, "arguments": arguments, "observe": lambda: embedding}

    check(build)


def test_relu_backward_mutates_its_argument():
    def relu_backward(gradient, activation):
        gradient[activation <= 0] = 0
        return gradient

    def step(x, w):
        hidden = np.maximum(x @ w, 0)
        gradient = hidden - 0.5
        same = relu_backward(gradient, hidden)
        return gradient.sum(), same is gradient

    check(lambda: {"function": step, "arguments": lambda n: (matrix(n), matrix(n + 1, 5, 3))})


# 2. The third positional argument is out


@pytest.mark.filterwarnings("ignore:Passing more than 2 positional:DeprecationWarning")
def test_third_positional_argument_of_a_ufunc_is_out():
    def leaky_relu(x, alpha):
        np.maximum(x, x * alpha, x)
        return x.sum()

    check(lambda: {"function": leaky_relu, "arguments": lambda n: (matrix(n), 0.01)})


# 3. Overlapping slices, structured arrays, chained writes


def test_overlapping_slice_updates():
    def shift(x):
        x[1:] = x[:-1]
        x[:-2] += x[2:]
        x[::-1] -= 0.5 * x
        return x.copy()

    check(lambda: {"function": shift, "arguments": lambda n: (vector(n, 9),)})


def test_views_of_a_structured_array():
    def build():
        particles = np.zeros(5, dtype=[("position", float, 2), ("mass", float)])
        particles["mass"] = 1.0 + np.arange(5)

        def step(force):
            particles["position"] += force / particles["mass"][:, np.newaxis]
            return particles["position"].sum(axis=0)

        return {
            "function": step,
            "arguments": lambda n: (matrix(n, 5, 2),),
            "observe": lambda: (particles["position"].copy(), particles["mass"].copy()),
        }

    check(build, in_graph=False)


def test_game_of_life_writes_through_a_chain_of_views():
    def step(Z):
        neighbours = (
            Z[:-2, :-2] + Z[:-2, 1:-1] + Z[:-2, 2:] + Z[1:-1, :-2] + Z[1:-1, 2:] + Z[2:, :-2] + Z[2:, 1:-1] + Z[2:, 2:]
        )
        birth = (neighbours == 3) & (Z[1:-1, 1:-1] == 0)
        survive = ((neighbours == 2) | (neighbours == 3)) & (Z[1:-1, 1:-1] == 1)
        Z[...] = 0
        Z[1:-1, 1:-1][birth | survive] = 1
        return Z.sum()

    def build():
        world = (np.random.default_rng(0).random((12, 12)) < 0.4).astype(int)
        return {"function": step, "arguments": lambda n: (world,)}

    check(build)


# 4. The loop variable as an alias


def test_loop_variable_is_an_alias_of_the_gradient():
    def step(x):
        first, second = x * 10.0, x @ x.T
        for gradient in [first, second]:
            np.clip(gradient, -5, 5, out=gradient)
        return first, second

    check(lambda: {"function": step, "arguments": lambda n: (matrix(n),)})


def test_adagrad_over_zip_in_place():
    def build():
        parameters, memories = [matrix(0), vector(1)], [np.zeros((4, 5)), np.zeros(6)]

        def step(scale):
            gradients = [parameter * scale for parameter in parameters]
            for parameter, gradient, memory in zip(parameters, gradients, memories):
                memory += gradient * gradient
                parameter += -0.1 * gradient / np.sqrt(memory + 1e-8)

        return {
            "function": step,
            "arguments": lambda n: (1.0 + 0.1 * n,),
            "observe": lambda: (parameters, memories),
        }

    check(build)


# 5. Floating-point errors that raise


@pytest.mark.parametrize("kind", ["over", "under", "divide", "invalid"])
def test_errstate_that_raises(kind):
    bad = {"over": 800.0, "under": -800.0, "divide": -np.inf, "invalid": np.inf}[kind]

    def step(x):
        exponentials = np.exp(x)
        if kind == "divide":
            return 1.0 / exponentials
        if kind == "invalid":
            return exponentials - exponentials
        return exponentials

    def arguments(n):
        x = vector(n)
        if n in (5, 9):
            x[2] = bad
        return (x,)

    with np.errstate(**{kind: "raise"}):
        check(lambda: {"function": step, "arguments": arguments}, in_graph=False)


def test_errstate_set_after_compilation_is_seen():
    def step(x):
        return np.exp(x) * 2.0

    jitted = janusjit.jit(step, warmup=2, background=False)
    x = np.array([0.5, 1000.0])
    with np.errstate(over="ignore"):
        for _ in range(5):
            assert np.isinf(jitted(x)[1])
    assert jitted.stats.graph_calls == 3
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow encountered in exp"):
        jitted(x)
    with np.errstate(over="warn"), pytest.warns(RuntimeWarning, match="overflow encountered in exp"):
        jitted(x)


# 6. Identity of arrays


def test_identity_logic_on_arrays():
    def build():
        shared = vector(0)

        def step(arrays):
            unique = []
            for array in arrays:
                if not any(array is other for other in unique):
                    unique.append(array)
            total = unique.pop(0)
            while unique:
                total = total + unique.pop()
            return total, arrays[0] is arrays[1], id(arrays[0]) == id(arrays[-1])

        def arguments(n):
            one = vector(n)
            return ([[shared, shared, one], [shared, one, shared]][n % 2],)

        return {"function": step, "arguments": arguments, "observe": lambda: shared}

    check(build, in_graph=False)


def test_returned_argument_is_that_object():
    def step(x, y):
        y = y if y is not None else x
        x += 1.0
        return x, y

    def arguments(n):
        x = vector(n)
        return x, [x, vector(n), None][n % 3]

    check(lambda: {"function": step, "arguments": arguments})


def test_earlier_results_are_not_written_over():
    def step(x):
        y = x * 2.0
        return y, y[1:], y.sum()

    check(lambda: {"function": step, "arguments": lambda n: (vector(n),)})


# 7. Exits


def test_exit_on_float_equality():
    def settle(x):
        previous = np.inf
        for iteration in range(200):
            x = np.sqrt(x + 1.0)
            total = x.sum()
            if total == previous:
                return iteration, x
            previous = total
        return -1, x

    check(lambda: {"function": settle, "arguments": lambda n: (vector(n) + 1.0,)})


def test_while_time_is_before_the_end():
    def integrate(state, t_end, dt):
        t = 0.0
        while t < t_end:
            state = state + dt * np.stack([state[1], -state[0]])
            t += dt
        return state, t

    check(lambda: {"function": integrate, "arguments": lambda n: (matrix(n, 2, 3), 1.0 + 0.1 * (n % 4), 0.1)})


def test_convergence_break_and_early_return():
    def descend(x, tolerance):
        if not x.any():
            return x, 0
        for iteration in range(100):
            update = 0.3 * x
            x = x - update
            if np.linalg.norm(update) < tolerance:
                break
        return x, iteration

    check(lambda: {"function": descend, "arguments": lambda n: (vector(n) * (n % 4 != 3), 10.0 ** -(2 + n % 3))})


# 8. Numbers of mixed kinds


def test_unsigned_exponent_in_bias_correction():
    def build():
        state = {"t": np.uint64(0), "m": np.zeros(6)}

        def step(gradient):
            state["t"] += np.uint64(1)
            state["m"] = 0.9 * state["m"] + 0.1 * gradient
            return state["m"] / (1 - 0.9 ** state["t"]), 0.9 ** state["t"]

        return {"function": step, "arguments": lambda n: (vector(n),), "observe": lambda: state}

    check(build)


def test_float32_weights_times_numpy_and_python_floats():
    def scale(weights, fan_in):
        promoted = weights * np.sqrt(2.0 / fan_in)
        kept = weights * (2.0 / fan_in) ** 0.5
        mixed = weights.sum() * 0.5 + np.float64(1.0)
        return promoted, kept, mixed, weights.mean()

    check(lambda: {"function": scale, "arguments": lambda n: (matrix(n).astype(np.float32), 5 + n % 3)})


def test_small_integers_wrap_and_sums_widen():
    def counts(x):
        return x + x, x.sum(), x * 3, x.mean(), x // 7, x % 7, -x

    def arguments(n):
        return ((np.arange(-6, 6) * 25 + n).astype([np.int8, np.uint8][n % 2]),)

    check(lambda: {"function": counts, "arguments": arguments})


def test_python_integers_do_not_wrap():
    def grow(x, factor):
        scale = 1
        for _ in range(5):
            scale = scale * factor
        return x * 2.0, scale

    check(lambda: {"function": grow, "arguments": lambda n: (vector(n), 10 if n != 8 else 10**6)})


# 9. Shapes that change


def test_short_last_batch():
    def step(x, w):
        logits = x @ w
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        probabilities[np.arange(len(x)), np.arange(len(x)) % 3] -= 1
        return x.T @ probabilities / len(x)

    def arguments(n):
        return matrix(n, 8 if n % 4 != 3 else 3, 5), matrix(1, 5, 3)

    function = check(lambda: {"function": step, "arguments": arguments})
    assert function.stats.specializations <= 2


def test_sequences_of_every_length():
    def run(sequence, w):
        hidden = np.zeros(4)
        for x in sequence:
            hidden = np.tanh(w @ hidden + x)
        return hidden

    function = check(
        lambda: {"function": run, "arguments": lambda n: (matrix(n, 2 + n % 9, 4), matrix(1, 4, 4))}, calls=24
    )
    assert function.stats.specializations <= 2


def test_active_sets_shrink():
    def prune(x, threshold):
        active = x[np.abs(x) > threshold]
        while active.size > 2 and active.max() > 0.5:
            active = active[active < active.max()]
        return active, active.size

    check(lambda: {"function": prune, "arguments": lambda n: (vector(n, 12), 0.1 * (n % 5))}, in_graph=False)


# 10. Random numbers inside the step


@pytest.mark.parametrize("source", ["legacy", "RandomState", "Generator"])
def test_random_numbers_are_drawn_in_program_order(source):
    def build():
        if source == "legacy":
            rng = np.random
        elif source == "RandomState":
            rng = np.random.RandomState(1)
        else:
            rng = np.random.default_rng(1)

        def step(x):
            noise = rng.normal(0.0, 0.1, x.shape)
            mask = rng.binomial(1, 0.8, x.shape)
            return (x + noise) * mask / 0.8

        return {"function": step, "arguments": lambda n: (matrix(n),)}

    check(build)


# 11. Module dispatch, out= and where=


def test_array_module_dispatch():
    def build():
        xp = np
        functions = {"tanh": xp.tanh, "relu": lambda x: xp.maximum(x, 0)}

        def step(x, kind):
            return functions[kind](x) + xp.ones_like(x)

        return {"function": step, "arguments": lambda n: (matrix(n), ["tanh", "relu"][n % 2])}

    check(build)


def test_out_by_position_and_keyword_and_where():
    def step(x, buffer):
        np.exp(x, buffer)
        np.multiply(buffer, 2.0, out=buffer)
        np.add(buffer, x, out=buffer, where=x > 0)
        total = np.sum(x, axis=0, where=x > 0)
        column = np.empty(x.shape[0])
        returned = np.sum(x, axis=1, out=column)
        return total, column, returned is column

    check(lambda: {"function": step, "arguments": lambda n: (matrix(n), np.zeros((4, 5)))})


# 12. Parameters in nested containers and objects


def test_parameters_in_dicts_keyed_by_formatted_strings():
    def build():
        parameters = {}
        for layer in range(3):
            parameters[f"W{layer}"] = matrix(layer, 5, 5) * 0.3
            parameters["b%d" % layer] = vector(layer, 5)

        def step(x):
            for layer in range(3):
                x = np.tanh(x @ parameters["W" + str(layer)] + parameters["b{}".format(layer)])
                parameters[f"W{layer}"] -= 0.01 * parameters[f"W{layer}"]
            return x

        return {"function": step, "arguments": lambda n: (matrix(n),), "observe": lambda: parameters}

    check(build)


def test_parameters_in_lists_of_lists():
    def build():
        layers = [[matrix(0, 5, 5), vector(0, 5)], [matrix(1, 5, 2), vector(1, 2)]]

        def step(x):
            for weights, bias in layers:
                x = np.tanh(x @ weights + bias)
            layers[1][1] = layers[1][1] * 0.5
            layers[0][0][0] += 1.0
            return x

        return {"function": step, "arguments": lambda n: (matrix(n),), "observe": lambda: layers}

    check(build)


class Linear:
    def __init__(self, seed, inputs, outputs):
        self.weight, self.gradient, self.inputs = matrix(seed, inputs, outputs), None, None

    def forward(self, x):
        self.inputs = x
        return x @ self.weight

    def backward(self, gradient):
        self.gradient = self.inputs.T @ gradient
        return gradient @ self.weight.T


class Network:
    def __init__(self):
        self.layers = [Linear(0, 5, 4), Linear(1, 4, 3)]

    def step(self, x, rate):
        for layer in self.layers:
            x = layer.forward(x)
        gradient = x - 1.0
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        for layer in self.layers:
            layer.weight -= rate * layer.gradient
        return x


def test_object_graph_with_state_between_forward_and_backward():
    def build():
        network = Network()

        def step(x, rate):
            return network.step(x, rate)

        return {"function": step, "arguments": lambda n: (matrix(n), 1e-4 / (1 + n)), "observe": lambda: network}

    check(build)


class Momentum:
    def __init__(self, parameters, rate):
        self.parameters, self.rate, self.velocity, self.steps = parameters, rate, {}, 0

    def step(self, gradients):
        self.steps += 1
        for name, gradient in gradients.items():
            if name not in self.velocity:
                self.velocity[name] = np.zeros_like(gradient)
            self.velocity[name] = 0.9 * self.velocity[name] - self.rate * gradient
            self.parameters[name] += self.velocity[name]


def test_optimizer_keeps_state_in_dicts_keyed_by_parameter():
    def build():
        parameters = {"w": matrix(0), "b": vector(0, 5)}
        optimizer = Momentum(parameters, 0.1)

        def train(x):
            y = x * parameters["w"] + parameters["b"]
            optimizer.step({"w": y * x, "b": y.sum(axis=0)})
            return (y * y).sum()

        return {"function": train, "arguments": lambda n: (matrix(n),), "observe": lambda: optimizer}

    check(build)


def test_parameters_in_nested_closures():
    def build():
        def make_layer(seed):
            weights = matrix(seed, 5, 5) * 0.3
            steps = 0

            def forward(x):
                def update(gradient):
                    nonlocal weights, steps
                    weights = weights - 0.1 * gradient
                    steps += 1

                return np.tanh(x @ weights), update

            return forward, lambda: (weights, steps)

        forward1, state1 = make_layer(0)
        forward2, state2 = make_layer(1)

        def step(x):
            hidden, update1 = forward1(x)
            y, update2 = forward2(hidden)
            update2(hidden.T @ y)
            update1(x.T @ hidden)
            return np.abs(y).sum()  # nothing cancels: products are summed in another order than NumPy's

        return {"function": step, "arguments": lambda n: (matrix(n),), "observe": lambda: (state1(), state2())}

    check(build)
