"""The function generated from Core does what the original does, with and without probes."""

import gc
import weakref

import pytest

from janusjit.analysis.twin import make_twin
from janusjit.profiler.profile import Profile
from tests.analysis.outcomes import assert_same, forms
from tests.analysis.programs import PROGRAMS


@pytest.mark.parametrize(("function", "calls"), PROGRAMS, ids=lambda item: getattr(item, "__qualname__", ""))
def test_generated_function_is_the_original(function, calls):
    assert_same(function, *calls)


class Held:
    pass


def drops_early(seen):
    seen(Held()).x = 1
    a = [seen(Held()) for _ in range(2)] and 0
    a += seen(Held()) is None
    seen.alive()
    return a


def test_temporaries_keep_nothing_alive():
    class Seen:
        def __init__(self):
            self.made, self.count = weakref.WeakSet(), None

        def __call__(self, held):
            self.made.add(held)
            return held

        def alive(self):
            gc.collect()
            self.count = len(self.made)

    for name, form in {"original": drops_early, **forms(drops_early)}.items():
        seen = Seen()
        form(seen)
        assert seen.count == 0, name


def makes_closure(x):
    def inner(y):
        return x + y

    return inner, (lambda: x)


def test_functions_that_leave_a_twin_are_the_users_own():
    codes = [code for code in makes_closure.__code__.co_consts if hasattr(code, "co_name")]
    inner, anonymous = make_twin(makes_closure, Profile())(3)
    assert [inner.__code__, anonymous.__code__] == codes
    assert inner(4) == 7
    assert anonymous() == 3
    assert inner.__closure__[0].cell_contents == 3


def test_attributes_of_the_function_are_kept():
    def function(a, b=1, *, c: int = 2):
        """Document."""
        return a, b, c

    function.mark = 5
    for form in forms(function).values():
        assert form.__defaults__ == (1,) and form.__kwdefaults__ == {"c": 2} and form.mark == 5
        assert form.__doc__ == "Document." and form.__qualname__ == function.__qualname__
        assert form(0) == (0, 1, 2)
