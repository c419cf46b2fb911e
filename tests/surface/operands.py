"""Operators and built-in functions on operands of many types, some of which raise.

What each returns is its result or the type of what it raises: where capture has no rule, it must not take that for a
TypeError.
"""

import collections
import copy
import enum
import functools
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple

import numpy as np

from tests.surface.harness import Programs

PROGRAMS = Programs()
graph, host, python = PROGRAMS.graph, PROGRAMS.host, PROGRAMS.python

Point = namedtuple("Point", "x y")


class Mode(enum.Enum):
    TRAIN = 1
    TEST = 2


@graph
def orders_of_sequences(v):
    try:
        return (1, 2) < (1, 3), [1, 2] < [1, 3], (1, v[0]) < (1, v[1]), [1] <= [1, 2], () < (1,), v.shape < (7,)
    except TypeError:
        return "TypeError"


@graph
def greatest_of_sequences(v):
    try:
        return max([(1, 2), (0, 5)]), min("b", "a"), max((3, "a"), (3, "b")), sorted([(2, 1), (1, 9), (1, 3)])
    except TypeError:
        return "TypeError"


@graph
def order_of_numbers_in_tuples(v):
    return (v[0], 2) >= (v[0], 1), (v[0], v[1]) < (v[0], v[2]), (1, v[0], 3) > (1, v[1], 2)


@graph
def sets_combined(v):
    try:
        return sorted({1, 2} ^ {2, 3}), frozenset([1]) & {1}, {1} <= {1, 2}, {1} < {1}, {1} - {1}
    except TypeError:
        return "TypeError"


@graph
def keys_combined(v):
    table = {"a": 1}
    try:
        return sorted(table.keys() & {"a"}), table.keys() == {"a"}, sorted(table.keys() - ["a"] if False else table)
    except TypeError:
        return "TypeError"


@graph
def dicts_compared(v):
    try:
        return {"a": 1} == {"a": 1}, {"a": 1} != {"a": 2}, {"a": v[0] > 0} == {"b": 1}, {} == {}
    except TypeError:
        return "TypeError"


@host
def items_compared(v):
    try:
        return {1: 2}.items() <= {1: 2}.items(), {1: 2}.keys().isdisjoint({3}), hasattr({}.keys(), "get")
    except TypeError:
        return "TypeError"


@host
def dicts_with_an_order(v):
    return OrderedDict(a=1, b=2) == OrderedDict(b=2, a=1), OrderedDict(a=1) == {"a": 1}, Counter(a=0) == Counter()


@graph
def equal_across_types(v):
    return (
        Point(1, 2) == (1, 2),
        (1, 2) == Point(1, 2),
        frozenset([1]) == {1},
        {1} != {1},
        v.shape != [6],
        None == 0,
        "a" == 1,
        (1,) == (1.0,),
        Mode.TRAIN == "a",
        [Mode.TRAIN] == [Mode.TEST],
        (lambda: 1) == 3,
        type(v) == type(1),  # noqa: E721
    )


@graph
def ranges_compared(v):
    return range(3) == range(0, 3), range(0) == range(2, 2), range(3) != range(4), range(len(v)) == range(6)


@host
def array_compared_with_none(v):
    try:
        return v == None, v == "a", (v != None).all()  # noqa: E711
    except TypeError:
        return "TypeError"


@host
def list_and_tuple_added(v):
    try:
        return [1] + (1,)
    except TypeError:
        return "TypeError"


@graph
def wrong_operands(v):
    found = []
    try:
        None + 1
    except TypeError:
        found.append("add")
    try:
        3 @ 4
    except TypeError:
        found.append("matmul")
    try:
        [1] * 2.0
    except TypeError:
        found.append("repeat")
    try:
        len(3)
    except TypeError:
        found.append("len")
    try:
        iter(3)
    except TypeError:
        found.append("iter")
    try:
        len("ab")[0]
    except TypeError:
        found.append("item")
    try:
        deque([1])[0:1]
    except TypeError:
        found.append("slice of a deque")
    try:
        set().pop()
    except KeyError:
        found.append("pop")
    return found


