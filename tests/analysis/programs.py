"""Small functions, one or more for each construct, with the calls to try them on."""

# Every function is loaded from this file's source, so its oddities (names, unusual layout) are the point.
# ruff: noqa
# fmt: off

from __future__ import annotations

import contextlib
import functools
import math

import numpy as np

PROGRAMS = []
counter = 0


def calls(*arguments):
    def register(function):
        PROGRAMS.append((function, arguments))
        return function
    return register


class Log:
    """Writes down what is done to it, in order."""

    def __init__(self, name="log"):
        self.entries, self.name, self.items = [], name, {}

    def __call__(self, value, key=None):
        self.entries.append(key if key is not None else value)
        return value

    def __repr__(self):
        return f"Log({self.entries})"

    def __deepcopy__(self, memo):
        return Log(self.name)


class Truth:
    """Counts how often its truth is asked."""

    def __init__(self, truth):
        self.truth, self.asked = truth, 0

    def __bool__(self):
        self.asked += 1
        return self.truth

    def __repr__(self):
        return f"Truth({self.truth}, {self.asked})"

    def __deepcopy__(self, memo):
        return Truth(self.truth)


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __repr__(self):
        return f"Point({self.x}, {self.y})"

    def __iadd__(self, other):
        self.x += other
        return self


# operators and order of evaluation

@calls((1, 2, 3), (1.5, 2, 0), ("a", "b", 1))
def operators(a, b, c):
    return a + b, a == b, a < b, a is b, not a, a in (a, b), a not in [b], -c, ~c, +c, c ** 2, c // 2, c % 2, c << 1 >> 1, c & 1 | 2 ^ 3, a / c

@calls((Log(),))
def order_of_operands(t):
    return t(1) + t(2) * t(3) - (t(4) if t(0) else t(5)), t(6) and t(7), t(0) or t(8), [t(9), *[t(10)], t(11)], {t(12): t(13), **{t(14): t(15)}}

@calls((Log(),))
def order_of_targets(t):
    d = {}
    d[t(1)] = d[t(2)] = t(3)
    (d[t(4)], d[t(5)]), d[t(6)] = (t(7), t(8)), t(9)
    d[t(1)] += t(10)
    return d

@calls((Log(),))
def order_of_arguments(t):
    def f(*args, **kwargs):
        return args, kwargs
    xs = [t(1)]
    return t(f, "f")(t(2), *xs, xs.append(t(3)), *[t(4)], k=t(5), **{"m": t(6)}), f(*xs, k=xs.append(7)), f(k=t(8), *t([9]))

@calls((3,), (0,))
def walrus(n):
    if (m := n + 1) > 1 and (k := m * 2):
        return m, k, n + (n := 5) + n
    return [y for x in range(3) if (y := x)], y

@calls((1, 2, 3), (3, 2, 1), (1, 1, 1))
def chained(a, b, c):
    return a < b < c, a <= b <= c != 4, not a < b < c, a < (b := b + 1) < c, b

@calls((Truth(True), Truth(False)), (Truth(False), Truth(True)))
def truth_is_asked_once(p, q):
    seen = []
    if p and q: seen.append(1)
    if p or q: seen.append(2)
    if not (p and not q): seen.append(3)
    x = p and q
    y = not (p or q)
    z = 1 if p else 2
    while p and q and not seen: break
    return seen, x, y, z, p, q

@calls((Truth(True),), (Truth(False),))
def truth_of_a_chain(p):
    class Compared:
        def __lt__(self, other): return p
        def __gt__(self, other): return p
        def __repr__(self): return "Compared"
    c = Compared()
    if 1 < c < 2: x = 1
    else: x = 2
    return x, 1 < c < 2, p

@calls((5,), ("x",))
def strings(a):
    w = 8
    return f"{a}", f"{a!r:>{w}}|{{}}", f"{a=}", f"{a = !s}" "plain" f'{w:{w}.{2}f}', f"", rf"\n{a}", f"\t\x41{a}", "a" 'b', b"a" b"b", f'''"{a}"
    '{w}\'''', f"{'nested'!a:>{w + 2}}", "%s and %d" % (a, 3)

@calls((list(range(10)),), (np.arange(10),))
def slices(x):
    y = x[1:3], x[:], x[::-1], x[-1:0:-2], x[slice(None)]
    x[2:4] = x[4:6]
    del x[0:0]
    return y, x[1:][0]

