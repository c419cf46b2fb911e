"""Whether a set or dict from outside has a key is asked natively, at each call."""

import collections

import pytest

import janusjit as jj


def shares(links, ranks):
    new = {}
    for page in ranks:
        total = 0.0
        for other in links:
            if page in links[other]:
                total += ranks[other] / len(links[other])
        new[page] = total
    return new


def _links(kind):
    pages = ["a", "b", 3, ("d", 4)]
    return {page: kind([(key, 1.0) for key in pages[: 1 + number]]) for number, page in enumerate(pages)}


def _set(pairs):
    return {key for key, _ in pairs}


@pytest.mark.parametrize("kind", [_set, dict, collections.OrderedDict, collections.Counter])
def test_keys_are_looked_up_at_each_call(kind):
    step = jj.jit(shares, background=False)
    links = _links(kind)
    for number in range(12):
        ranks = dict.fromkeys(links, 0.5 + number)
        if number == 6:
            links["a"].pop() if kind is _set else links["a"].popitem()
            links["b"].add("new") if kind is _set else links["b"].update({"new": 1.0})
            links["a"].add(3) if kind is _set else links["a"].update({3: 1.0})
        assert step(links, ranks) == shares(links, ranks)
    assert step.stats.graph_calls == 10
    assert step.stats.specializations == 2
    text = step.specializations[0].llvm_ir
    assert "PySet_Contains" in text if kind is _set else "PyDict" in text


class Odd:
    """A key of the caller's own that is as hard to compare as can be."""

    def __hash__(self):
        return hash("b")

    def __eq__(self, other):
        raise RuntimeError("compared")


def test_a_foreign_key_that_cannot_be_compared():
    def has(names, x):
        return x * 2 if "b" in names else x

    step = jj.jit(has, background=False)
    for number in range(5):
        assert step({"a", "b"}, float(number)) == 2.0 * number
    names = {Odd()}
    with pytest.raises(RuntimeError, match="compared"):
        has(names, 1.0)
    with pytest.raises(RuntimeError, match="compared"):
        step(names, 1.0)
    assert step.stats.graph_calls == 3
