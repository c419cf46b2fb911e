"""What compiled code assumes about the program around it is checked at every call."""

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest

import janusjit


def compiled(function, *arguments):
    jitted = janusjit.jit(function, warmup=2, background=False)
    for _ in range(4):
        jitted(*arguments)
    assert jitted.stats.graph_calls == 2
    return jitted


def scaled(x, factor=2.0, *, offset=3):
    return x * factor + offset


def uses_defaults(x):
    return scaled(x)


def test_default_values_may_be_replaced():
    x = np.ones(2)
    function = compiled(uses_defaults, x)
    kept = scaled.__defaults__
    try:
        scaled.__defaults__ = (5.0,)
        np.testing.assert_array_equal(function(x), [8.0, 8.0])
    finally:
        scaled.__defaults__ = kept
    np.testing.assert_array_equal(function(x), [5.0, 5.0])


def test_keyword_defaults_may_be_replaced_and_changed_in_place():
    x = np.ones(2)
    function = compiled(uses_defaults, x)
    kept = scaled.__kwdefaults__
    try:
        scaled.__kwdefaults__ = {"offset": 7}
        np.testing.assert_array_equal(function(x), [9.0, 9.0])
        scaled.__kwdefaults__["offset"] = 100
        np.testing.assert_array_equal(function(x), [102.0, 102.0])
    finally:
        scaled.__kwdefaults__ = kept
    np.testing.assert_array_equal(function(x), [5.0, 5.0])


def extremes(x, k, r):
    smallest = min(max(k, r), r, 2)
    return x * max(k, r), smallest


def test_extremes_of_numbers_of_different_types():
    x = np.ones(2)
    function = compiled(extremes, x, 1, 0.5)
    for k, r in [(1, 1.0), (0, 0.5), (5, float("nan")), (3, 7.5), (2, 0.25)]:
        (array, smallest), (expected, expected_smallest) = function(x, k, r), extremes(x, k, r)
        np.testing.assert_array_equal(array, expected)
        assert repr(smallest) == repr(expected_smallest)
    assert function.stats.graph_calls == 7


class Weight:
    def __init__(self, value):
        self.value = value


def looks_up(weights, scales, x):
    return x * scales.get(weights, 7.0)


def test_an_outside_dict_is_not_searched_for_an_outside_object():
    first, second = Weight(1.0), Weight(2.0)
    function = janusjit.jit(looks_up, warmup=2, background=False)
    for weight, scale in [(first, 1.5)] * 4 + [(second, 7.0), (first, 1.5)]:
        assert function(weight, {first: 1.5}, 2.0) == 2.0 * scale


def sums_over_keys(table, x):
    for weight, scale in table.items():
        x = x + weight.value * scale
    return x


def test_objects_that_are_keys_are_read_at_each_call():
    weight = Weight(1.0)
    function = compiled(sums_over_keys, {weight: 2.0}, 1.0)
    weight.value = 10.0
    assert function({weight: 2.0}, 1.0) == 21.0
    assert function({Weight(3.0): 2.0}, 1.0) == 7.0


def counted(x):
    return x * counted.factor


counted.factor = 2.0


def test_attributes_of_functions_are_read_at_each_call():
    function = compiled(lambda x: counted(x), 3.0)
    counted.factor = 5.0
    assert function(3.0) == 15.0


def removes(numbers, number, x):
    try:
        numbers.remove(number)
    except KeyError:
        return x + 1
    return x


def test_a_method_that_raised_may_not_raise_again():
    function = janusjit.jit(removes, warmup=2, background=False)
    for numbers, expected in [({1, 2}, 2.0)] * 4 + [({1, 5}, 1.0)]:
        assert function(set(numbers), 5, 1.0) == expected


def merges(numbers, x):
    numbers |= {9}
    return x * len(numbers)


def test_sets_that_are_merged_in_place():
    function = compiled(merges, {1, 2}, 1.0)
    assert function({1, 2, 3}, 1.0) == 4.0
    assert function({1, 9}, 1.0) == 2.0


def views(x):
    return x[:], x[...], x.view(), x


def test_each_view_is_an_object_of_its_own():
    x = np.arange(3.0)
    *found, same = compiled(views, x)(x)
    assert same is x
    assert len({id(array) for array in (*found, x)}) == 4
    assert all(array.base is x for array in found)


def indexes_a_number(a):
    return a[()], a[...]


def test_an_empty_index_gives_a_scalar():
    number, array = compiled(indexes_a_number, np.array(2.0))(np.array(3.0))
    assert type(number) is np.float64
    assert type(array) is np.ndarray


def multiples(x, count):
    try:
        for i in range(count):
            yield x * i
    finally:
        x += 100


def stops_early(x, count):
    total = 0.0
    for part in multiples(x, count):
        total = total + part
        if part[0] > 4:
            break
    return total, x