@calls((np.arange(24).reshape(2, 3, 4),))
def array_indices(x):
    return x[..., 0], x[0, 1:, None], x[:, [0, 1], -1], x[x > 3].sum(), x[1,], x[(0, 1)], x[np.array([0]), ...]

@calls(((1, 2, 3),), ((1,),), ((),), ([1, 2, 3, 4],))
def unpacking(xs):
    a, *b = xs
    *c, d = xs
    (e, *f), [g] = xs, [a]
    return a, b, c, d, e, f, g

@calls((1,))
def swap_through_items(x):
    i, a = 0, [1, 2, 0]
    i, a[i] = a[i], i
    a[0], a[a[0]] = 1, 7
    return i, a, [*a, *range(2)], {*a}, (*a, 1), {}, set(), (), ((1, 2), -3, 1.5, 2j, ..., None)

# assignment

@calls((np.arange(4.0),), ([1, 2],), (3,))
def augmented_name(x):
    y = x
    y += x
    y *= 2
    return x, y, x is y

@calls((Point(1, 2), Log()))
def augmented_places(p, t):
    before = p
    p += 1
    t(p).x += t(5)
    t([p])[t(0)].y -= t(1)
    d = {"a": np.ones(2)}
    view = d["a"]
    d["a"] += 1
    d["a"][1:] *= t(3)
    return p, p is before, d, view

@calls((1,))
def annotated(x):
    y: undefined_name = 2
    z: int
    p = Point(1, 2)
    p.x: undefined_name = 3
    p.y: int
    return x + y, p

@calls((1,))
def annotated_but_unbound(x):
    y: int
    return y

@calls(({1: 2, 3: 4}, [1, 2, 3]))
def deletions(d, xs):
    del d[1], xs[0]
    p = Point(1, 2)
    del p.x, (xs[0], xs)
    return d, hasattr(p, "x"), xs

@calls((1,))
def unbound_before_effects(x):
    t = []
    if x > 1: y = 2
    try:
        return y + [t.append(i) for i in range(2)][0]
    except UnboundLocalError as error:
        return str(error), t

@calls((2,))
def global_counter(n):
    global counter
    before = counter
    counter += n
    seen = counter
    counter = before
    return seen

@calls((1,))
def global_deleted(n):
    global brand_new
    brand_new = n
    del brand_new
    return "brand_new" in globals()

# branches and loops

@calls((-1,), (0,), (5,), (50,))
def branches(n):
    if n < 0: return "negative"
    elif n == 0: r = "zero"
    elif n < 10:
        r = "small"
        if n == 5: r += "!"
    else: r = "large"
    return r if n else (r, n)

@calls((10,), (3,), (0,))
def loops(n):
    out = []
    for i in range(n):
        if i == 2: continue
        if i == 7: break
        out.append(i)
    else:
        out.append("else")
    while n > 0:
        n -= 1
        if n == 4: break
    else:
        out.append("exhausted")
    for i, (a, *b) in enumerate([(1, 2), (3, 4, 5)]): out.append((i, a, b))
    for out[0] in (8, 9): pass
    return out, i

@calls((4,), (0,))
def loop_tests_with_statements(n):
    out = []
    while (m := n - 1) >= 0 and [k for k in range(m + 1)]:
        n -= 1
        if n == 2: continue
        out.append((m, n))
    else:
        out.append("else")
    while [k for k in range(n)] or out:
        out.pop()
    return out

@calls((3,))
def nested_breaks(n):
    out = []
    for i in range(n):
        for j in range(n):
            if j == i: break
            out.append((i, j))
        else:
            continue
        if i == 2: break
    return out

@calls((1,), (2,), ([],))
def return_from_loops(x):
    for i in range(5):
        while True:
            if i == x: return i
            break
    return None

# comprehensions and functions

@calls((4,))
def comprehensions(n):
    x = "kept"
    a = [x * 2 for x in range(n) if x % 2 if x]
    b = {x: y for x in range(n) for y in range(x)}
    c = {(x, y) for x, y in zip(range(n), "abc")}
    d = [[x for x in range(x)] for x in range(n)]
    e = sum(x for x in range(n)), list(y for x in d for y in x)
    [print(x) for x in range(2)]
    return x, a, b, sorted(c), d, e, [*map(lambda v: v + n, [x for x in a])]

