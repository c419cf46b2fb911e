"""Programs that draw inside: branches, loops, callees, stored generators, training steps."""

from __future__ import annotations

import random

import numpy as np
import pytest

import janusjit
from tests.random_numbers.streams import check, new_generators, state_of

# ---------------------------------------------------------------------- control flow


@pytest.mark.parametrize("holder", ["old", "new", "legacy"])
def test_draws_in_both_arms_and_after(holder):
    def step(g, x):
        rng = g[holder]
        if x[0] > 0.5:
            y = x + rng.normal(size=3)
        else:
            y = x * rng.uniform(1.0, 2.0)
            y[0] = rng.normal()
        return y + rng.normal()

    check(step, lambda n: (np.array([n % 2 * 1.0, 2.0, 3.0]),), calls=12, deopts=1)


def test_a_draw_in_one_arm_only():
    def step(g, x):
        if x > 0:
            np.random.rand()
        return np.random.rand()

    check(step, lambda n: (n % 3 - 1.0,), calls=14, deopts=1)


def test_a_branch_on_a_draw():
    def step(g, values, epsilon):
        if g["module"].random() < epsilon:
            return random.randint(0, 4), True
        return np.argmax(values), False

    check(step, lambda n: (np.arange(5.0) % 3, 0.5), calls=30, deopts=1)


@pytest.mark.parametrize("holder", ["old", "new", "python"])
def test_loops_with_trip_counts_of_run_time(holder):
    def step(g, n, x):
        total = x
        for i in range(n):
            drawn = g[holder].normalvariate(i, 1.0) if holder == "python" else g[holder].normal(i, 1.0)
            total = total + drawn
            if total > 4.0:
                total = total - 1.0
        return total, g[holder].random()

    check(step, lambda n: (3 + n % 4, 0.5), calls=14, deopts=3)


def test_a_loop_ended_by_a_draw():
    def step(g, x):
        count = 0
        while g["new"].random() < x:
            count += 1
        return count

    check(step, lambda n: (0.8,), calls=20, deopts=3)


def test_nested_loops_with_breaks():
    def step(g, n):
        total = np.zeros(3)
        for _ in range(n):
            for _turn in range(5):
                noise = g["old"].standard_normal(3)
                if noise[0] > 1.0:
                    break
                total += noise
            total *= g["new"].random()
        return total

    check(step, lambda n: (4 + n % 3,), calls=14, deopts=4)


def test_unused_draws_happen():
    def step(g, x):
        g["old"].rand(3)
        for _ in range(x):
            np.random.randn()
        return x

    check(step, lambda n: (3 + n % 2,), calls=10, deopts=2)


# ---------------------------------------------------------------------- failures after draws


def test_states_are_restored_when_a_guard_fails_after_draws():
    def step(g, x, i):
        noise = np.random.randn(3) + g["new"].normal(size=3) + g["old"].standard_normal()
        shift = g["python"].random() + random.gauss(0.0, 1.0) + g["new"].integers(10, dtype=np.uint32)
        return x[i] + noise * shift

    jitted = check(step, lambda n: (np.arange(4.0), 9 if n % 5 == 4 else n % 3), calls=20, in_graph=False)
    assert jitted.stats.deopts == 4 and jitted.stats.graph_calls == 18 and jitted.stats.host_calls == 0


def test_states_are_restored_when_a_guard_fails_in_a_loop():
    def step(g, x, n):
        total = 0.0
        for i in range(n):
            total += np.random.rand() * x[i] + g["python"].random()
        return total

    jitted = check(step, lambda n: (np.arange(8.0), 12 if n % 4 == 3 else 3 + n % 4), calls=20, in_graph=False)
    assert jitted.stats.deopts >= 4 and jitted.stats.graph_calls > 8 and jitted.stats.host_calls == 0


def test_a_guard_that_fails_late_in_a_long_loop():
    def step(g, x, index, n):
        made, total = np.random.default_rng(5), 0.0
        for i in range(n):
            total = total + np.random.randn() + g["new"].random() + random.gauss(0.0, 1.0) + made.normal()
            total = total * 0.5 + x[index[i]]
        return total, made.random()

    def arguments(n):
        index = np.zeros(200, int)
        if n > 4 and n % 2:
            index[150 + n] = -9 if n % 4 == 1 else -1
        return np.arange(4.0), index, 200

    jitted = check(step, arguments, calls=16, in_graph=False)
    assert jitted.stats.deopts >= 2 and jitted.stats.graph_calls >= 10 and jitted.stats.host_calls == 0