def sums_all(x, count):
    total = 0.0
    for part in multiples(x, count):
        total = total + part
    return total, x


def test_generators_that_yield_in_loops_and_are_left_early():
    for plain in (stops_early, sums_all):
        function = janusjit.jit(plain, warmup=2, background=False)
        for count in (3, 3, 3, 3, 5, 0, 1):
            for found, expected in zip(function(np.full(2, 3.0), count), plain(np.full(2, 3.0), count), strict=True):
                np.testing.assert_array_equal(found, expected)


def tells_the_error(x, factor):
    try:
        return x * factor
    except TypeError as error:
        return type(error).__name__, str(error)


def test_the_text_of_an_error_is_what_raised_it_said():
    x = np.ones(2)
    function = janusjit.jit(tells_the_error, warmup=2, background=False)
    for _ in range(4):
        assert function(x, "text") == tells_the_error(x, "text")


@dataclass
class Layer:
    weight: np.ndarray
    rate: float = 1.0
    seen: list = field(default_factory=list)


def makes_a_layer(layer):
    layer.seen.append(layer.rate)
    return Layer(layer.weight * 2.0, 0.5)


def test_a_dataclass_leaves_the_function():
    result = compiled(makes_a_layer, Layer(np.ones(2)))(Layer(np.ones(2)))
    np.testing.assert_array_equal(result.weight, [2.0, 2.0])
    assert (result.rate, result.seen) == (0.5, [])


def splits(x):
    return x + 1, "a\nb".splitlines()


def test_a_container_made_of_constants_is_new_at_each_call():
    function = compiled(splits, 1.0)
    function(1.0)[1].append("c")
    assert function(1.0) == (2.0, ["a", "b"])


def contracts(x):
    return np.tensordot(x, x, axes=1)


def test_a_full_contraction_is_an_array():
    result = compiled(contracts, np.ones(3))(np.ones(3))
    assert type(result) is np.ndarray
    assert result.shape == ()


def reads_what_it_raised(x, number):
    try:
        if number > 2:
            raise ValueError("large", number)
    except ValueError as error:
        return x * error.args[1]
    return x


def test_the_arguments_of_an_exception_made_inside():
    function = compiled(reads_what_it_raised, 1.5, 1)
    assert function(1.5, 4) == 6.0
    assert function(1.5, 2) == 1.5


def masked(x, mask):
    try:
        return x[mask]
    except IndexError:
        return None


def test_a_mask_of_another_length_is_found_at_each_call():
    function = janusjit.jit(masked, warmup=2, background=False)
    for size, length in [(4, 4)] * 4 + [(5, 5), (6, 6), (6, 5), (7, 7), (5, 6)]:
        x, mask = np.arange(float(size)), np.ones(length, bool)
        found, expected = function(x, mask), masked(x, mask)
        assert (found is None) == (expected is None)
        assert expected is None or found.tolist() == expected.tolist()


def total_of(values):
    total = np.zeros(3)
    for value in values:
        total[int(value) % 3] += value
    return total, len(values)


class Readings:
    """A sequence that counts what it is asked for, and answers some of it with an exception."""

    def __init__(self, values):
        self.values = values
        self.asked = []

    def __iter__(self):
        self.asked.append("iter")
        return iter(self.values)

    def __len__(self):
        self.asked.append("len")
        if len(self.values) > 3:
            raise OSError("the readings have gone")
        return len(self.values)


@pytest.mark.parametrize("values", [np.arange(4.0), 7, {1: 2.0}, Readings([1.0, 2.0]), Readings([1.0] * 4)])
def test_another_type_in_place_of_a_list_is_asked_nothing_that_is_for_lists(values):
    function = janusjit.jit(total_of, warmup=2, background=False)
    for length in (3, 4, 5, 6, 7, 3, 4):  # the items are read into an array, of any length
        np.testing.assert_array_equal(function([1.0] * length)[0], total_of([1.0] * length)[0])
    assert function.stats.graph_calls >= 3

    def outcome(function, values):
        try:
            return [np.asarray(part).tolist() for part in function(values)], getattr(values, "asked", None)
        except (TypeError, OSError) as exception:
            return type(exception), str(exception), getattr(values, "asked", None)

    assert outcome(function, copy.deepcopy(values)) == outcome(total_of, copy.deepcopy(values))


def moved(first, second):
    first += 1.0
    second *= 2.0
    return first.sum()


def test_another_type_in_place_of_an_array_is_not_asked_for_its_memory():
    function = compiled(moved, np.ones(3), np.zeros(3))  # two arrays, which do not overlap
    with pytest.raises(TypeError) as plain:
        moved([1.0, [2.0]], np.zeros(3))
    with pytest.raises(TypeError) as found:
        function([1.0, [2.0]], np.zeros(3))
    assert str(found.value) == str(plain.value)
