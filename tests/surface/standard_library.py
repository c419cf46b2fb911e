"""Python's built-in functions and standard library, one a program."""

import collections
import copy
import dataclasses
import enum
import functools
import itertools
import math
import operator
import random
import string
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple

import numpy as np

from tests.surface.harness import Programs

PROGRAMS = Programs()
graph, host, python = PROGRAMS.graph, PROGRAMS.host, PROGRAMS.python

Point = namedtuple("Point", ["x", "y"])


class Mode(enum.Enum):
    TRAIN = 1
    TEST = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flags(enum.Flag):
    FIRST = enum.auto()
    SECOND = enum.auto()


@dataclasses.dataclass
class Settings:
    rate: float
    names: list = dataclasses.field(default_factory=list)


# ---------------------------------------------------------------------- collections


@graph
def deque_in_function(v):
    queue = deque()
    queue.append(v.sum())
    queue.append(v.max())
    queue.appendleft(v.min())
    return queue.popleft() + queue.pop() * 2, len(queue)


@graph
def deque_with_limit(xs):
    window = deque(maxlen=3)
    averages = []
    for x in xs:
        window.append(x)
        averages.append(sum(window) / len(window))
    return averages


@graph
def deque_iterated(v):
    queue = deque([v, v * 2])
    queue.extend([v * 3])
    queue.rotate(1)
    total = np.zeros(6)
    for item in queue:
        total = total + item
    return total, queue[0]


@graph
def breadth_first(v):
    graph_of = {0: [1, 2], 1: [3], 2: [3], 3: []}
    queue, seen, total = deque([0]), {0}, 0.0
    while queue:
        node = queue.popleft()
        total += v[node]
        for other in graph_of[node]:
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return total


@graph
def counter(pairs):
    counts = Counter(name for number, name in pairs)
    counts["one"] += 2
    return counts["one"], counts["missing"], counts.most_common(1), sum(counts.values())


@graph
def counter_of_text(s, v):
    return Counter(s)[","], dict(Counter("abca")), v * 2


@graph
def counter_update(v):
    counts = Counter()
    for word in ["a", "b", "a"]:
        counts[word] += 1
    counts.update(["b", "b"])
    return counts["a"] * v, counts["b"]


@graph
def ordered_dict(v):
    layers = OrderedDict()
    layers["first"] = v * 2
    layers["second"] = v * 3
    layers.move_to_end("first")
    return list(layers), layers["first"]


@graph
def default_dict(pairs, v):
    groups = defaultdict(list)
    for number, name in pairs:
        groups[number].append(name)
    totals = defaultdict(float)
    totals["a"] += v[0]
    totals["b"] += v[1]
    return dict(groups), totals["a"] + totals["b"]


@graph
def default_dict_of_zeros(i, v):
    counts = defaultdict(int)
    for word in "abca":
        counts[word] += 1
    return counts["a"] * v


@graph
def named_tuple(v):
    point = Point(v[0], y=v[1])
    moved = point._replace(x=3.0)
    return point.x + point.y, moved, moved._asdict(), point._fields


@graph
def named_tuple_unpacked(v):
    x, y = Point(v * 2, v)
    return x + y


@graph
def chain_map(v):
    settings = collections.ChainMap({"a": 1}, {"b": 2})
    return settings["b"] * v


# ---------------------------------------------------------------------- itertools, operator, functools


@graph
def group_by(pairs, v):
    groups = []
    for key, items in itertools.groupby(sorted(pairs), key=lambda pair: pair[0]):
        groups.append((key, [name for _, name in items]))
    return groups, v * 2


@graph
def group_by_itself(v):
    return [(key, len(list(items))) for key, items in itertools.groupby("aabbbc")], v * 2


@graph
def iterators(v, w):
    pairs = list(itertools.product([1, 2], "ab"))
    return (
        pairs,
        list(itertools.chain([1], (2, 3))),
        list(itertools.islice(itertools.count(2), 3)),
        list(itertools.accumulate([1, 2, 3])),
        list(itertools.combinations([1, 2, 3], 2)),
        list(itertools.permutations([1, 2], 2)),
        list(itertools.zip_longest([1], [2, 3])),
        sum(a * b for a, b in zip(v, w)),
    )


@graph
def more_iterators(v):
    return (
        list(itertools.combinations_with_replacement([1, 2], 2)),
        list(itertools.starmap(pow, [(2, 3)])),
        list(itertools.takewhile(lambda n: n < 3, [1, 2, 3])),
        list(itertools.dropwhile(lambda n: n < 3, [1, 2, 3])),
        list(itertools.pairwise([1, 2, 3])),
        list(itertools.compress("abc", [1, 0, 1])),
        v * 2,
    )