def test_states_are_restored_when_a_draw_raises():
    def step(g, scale, p):
        first = g["new"].random(2)
        second = np.random.normal(0.0, scale)
        return first, second, np.random.choice(3, p=p)

    good, bad = np.array([0.5, 0.25, 0.25]), np.array([0.5, 0.5, 0.5])

    def arguments(n):
        return (-1.0 if n % 5 == 4 else 1.0), (bad if n % 7 == 6 else good)

    jitted = check(step, arguments, calls=24, in_graph=False)
    assert jitted.stats.graph_calls > 12 and jitted.stats.host_calls == 0


def test_the_gaussian_cache_of_both_kinds_is_restored():
    def step(g, x, i):
        return np.random.randn(), g["old"].normal(), random.gauss(0, 1), g["python"].gauss(0.0, 1.0), x[i]

    jitted = check(step, lambda n: (np.arange(3.0), 5 if n % 3 == 2 else 1), calls=15, in_graph=False)
    assert jitted.stats.deopts == 5 and jitted.stats.graph_calls == 13


def test_reseeding_inside_is_undone_too():
    def step(g, x, i):
        np.random.seed(5)
        random.seed(6)
        g["old"].seed(7)
        return np.random.rand(), random.random(), g["old"].rand(2), x[i]

    jitted = check(step, lambda n: (np.arange(3.0), 5 if n % 3 == 2 else 1), calls=12, in_graph=False)
    assert jitted.stats.deopts == 4 and jitted.stats.graph_calls == 10


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64])
def test_every_bit_generator_is_restored(bits):
    def build():
        return np.random.Generator(bits(3)), np.random.RandomState(bits(4))

    def step(new, old, x, i):
        return new.normal(size=2), new.integers(9, dtype=np.uint32), old.randn(), old.randint(9), x[i]

    def run(function):
        generators = build()
        found = []
        for n in range(14):
            try:
                found.append(function(*generators, np.arange(3.0), 5 if n % 3 == 2 else 1))
            except IndexError:
                found.append(None)
        return found, [repr(state_of(generator)) for generator in generators]

    jitted = janusjit.jit(step, warmup=2, background=False)
    assert repr(run(step)) == repr(run(jitted))
    assert jitted.stats.deopts == 4 and jitted.stats.graph_calls == 12


# ---------------------------------------------------------------------- where generators live


class Layer:
    def __init__(self, rng, rate):
        self.rng = rng
        self.rate = rate
        self.draw = rng.random

    def dropout(self, x):
        return x * (self.rng.random(x.shape) >= self.rate) / (1.0 - self.rate)

    def noise(self, x):
        return x + self.draw(x.shape)


def test_generators_on_objects_in_methods_and_bound_methods():
    layers = {}

    def step(g, x):
        layer = layers[0]
        return layer.noise(layer.dropout(x))

    def arguments(n):
        if n == 0:
            layers[0] = Layer(np.random.default_rng(7), 0.25)
        return (np.ones((3, 4)),)

    check(step, arguments)


def test_generators_in_closures_dicts_and_arguments():
    def helper(rng, scale):
        return rng.normal(0.0, scale, 2)

    def step(g, scale):
        inner = g["new"]

        def noisy(x):
            return x + helper(inner, scale)

        return noisy(np.ones(2)) + helper(g["old"], 1.0), [g["python"].random() for _ in range(3)]

    check(step, lambda n: (0.5 + n,))


def test_another_generator_each_call():
    def step(g, rng, x):
        return rng.normal(size=2) + x + rng.random()

    check(step, lambda n: (np.random.default_rng(n), float(n)))


def test_another_type_of_generator():
    def step(g, rng, x):
        return rng.normal(size=2) + x

    def arguments(n):
        return (np.random.default_rng(n) if n % 2 else np.random.RandomState(n)), float(n)

    jitted = check(step, arguments, calls=12, in_graph=False)
    assert jitted.stats.graph_calls >= 8 and jitted.stats.host_calls == 0


def test_one_generator_by_two_names_and_shared_bits():
    def step(g, first, second, other):
        a = first.normal()
        b = second.random()
        c = other.normal(size=2)
        return a, b, c, first.random()

    def arguments(n):
        rng = np.random.default_rng(n)
        return rng, rng, np.random.Generator(rng.bit_generator)

    check(step, arguments)


def test_two_generators_that_become_one():
    def step(g, first, second):
        return first.random(), second.random(), first.random()

    def arguments(n):
        rng = np.random.default_rng(n)
        return rng, (rng if n > 5 else np.random.default_rng(9))

    check(step, arguments, calls=12, in_graph=False)