@calls((3,))
def comprehension_captured(n):
    fs = [lambda: i for i in range(n)]
    gs = [lambda i=i: i for i in range(n)]
    return [f() for f in fs], [g() for g in gs], [(lambda: j)() for j in range(n)]

@calls((3,), (0,))
def comprehension_unbound(n):
    return [y for x in range(n) for y in (y, x)]

@calls((3,))
def closures(n):
    total = 0
    def add(k, *, twice: int = 2, **rest) -> "int":
        """Add."""
        nonlocal total
        total += k * twice + n
        return total
    f = lambda *a, b=n: (a, b, total)
    return add(1), add(2, twice=3), f(1), add.__doc__, add.__name__, add.__qualname__, add.__annotations__, add.__kwdefaults__, f(b=0)

@calls((3,))
def closure_cell_deleted(n):
    def f(): return n
    x = f()
    del n
    try: return f()
    except NameError as e: return x, str(e)

@calls((2,))
def decorated(n):
    order = []
    def note(tag):
        order.append(tag)
        return lambda f: (order.append(f.__name__ + tag), functools.wraps(f)(lambda *a: (tag, f(*a))))[1]
    @note("a")
    @note("b")
    def f(x, y=order.append("default")): return x * n
    return f(3), order, f.__name__

@calls((4,))
def recursion(n):
    def fact(k): return 1 if k < 2 else k * fact(k - 1)
    return fact(n), (lambda f: f(f, n))(lambda f, k: k and k + f(f, k - 1))

@calls((1, 2, 3), (1,))
def parameters(a, /, b=5, *args, c=7, **kwargs):
    return a, b, args, c, kwargs, sorted(locals()), sorted(vars()), dir()

@calls((3,))
def generator(n):
    got = yield n
    for i in range(n):
        yield i, got
    yield from (x * x for x in range(n))
    return 5

@calls((3,))
def generator_driven(n):
    def gen():
        try:
            while True:
                x = yield
                print("got", x)
        finally:
            print("closed")
    g = gen()
    next(g); g.send(1); g.send(n)
    g.close()
    def outer():
        r = yield from inner()
        yield ("inner returned", r)
    def inner():
        yield 1
        return 2
    return list(outer())

@calls((2,))
def coroutine(n):
    async def f(x): return x * 2
    async def g():
        a = await f(n)
        return [a, await f(a)]
    c = g()
    try:
        c.send(None)
    except StopIteration as stop:
        return stop.value

# exceptions and context managers

@calls((0,), (1,), ("a",), (None,), ([],))
def exceptions(x):
    log = []
    try:
        log.append(1 / x)
    except ZeroDivisionError as e:
        log.append(str(e))
    except (TypeError, ValueError):
        log.append("type")
        if x == []: raise
    else:
        log.append("else")
    finally:
        log.append("finally")
    try: return e
    except NameError as error: return log, str(error)

@calls((0,), (1,))
def raises_from(x):
    try:
        {}[x]
    except KeyError as error:
        if x: raise ValueError("a", x) from error
        raise RuntimeError from None

@calls((0,))
def exception_in_a_cell(x):
    try: 1 / x
    except ZeroDivisionError as e:
        f = lambda: str(e)
        message = f()
    try: return f()
    except NameError as error: return message, str(error)

@calls((1,), (0,))
def finally_overrides(x):
    for i in range(3):
        try:
            if x: return "try"
            continue
        finally:
            if i == 1: break
    else: return "else"
    return i

@calls((1,), (0,))
def line_of_the_error(x):
    y = (
        1 +
        len("a")
        / x
    )
    z = [
        k
        for k in range(3)
        if 1 /
        (k - x)
    ]
    return y, z

@calls((1,))
def line_of_a_call(x):
    return str(
        x
    ).join(
        x.undefined,
    )

@calls((1,), (0,), ([],))
def assertions(x):
    assert x, f"no {[y for y in range(2)]} {x}"
    assert (x == 1), (
        "one"
    )
    assert x != 1
    return x