@graph
def tee(v):
    first, second = itertools.tee([1, 2, 3])
    next(second)
    return [a * b for a, b in zip(first, second)], v * 2


@graph
def item_getter(pairs, v):
    return sorted(pairs, key=operator.itemgetter(1)), operator.itemgetter(0, 1)([v, v * 2])[1]


@graph
def attribute_getter(v):
    points = [Point(2, 1), Point(1, 2)]
    return sorted(points, key=operator.attrgetter("x"))[0].y * v, operator.attrgetter("shape")(v)


@graph
def method_caller(v):
    return operator.methodcaller("sum")(v) * 2, list(map(operator.methodcaller("upper"), ["a", "b"]))


@graph
def operators(v, w, xs):
    return (
        operator.add(v, w),
        operator.mul(v, 2),
        operator.getitem(v, 1),
        operator.neg(v),
        operator.truediv(v, 2.0),
        operator.contains([1, 2], 2),
        operator.not_(0),
        functools.reduce(operator.mul, [1, 2, 3]),
    )


@graph
def in_place_operators(v):
    operator.iadd(v, 1.0)
    operator.setitem(v, 0, 0.0)
    return v


@functools.lru_cache(maxsize=None)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.cache
def table_of(size):
    return tuple(range(size))


@host
def cached_function(v):
    return fibonacci(10) * v, len(table_of(3))


@graph
def partial_functions(v):
    double = functools.partial(np.multiply, 2.0)
    scaled = functools.partial(np.sum, axis=0)
    return double(v), scaled(v), functools.partial(pow, exp=2)(3)


@graph
def reduce(arrays):
    return functools.reduce(lambda a, b: a + b, arrays), functools.reduce(np.maximum, arrays, np.zeros(3))


@host
def sort_by_comparison(xs, v):
    return sorted([3, 1, 2], key=functools.cmp_to_key(lambda a, b: b - a)), v * 2


# ---------------------------------------------------------------------- sets and dicts


@graph
def set_algebra(v):
    first, second = {1, 2, 3}, {2, 3, 4}
    return (
        sorted(first.intersection(second)),
        sorted(first.union(second)),
        sorted(first.difference(second)),
        sorted(first.symmetric_difference(second)),
        sorted(first & second),
        sorted(first | second),
        sorted(first - second),
        sorted(first ^ second),
        first.issubset(second),
        first >= {1},
        first.isdisjoint({9}),
        v * 2,
    )


@graph
def set_changes(v):
    items = {1, 2, 3}
    items.add(4)
    items.discard(1)
    items.remove(2)
    items.update([7])
    items |= {8}
    items -= {3}
    return sorted(items), len(items), v * 2


@graph
def set_in_place(v):
    items = {1, 2, 3}
    items.difference_update([1])
    items.intersection_update({2, 3})
    items.symmetric_difference_update({3})
    return items.pop() * v


@graph
def frozen_set(v):
    return frozenset([1, 2]) & {2}, frozenset("ab") == {"a", "b"}, v * 2


@graph
def keys_algebra(d, v):
    return sorted(d.keys() & {"a", "z"}), sorted(d.keys() - {"a"}), sorted(d.keys() | {"q"}), v * d["a"]


@graph
def dict_building(d, v):
    zeros = dict.fromkeys(d, 0.0)
    zeros["a"] += v[0]
    merged = {**d, "z": 1.0}
    return zeros, merged, d | {"y": 2.0}, dict(a=1, b=2), dict(zip("ab", [1, 2]))


@host
def dict_methods(d, v):
    d.setdefault("e", 5.0)
    d.update(f=6.0)
    d |= {"g": 7.0}
    return d.pop("a"), d.get("q", 0.0), d.get("b") * v, list(d.keys()), max(d, key=d.get), "e" in d


@host
def dict_comparison(d):
    return d == dict(d), d != {}, len(d), sorted(d.items()), min(d.values()), list(reversed(d))


@host
def list_methods(xs, v):
    xs.append(1.0)
    xs.extend([2.0, 3.0])
    xs.insert(0, 0.5)
    last = xs.pop()
    xs.reverse()
    xs.remove(2.0)
    return last * v, xs.index(1.0), xs.count(1.0), xs[1:3], xs[::-1], [0] * 3, xs + [1.0]


@graph
def list_sorting(v):
    names = ["bb", "a", "ccc"]
    names.sort(key=len, reverse=True)
    del names[0]
    names[0:1] = ["x", "y"]
    return names, sorted("bca"), v * 2