class Loud(np.random.RandomState):
    def normal(self, *arguments):
        return 42.0


class Quiet(random.Random):
    def random(self):
        return 0.25


def test_subclasses_and_patched_methods_are_the_users_code(monkeypatch):
    def step(g, old, python, patched):
        return old.normal(), python.uniform(0.0, 1.0), patched.random(), np.random.rand()

    def arguments(n):
        patched = random.Random(n)
        if n > 4:
            patched.random = lambda: 0.75
        return Loud(n), Quiet(n), patched

    check(step, arguments, calls=12, in_graph=False)
    jitted = janusjit.jit(lambda: np.random.rand() + random.random(), warmup=2, background=False)
    for _ in range(5):
        jitted()
    monkeypatch.setattr(np.random, "rand", lambda: 3.0)
    monkeypatch.setattr(random, "random", lambda: 4.0)
    assert jitted() == 7.0


# ---------------------------------------------------------------------- generators made inside


def test_generators_made_inside():
    def step(g, seed, x):
        new = np.random.default_rng(seed)
        old = np.random.RandomState(3)
        python = random.Random(seed)
        return new.normal(size=2) + x, old.randn(2), python.random(), np.random.default_rng(new) is new

    check(step, lambda n: (n % 4, 2.0))


def test_generators_made_inside_leave():
    class Holder:
        pass

    holder = Holder()

    def step(g, seed):
        holder.rng = np.random.default_rng(seed)
        made = np.random.RandomState(seed)
        first = made.rand()
        return made, [made], holder.rng.random(), first

    def run(function):
        found = []
        for n in range(8):
            made, (again,), value, first = function(None, n % 3)
            assert made is again
            found.append((made.rand(), value, first, holder.rng.random()))
        return found

    jitted = janusjit.jit(step, warmup=2, background=False)
    assert run(step) == run(jitted)
    assert jitted.stats.graph_calls == 6 and jitted.stats.host_calls == 0


def test_a_generator_made_in_every_turn():
    def step(g, n):
        total = 0.0
        for i in range(n):
            rng = np.random.default_rng(i)
            total += rng.random() + rng.normal()
        return total

    check(step, lambda n: (40 + n % 5,), calls=10, deopts=2)


def test_the_same_seed_twice_makes_two():
    def step(g):
        first, second = np.random.default_rng(1), np.random.default_rng(1)
        return first.random(), first.random(), second.random(), first is second

    check(step)


# ---------------------------------------------------------------------- choices and permutations


@pytest.mark.parametrize("holder", ["old", "new", "legacy"])
def test_choices(holder):
    def step(g, p, values):
        rng = g[holder]
        return (
            rng.choice(5),
            rng.choice(5, p=p),
            rng.choice(values),
            rng.choice(values, 3),
            rng.choice(values, size=(2, 2), p=p),
            rng.choice(len(p), 2, replace=False),
            rng.choice(values, 2, replace=False, p=p),
            rng.choice([1.0, 2.0, 4.0], p=[0.5, 0.25, 0.25]),
            rng.choice([1, 2, 3]),
        )

    check(step, lambda n: (np.array([0.1, 0.2, 0.3, 0.2, 0.2]), np.arange(5.0) + n))


@pytest.mark.parametrize("holder", ["old", "new", "legacy"])
def test_permutations_and_shuffles(holder):
    def step(g, x, m):
        rng = g[holder]
        order = rng.permutation(x.shape[0])
        y = m[order]
        rng.shuffle(x)
        rng.shuffle(m)
        numbers = [1, 2, 3, 4, 5]
        rng.shuffle(numbers)
        local = np.arange(6)
        rng.shuffle(local[1:])
        return order, y, rng.permutation(x), rng.permutation(m), numbers, local, rng.permutation([3.0, 4.0, 5.0])

    check(step, lambda n: (np.arange(4.0), np.arange(12.0).reshape(4, 3)))


def test_permuted_and_axes():
    def step(g, m):
        g["new"].shuffle(m, axis=1)
        return g["new"].permuted(m[0]), g["new"].permuted(m, axis=0), g["new"].permuted(m, axis=1)

    check(step, lambda n: (np.arange(12.0).reshape(4, 3),))
    check(step, lambda n: (np.asfortranarray(np.arange(12.0).reshape(4, 3)),))
    check(lambda g, m: g["new"].permuted(m), lambda n: (np.asfortranarray(np.eye(3)),), in_graph=False)


