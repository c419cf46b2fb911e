"""Functions of ``operator`` as Python code.

Owns the Python that capture follows in place of them. Invariant: each is what the library reference gives as its
meaning.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any


def _negative(a: Any) -> Any:
    return -a


def _positive(a: Any) -> Any:
    return +a


def _inverted(a: Any) -> Any:
    return ~a


def _negated(a: Any) -> bool:
    return not a


def _truth(a: Any) -> bool:
    return bool(a)


def _is(a: Any, b: Any) -> bool:
    return a is b


def _is_not(a: Any, b: Any) -> bool:
    return a is not b


def _and(a: Any, b: Any) -> Any:
    return a & b


def _or(a: Any, b: Any) -> Any:
    return a | b


def _xor(a: Any, b: Any) -> Any:
    return a ^ b


def _left_shifted(a: Any, b: Any) -> Any:
    return a << b


def _right_shifted(a: Any, b: Any) -> Any:
    return a >> b


def _contains(a: Any, b: Any) -> bool:
    return b in a


def _item(a: Any, b: Any) -> Any:
    return a[b]


def _set_item(a: Any, b: Any, c: Any) -> None:
    a[b] = c


def _delete_item(a: Any, b: Any) -> None:
    del a[b]


def _add_in_place(a: Any, b: Any) -> Any:
    a += b
    return a


def _subtract_in_place(a: Any, b: Any) -> Any:
    a -= b
    return a


def _multiply_in_place(a: Any, b: Any) -> Any:
    a *= b
    return a


def _divide_in_place(a: Any, b: Any) -> Any:
    a /= b
    return a


def _item_getter(item: Any, /, *items: Any) -> Callable[[Any], Any]:
    if not items:

        def get_item(owner: Any, /) -> Any:
            return owner[item]

        return get_item

    def get_items(owner: Any, /) -> Any:
        return tuple([owner[each] for each in (item, *items)])

    return get_items


def _attribute(owner: Any, path: str) -> Any:
    for name in path.split("."):
        owner = getattr(owner, name)
    return owner


def _attribute_getter(path: str, /, *paths: str) -> Callable[[Any], Any]:
    if not paths:

        def get_attribute(owner: Any, /) -> Any:
            return _attribute(owner, path)

        return get_attribute

    def get_attributes(owner: Any, /) -> Any:
        return tuple([_attribute(owner, each) for each in (path, *paths)])

    return get_attributes


def _method_caller(name: str, /, *arguments: Any, **keywords: Any) -> Callable[[Any], Any]:
    def call_method(owner: Any, /) -> Any:
        return getattr(owner, name)(*arguments, **keywords)

    return call_method


#: what capture follows, by the function it stands for
OPERATORS: dict[Any, Any] = {
    operator.neg: _negative,
    operator.pos: _positive,
    operator.invert: _inverted,
    operator.not_: _negated,
    operator.truth: _truth,
    operator.is_: _is,
    operator.is_not: _is_not,
    operator.and_: _and,
    operator.or_: _or,
    operator.xor: _xor,
    operator.lshift: _left_shifted,
    operator.rshift: _right_shifted,
    operator.contains: _contains,
    operator.getitem: _item,
    operator.setitem: _set_item,
    operator.delitem: _delete_item,
    operator.iadd: _add_in_place,
    operator.isub: _subtract_in_place,
    operator.imul: _multiply_in_place,
    operator.itruediv: _divide_in_place,
    operator.itemgetter: _item_getter,
    operator.attrgetter: _attribute_getter,
    operator.methodcaller: _method_caller,
}