@graph
def tuples(v):
    items = (1, 2, 2)
    first, *rest = items
    return items.count(2), items.index(2), items + (3,), rest, items * 2, (1, 2) < (1, 3), v * 2


@graph
def slices(v):
    part = slice(1, 4)
    return v[part] * 2, part.start, part.indices(6), list(range(10))[part]


# ---------------------------------------------------------------------- numbers and text


@graph
def rounding(t, v):
    return round(t, 2), round(t), round(v[0], 1), round(2.675, 2), round(7, -1)


@host
def conversions(t, n, s):
    return int(t * 10), float(n), int("12"), float("1.5"), str(n), bool(n), int(True), complex(1, 2), hex(12), bin(3)


@host
def integers(n):
    return divmod(n, 3), pow(n, 2, 5), n.bit_length(), abs(-n), n // 2, n % 2, -n >> 1


@graph
def float_methods(t):
    return t.is_integer(), (2.5).as_integer_ratio(), float("inf") > t, float("nan") != t


@graph
def mathematics(u):
    return (
        math.sqrt(u),
        math.exp(u),
        math.log(u),
        math.log(u, 2),
        math.log(8, 2),
        math.sin(u),
        math.pi,
        math.floor(u),
        math.ceil(u),
        math.tanh(u),
        math.hypot(u, 1.0),
        math.atan2(u, 1.0),
        math.pow(u, 2),
        math.fabs(-u),
        math.isnan(u),
    )


@host
def more_mathematics(u):
    return (
        math.isclose(u, u + 1e-12),
        math.isclose(u, 2.0, rel_tol=1e-3),
        math.copysign(u, -1.0),
        math.trunc(u * 10),
        math.degrees(u),
        math.radians(u),
        math.fmod(u, 0.3),
        math.log1p(u),
        math.expm1(u),
        math.asin(u),
        math.fsum([0.1, 0.2]),
        math.exp2(u) if hasattr(math, "exp2") else 0.0,
        math.cbrt(u) if hasattr(math, "cbrt") else 0.0,
    )


@graph
def error_function(u):
    return math.erf(u), math.erf(-u), math.erf(0.0), math.erf(2)


@host
def special_functions(u):
    return math.gamma(u), math.lgamma(u), math.erfc(u)


@graph
def integer_mathematics(n):
    return math.gcd(12, 18), math.factorial(5), math.comb(5, 2), math.isqrt(17), math.lcm(4, 6), math.perm(4, 2)


@host
def integer_mathematics_of_arguments(n):
    return math.gcd(n, 12), math.factorial(n), math.comb(n, 2), math.isqrt(n)


@host
def decompositions(t):
    return math.modf(t), math.frexp(t), math.ldexp(t, 3)


@host
def distances(arrays):
    return math.dist([0.0, 1.0], [1.0, 2.0]), math.dist(arrays[0], arrays[1]), math.prod([1, 2, 3])


@graph
def text(s, v):
    return (
        s.split(","),
        "-".join(["a", "b"]),
        s.upper(),
        s.replace(",", ";"),
        s.startswith("a"),
        s.find("b"),
        "  x ".strip(),
        "{} {:.2f}".format("a", 1.5),
        "%s=%d" % ("a", 3),
        f"{1.5:.3f}",
        "W%d" % 3,
        s.partition(","),
        "abc"[1],
        "a" in s,
        s.count(","),
        len(s),
        "7".zfill(3),
        "a".center(3),
        string.ascii_lowercase[:3],
        v * 2,
    )


@graph
def text_of_numbers(t, n, v):
    return f"{t:.4f}", "{:d}".format(n), "loss %.3f" % t, str(v.shape), f"{n:>5}", f"{v[0]:.2e}"


@graph
def keys_from_text(v):
    parameters = {"W1": v, "W2": v * 2}
    total = 0.0
    for layer in range(1, 3):
        total += parameters["W" + str(layer)].sum() + parameters[f"W{layer}"].max() + parameters["W%d" % layer].min()
        total += parameters["W{}".format(layer)].mean()
    return total


@host
def bytes_and_characters(v):
    return ord("a"), chr(98), b"ab"[0], "é".encode("utf8"), bytes([1, 2]), v * 2


# ---------------------------------------------------------------------- classes


@graph
def enum_members(v):
    mode = Mode.TRAIN
    return mode is Mode.TRAIN, mode.value, mode.name, mode == Mode.TEST, v * 2, Mode["TEST"], Mode(1)