@pytest.mark.parametrize("holder", ["python", "module"])
def test_pythons_choices(holder):
    outside = [0.5, 1.5, 2.5]

    def step(g, values, n):
        rng = g[holder]
        numbers = [1, 2, 3, 4]
        rng.shuffle(numbers)
        return (
            rng.choice([1, 5, 9]),
            rng.choice(range(n)),
            rng.choice(outside),
            rng.choice(values),
            rng.sample(range(10), 3),
            rng.sample([1.0, 2.0, 3.0], k=2),
            rng.choices([1, 2], k=4),
            rng.randrange(n),
            rng.randrange(2, 20, 3),
            numbers,
        )

    check(step, lambda n: (np.arange(4.0), 5 + n))


def test_lists_from_outside_are_shuffled_in_place():
    numbers, named = [1, 2, 3, 4, 5], {"a": [0.5, 1.5, 2.5]}

    def step(g, n):
        random.shuffle(numbers)
        g["new"].shuffle(named["a"])
        np.random.shuffle(named["a"])
        return list(numbers), named["a"][0], random.sample(numbers, 2), random.choice(numbers)

    def arguments(n):
        if n == 0:
            numbers[:], named["a"][:] = [1, 2, 3, 4, 5], [0.5, 1.5, 2.5]
        return (n,)

    check(step, arguments)


class Agent:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def draw(self):
        self.count += 1
        return self.rng.normal()


def test_objects_made_inside_own_generators():
    def step(g, seed):
        agent = Agent(seed)
        return agent.draw() + agent.draw(), agent.count

    check(step, lambda n: (n % 3,))


def test_odd_sizes_and_kinds_of_numbers():
    def step(g, x):
        empty = np.random.rand(0), np.random.randn(2, 0, 3), np.random.permutation(0), g["new"].random((0, 2)).sum()
        singles = np.random.normal(np.float32(1.5), np.float32(2)), np.random.normal(True), np.random.normal(x)
        return empty, singles, np.random.poisson(np.int64(3)), np.random.binomial(np.int32(4), np.float32(0.5))

    check(step, lambda n: (np.array(2.0),))
    check(lambda g, n: np.random.rand(n), lambda n: (-1,), in_graph=False)
    check(lambda g, n: random.uniform(n, 2.0), lambda n: (np.float64(1.5),), in_graph=False)


def test_an_exception_of_a_draw_that_the_program_handles():
    def step(g, scale):
        try:
            return np.random.normal(0.0, scale)
        except ValueError:
            return np.random.rand()

    check(step, lambda n: (1.0 if n % 4 else -1.0,), calls=16, in_graph=False)


def test_integers_of_all_kinds():
    def step(g, low, high):
        return (
            np.random.randint(low),
            np.random.randint(low, high),
            np.random.randint(3, dtype=np.int64),
            np.random.randint(0, 2, 4, dtype=bool),
            np.random.randint(0, 2, dtype=bool),
            np.random.randint(0, 200, (2, 2), np.uint8),
            np.random.randint([1, 5], [3, 9]),
            g["new"].integers(high),
            g["new"].integers(low, high, size=3, endpoint=True),
            g["new"].integers(0, 5, dtype=int),
            g["new"].random(3, dtype=np.float32),
            g["new"].standard_normal((2, 2), dtype="f4"),
        )

    check(step, lambda n: (3 + n, 20 + n))


def test_array_parameters_broadcast():
    def step(g, mean, scale):
        return (
            np.random.normal(mean, scale),
            g["new"].normal(mean[:, None], scale),
            np.random.poisson(np.abs(mean)),
            np.random.binomial(10, np.array([0.1, 0.9]), (3, 2)),
            np.random.uniform(mean, mean + 1.0),
            np.random.multinomial(5, [0.2, 0.8], 2),
            np.random.beta(scale, 2.0),
            np.random.normal(mean.astype(np.float32)),
        )

    check(step, lambda n: (np.arange(3.0), np.array([1.0, 2.0, 3.0])))


def test_warnings_are_eagers():
    def step(g, cov):
        return np.random.multivariate_normal([0.0, 0.0], cov)

    bad = np.array([[1.0, 2.0], [2.0, 1.0]])
    jitted = janusjit.jit(step, warmup=2, background=False)
    for _ in range(5):
        jitted(None, np.eye(2))
    states = []
    for function in (step, jitted):
        new_generators()
        with pytest.warns(RuntimeWarning, match="positive-semidefinite") as caught:
            function(None, bad)
        states.append((len(caught), repr(state_of(np.random))))
    assert states[0] == states[1] and jitted.stats.graph_calls == 4 and jitted.stats.deopts == 1