@calls((1,), (0,))
def managers(x):
    log = []
    @contextlib.contextmanager
    def manager(name):
        log.append("enter " + name)
        try:
            yield name.upper()
        except ZeroDivisionError:
            log.append("caught")
        finally:
            log.append("exit " + name)
    p = Point(0, 0)
    with manager("a") as a, manager("b") as p.x, contextlib.nullcontext((1, 2)) as (c, d):
        log.append((a, p.x, c, d, 1 / x))
    with contextlib.suppress(KeyError): {}[x]
    return log

# match

@calls(([1, 2, 3],), ((1,),), ([],), ("ab",), ({"a": 1, "b": 2},), ({},), (Point(0, 5),), (Point(1, 2),), (5,), (True,), (None,), (2.5,), (range(3),), (b"x",), (np.arange(2),), (-1,), (1 + 2j,), ([[1, 2], {"k": Point(3, 4)}],))
def match_all(v):
    match v:
        case []: return "empty"
        case [x]: return "one", x
        case [1, *rest] if len(rest) > 1: return "starts with 1", rest
        case [[a, b], {"k": Point(x=c, y=d)}]: return a, b, c, d
        case [_, *_, last]: return "last", last
        case {"a": int() as n, **rest}: return n, rest
        case Point(0, y) | Point(y, 0): return "axis", y
        case Point(x=x, y=2): return x
        case bool(b): return "bool", b
        case None | 5: return "none or five"
        case -1 | 1 + 2j: return "number"
        case float() | str() as s: return "float or str", s
        case math.pi: return "pi"
        case {}: return "mapping"
        case np.ndarray(shape=(k,)): return "array", k
    return "fell through"

@calls((1,), (2,), (3,))
def match_binds(v):
    x = "before"
    match v, x:
        case [1, x] if False: pass
        case [2, y]: x = y + "!"
        case whatever: pass
    return sorted((k, val) for k, val in locals().items())

@calls(({"a": 1},), (Point(1, 2),), ([1, 2],))
def match_errors(v):
    match v:
        case {"a": x, "b": y}: return 1
        case Point(1, 2, 3): return 2
        case [x, y, *z]: return z

# what stays source

@calls((2,))
def opaque(n):
    import collections as c, os.path
    from math import floor as fl
    class A(Point):
        k = n
        def method(self): return self.k + n, super().__repr__()
    try:
        a = A(1, 2).method()
    except* ValueError: pass
    return a, c.Counter("aa"), fl(2.5), os.path.join("a", "b"), A.__qualname__

# classes

class Base:
    def greet(self, x=1): return "base", x

class Derived(Base):
    __secret = 4
    def __repr__(self): return f"Derived({vars(self)})"
    def greet(self, x=2): return super().greet(x), super(Derived, self).greet(), [super(Derived, self).greet(k) for k in range(1)]
    def private(self):
        self.__own = 1
        __local = 2
        def f(__p=3): return __p + __local
        class Inner:
            def get(self): return self.__hidden
            __hidden = 9
        import math as __m
        return self.__own, self.__secret, f(), Inner().get(), sorted(vars(self)), __m.floor(1.5)
    def cell_of_self(self):
        f = lambda: super().greet()
        g = lambda: self
        try: return super().greet(), g() is self, f()
        except (TypeError, RuntimeError) as error: return type(error).__name__
    @classmethod
    def made(cls): return super().__name__ if False else cls.__name__, __class__ is cls
    @property
    def prop(self): return self.greet()[0]


def method(name):
    function = Derived.__dict__[name]
    return getattr(function, "__func__", getattr(function, "fget", function))


for _name in ("greet", "private", "cell_of_self", "prop"):
    PROGRAMS.append((method(_name), ((Derived(),),)))
PROGRAMS.append((method("made"), ((Derived,),)))


@calls((np.array([[1.0, -2.0], [3.0, 4.0]]), np.ones(2)))
def training_step(x, w):
    state = {"w": w, "t": 0}
    losses = []
    for epoch in range(3):
        h = np.maximum(x @ state["w"], 0)
        loss = ((h - 1) ** 2).mean()
        g = x.T @ (2 * (h - 1) * (h > 0)) / len(x)
        state["t"] += 1
        state["w"] -= 0.1 * g / np.sqrt(state["t"])
        losses.append(loss)
        if loss < 1e-3: break
    return losses, state, w is state["w"]