@graph
def enum_as_number(v):
    return v * Level.HIGH, Level.LOW + 1, Level.HIGH > Level.LOW


@graph
def enum_iterated(v):
    return [mode.name for mode in Mode], len(Mode), v * 2


@graph
def enum_flags(v):
    both = Flags.FIRST | Flags.SECOND
    return bool(both & Flags.FIRST), Flags.FIRST in both, v * 2


@host
def data_class(v):
    settings = Settings(0.1)
    settings.names.append("a")
    changed = dataclasses.replace(settings, rate=0.2)
    return changed.rate * v, settings == changed


@graph
def data_class_as_dict(v):
    return dataclasses.asdict(Settings(0.1, ["a"])), dataclasses.astuple(Settings(0.1)), v * 2


@graph
def copies(v, d, arrays):
    shallow, deep = copy.copy(arrays), copy.deepcopy(arrays)
    arrays[0] += 1.0
    other = copy.deepcopy(d)
    other["a"] = 0.0
    return shallow[0], deep[0], copy.copy(v) * 2, other, copy.deepcopy(v)


@host
def introspection(v):
    return (
        isinstance(v, np.ndarray),
        type(v).__name__,
        hasattr(v, "shape"),
        getattr(v, "size"),
        getattr(v, "nothing", 3),
        callable(np.sum),
        issubclass(bool, int),
        v.__class__.__name__,
        id(v) == id(v),
    )


@host
def attributes_of_instances(v):
    settings = Settings(0.1)
    setattr(settings, "rate", 0.3)
    return vars(settings)["rate"] * v, settings.__dict__, getattr(settings, "rate")


# ---------------------------------------------------------------------- imports, time, random numbers


@graph
def import_inside(t):
    import math

    return math.sqrt(t * t)


@graph
def import_from_inside(v):
    from numpy import exp as exponential

    return exponential(v)


@graph
def import_module_inside(v):
    import numpy.linalg as la

    return la.norm(v)


@host
def clock(v):
    start = time.time()
    result = v * 2
    elapsed = time.time() - start
    return result, elapsed >= 0


@host
def performance_counter(v):
    start = time.perf_counter()
    result = v @ v
    return result, time.perf_counter() - start >= 0, time.process_time() > 0, time.monotonic() > 0


@graph
def random_number(v):
    return v * random.random(), random.uniform(-1, 1), random.randint(1, 6), random.gauss(0, 1)


@graph
def random_gauss(v):
    return v * random.gauss(0.0, 1.0), random.normalvariate(0.0, 2.0), random.expovariate(1.5)


@graph
def random_choice(xs):
    return random.choice(xs) * 2


@host
def random_choice_of_pairs(v):
    name, number = random.choice([("a", 1.0), ("b", 2.0)])
    return number * v


@graph
def random_shuffle(xs):
    random.shuffle(xs)
    return xs[0] * 2


@graph
def random_sample(xs):
    return sum(random.sample(xs, 3))


@graph
def random_indices(v):
    return v[random.sample(range(6), 3)].sum(), random.randrange(5)


@graph
def random_choices(xs):
    return random.choices(xs, k=2)[0] * 2


@graph
def random_seeded(v):
    random.seed(3)
    return random.random() * v


@graph
def numpy_random(v):
    return np.random.rand(3) * 2, np.random.randn(6) + v, np.random.randint(0, 5, size=2), np.random.uniform(0, 1, 3)


@graph
def numpy_random_choice(v, i):
    return np.random.choice(6, 2), np.random.choice(v), np.random.choice(i, size=3, replace=False)


@graph
def numpy_random_weighted(p):
    return np.random.choice(6, p=p / p.sum())


@host
def numpy_random_choice_of_names(v):
    return np.random.choice(["a", "b"]), v * 2


@graph
def numpy_shuffle(v, x):
    np.random.shuffle(v)
    return v * 2, np.random.permutation(5), np.random.permutation(x)


@host
def numpy_shuffle_of_a_list(pairs):
    np.random.shuffle(pairs)
    return pairs[0]


@graph
def numpy_generator(rng, v):
    return rng.normal(size=3), rng.integers(5), rng.choice(v), rng.permutation(4), rng.random(), rng.uniform(0, 1, 2)


@graph
def numpy_generator_shuffle(rng, v):
    rng.shuffle(v)
    return v * 2


@graph
def numpy_random_state(state, v):
    return state.normal(size=3), state.randint(5), state.binomial(1, 0.5, 4), state.multinomial(3, [0.5, 0.5])


@graph
def numpy_random_seeded(v):
    np.random.seed(3)
    return np.random.rand(2)