# ---------------------------------------------------------------------- training steps


def test_dropout_training():
    def step(g, w, x, y):
        hidden = np.maximum(x @ w["1"], 0)
        mask = (g["new"].random(hidden.shape) < 0.5) / 0.5
        hidden = hidden * mask
        error = hidden @ w["2"] - y
        gradient = (error @ w["2"].T) * mask * (hidden > 0)
        w["2"] -= 0.01 * hidden.T @ error
        w["1"] -= 0.01 * x.T @ gradient
        return (error**2).mean()

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 8)), rng.normal(size=(8, 2))

    def arguments(n):
        made = np.random.default_rng(n)
        return {"1": first.copy(), "2": second.copy()}, made.normal(size=(5, 4)), made.normal(size=(5, 2))

    jitted = janusjit.jit(step, warmup=2, background=False)
    losses = []
    for function in (step, jitted):
        generators = new_generators()
        w = arguments(0)[0]
        losses.append([function(generators, w, *arguments(n)[1:]) for n in range(12)])
        losses[-1].append(repr(state_of(generators["new"])))
    np.testing.assert_allclose(losses[0][:-1], losses[1][:-1], rtol=1e-10)  # products are summed in another order
    assert losses[0][-1] == losses[1][-1]
    assert jitted.stats.graph_calls == 10 and jitted.stats.deopts == 0 and jitted.stats.host_calls == 0


def test_negative_sampling():
    def step(g, inner, outer, center, context, p):
        negatives = np.random.choice(len(p), size=4, p=p)
        total = 0.0
        for target, label in [(context, 1.0)] + [(k, 0.0) for k in range(2)]:
            score = 1.0 / (1.0 + np.exp(-(inner[center] * outer[target]).sum()))
            outer[target] -= 0.1 * (score - label) * inner[center]
            total += score
        np.add.at(inner, negatives, 0.01)
        return total, negatives

    p = np.arange(1.0, 7.0)

    def arguments(n):
        return np.ones((6, 4)) * 0.1, np.ones((6, 4)) * 0.2, n % 6, (n + 1) % 6, p / p.sum()

    jitted = janusjit.jit(step, warmup=2, background=False)
    found = []
    for function in (step, jitted):
        np.random.seed(4)
        found.append([function(None, *arguments(n)) for n in range(12)])
        found[-1].append(np.random.rand())
    for (one, chosen), (other, also) in zip(found[0][:-1], found[1][:-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)  # two units in the last place of exp
        np.testing.assert_array_equal(chosen, also)
    assert found[0][-1] == found[1][-1] and jitted.stats.host_calls == 0 and jitted.stats.graph_calls >= 8


def test_shuffled_minibatches():
    def epoch(g, x, w, size):
        order = np.random.permutation(len(x))
        total = 0.0
        for start in range(0, len(x), size):
            rows = order[start : start + size]
            total += (x[rows] @ w).sum()
        return total, order

    rng = np.random.default_rng(0)
    x, w = np.round(rng.normal(size=(12, 3)) * 8), np.array([1.0, 2.0, 4.0])  # whole numbers: sums are exact
    check(epoch, lambda n: (x, w, 4))


def test_generators_inside_consumed_inside():
    def batches(rng, x, count):
        for _ in range(count):
            yield x[rng.integers(0, len(x), 2)]

    def step(g, x):
        return [batch.sum() for batch in batches(g["new"], x, 3)]

    check(step, lambda n: (np.arange(6.0),))


def test_a_list_of_pairs_of_arrays_is_shuffled_by_python():
    def passed(pairs, state):
        random.shuffle(pairs)
        for vector, bias in pairs:
            bias -= 0.1 * (vector @ vector + bias)
        state["passes"] += 1
        return pairs[0][1][0]

    def made():
        rng = np.random.default_rng(3)
        return [(rng.normal(size=4), rng.normal(size=1)) for _ in range(30)], {"passes": 0}

    step = janusjit.jit(passed, background=False)
    plain, ours = made(), made()
    for number in range(8):
        results = []
        for function, given in ((passed, plain), (step, ours)):
            random.seed(number)
            results.append(function(*given))
        assert np.isclose(*results, rtol=1e-13)
    for (_, expected), (_, found) in zip(plain[0], ours[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert step.stats.graph_calls > 0  # no array is made of what makes none