@graph
def sequences_repeated(v):
    items = other = [1, 2]
    items *= 2
    return other, items is other, [1] * np.int64(2), (1,) * True, 2 * [3], np.int64(2) * (4,)


@graph
def changed_in_place(v):
    numbers = same = {1}
    numbers |= {9, 100}
    numbers ^= {1, 5}
    table = also = {"a": 1}
    table |= {"b": 2}
    return sorted(same), numbers is same, also, table is also


@graph
def found_by_position(v):
    return [1, 2, 3, 1].index(1, 2), (1, 2, 1).index(1, 1), [1, 2, 1].index(1, -1)


@host
def keyword_arguments(v):
    return round(2.567, ndigits=1), round(3, ndigits=None), int("ff", base=16), str(b"a", "utf8"), pow(2, exp=3)


@graph
def kinds_of_dicts_are_kept(v):
    groups = defaultdict(list, a=[1])
    groups["b"].append(2)
    more = groups.copy()
    more["c"]
    ordered = OrderedDict(a=1, b=2)
    ordered.popitem(last=False)
    copied = copy.copy(groups)
    copied["d"].append(1)
    return groups, more, ordered, ordered.copy(), ordered | {"q": 1}, copied, copy.deepcopy(ordered)


@graph
def deque_methods(v):
    queue = deque([1, 2, 3], maxlen=3)
    queue.append(4)
    queue.appendleft(0)
    queue.extend([7, 8])
    queue.extendleft([5])
    turned = queue.copy()
    turned.rotate(-1)
    return queue, turned, list(queue), queue[-1], 3 in queue, len(queue), queue == deque([1]), sum(queue), bool(queue)


@graph
def deque_of_arrays(v):
    queue = deque([v, v * 2])
    queue[0] += 1
    queue += [v]
    return queue


@graph
def deque_changed_while_gone_through(v):
    queue = deque([1, 2])
    try:
        for item in queue:
            queue.append(item)
    except RuntimeError:
        return "changed", queue


@host
def counter_operations(v):
    counts = Counter("abca")
    counts.update("a")
    counts.subtract(["b"])
    counts["z"] += 1
    del counts["nothing"]
    return counts, counts.most_common(2), counts["q"], counts + Counter(a=1), counts.most_common(), dict(counts)


@graph
def strict_zip(v):
    seen = []

    def numbers():
        for number in range(3):
            seen.append(("made", number))
            yield number

    try:
        for one, other in zip(numbers(), [1, 2], strict=True):
            seen.append(one + other)
    except ValueError:
        seen.append("uneven")
    return seen


@graph
def iterators_of_their_own_type(v):
    later = reversed([5, 6, 7])
    next(later)
    table = {"a": 1, "b": v}
    backwards = reversed(table), reversed(table.values()), reversed(table.items()), reversed(deque([1])), reversed("ab")
    return backwards, later, reversed([1, 2]), reversed((1, 2)), zip([1], [2]), iter([3]), iter(deque([1]))


@graph
def reversed_in_loops(v, d):
    seen = []
    for key in reversed(d):
        seen.append((key, d[key]))
    for key, value in reversed(d.items()):
        seen.append(value * v)
    return seen, list(reversed("abc")), list(reversed(deque([1, 2]))), [row for row in reversed(v)]


@graph
def what_is_callable(v):
    items = []
    return callable(items.append), callable(3), callable(Mode), callable(len), callable("a"), callable(collections)


@python
def renamed_function(v):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*arguments):
            return function(*arguments)

        return wrapper

    @decorate
    def inner(x):
        "What it does."
        return x * 2

    return inner(v), inner.__name__, inner.__doc__


@graph
def sets_in_any_order(v):
    return max({400, 2}), len({1, 2} | {900}), sorted({"b", "a"}), min({500, 4, 3}), set({7}), 300 in {1, 300}


@graph
def set_methods(v):
    numbers = {3, 1, 2}
    return numbers.issuperset([1]), sorted(numbers.union([9], (8,))), numbers.intersection([2, 2]), {5}.pop()
