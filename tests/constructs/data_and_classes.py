"""Data and classes: lists, dicts, sets, records, attribute protocols, operator overloading, inheritance."""

# ruff: noqa: RET504 - the programs are written as people write them

from collections import namedtuple
from dataclasses import dataclass

import numpy as np

from tests.constructs.construct import Construct


def vector(number, length=6):
    return np.arange(length) * 0.25 - 0.5 + 0.01 * number


def list_append_then_stack(x):
    states = []
    state = x
    for _ in range(4):
        state = np.tanh(state + x)
        states.append(state)
    return np.stack(states)


def append_in_tensor_bounded_loop(x):
    norms = []
    while np.abs(x).max() > 0.1:
        x = x * 0.5
        norms.append(x.sum())
    return x, norms


def dict_of_tensors(x):
    parameters = {"w": x, "b": x * 0.5}
    parameters.update({"w": x + 1.0, "c": x * x})
    parameters["b"] = parameters["b"] - 1.0
    return parameters["w"] * parameters["b"] + parameters.get("c", 0.0)


def star_unpacking(x):
    first, *middle, last = [x, x + 1.0, x + 2.0, x + 3.0]
    return first * last + sum(middle)


State = namedtuple("State", ["hidden", "cell"])


def namedtuple_replace(x):
    state = State(hidden=x, cell=x * 2.0)
    state = state._replace(hidden=np.tanh(state.cell))
    return state


@dataclass
class Batch:
    data: np.ndarray
    scale: float = 2.0

    def scaled(self):
        return self.data * self.scale


def dataclass_built_inside(x):
    batch = Batch(x + 1.0)
    batch.scale += 1.0
    return batch.scaled()


FROZEN = {"layer0", "layer2"}


def set_membership(x):
    total = np.zeros_like(x)
    for i in range(4):
        if f"layer{i}" not in FROZEN:
            total = total + x * i
    return total


class Lazy:
    def __init__(self, values):
        self.values = values

    def __getattr__(self, name):
        if name.startswith("scaled_by_"):
            return self.values * float(name.removeprefix("scaled_by_"))
        raise AttributeError(name)


def dunder_getattr(x):
    lazy = Lazy(x)
    return lazy.scaled_by_3 + lazy.values


class Temperature:
    def __init__(self, celsius):
        self._celsius = celsius

    @property
    def fahrenheit(self):
        return self._celsius * 1.8 + 32.0

    @fahrenheit.setter
    def fahrenheit(self, value):
        self._celsius = (value - 32.0) / 1.8


def property_with_setter(x):
    temperature = Temperature(x)
    temperature.fahrenheit = temperature.fahrenheit + 9.0
    return temperature._celsius


class Dual:
    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __add__(self, other):
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other):
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)


def operator_overloading(x):
    dual = Dual(x, np.ones_like(x))
    result = dual * dual + dual
    return result.value, result.slope


class Layer:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return self.forward(x) * self.scale

    def forward(self, x):
        return x


class TanhLayer(Layer):
    def __init__(self, scale):
        super().__init__(scale * 2.0)

    def forward(self, x):
        return np.tanh(super().forward(x))


LAYERS = [TanhLayer(1.5), Layer(0.5)]


def super_and_call(x):
    for layer in LAYERS:
        x = layer(x)
    return x


class Record:
    pass


def computed_attribute_names(x):
    record = Record()
    for i, name in enumerate(("alpha", "beta")):
        setattr(record, name + "_weight", x * (i + 1))
    return record.alpha_weight + record.beta_weight + getattr(record, "gamma", 1.0)


def class_defined_inside(x):
    class Local:
        bias = 1.0

        def apply(self, y):
            return y * 2.0 + self.bias

    return Local().apply(x)


def isinstance_dispatch(value):
    if isinstance(value, np.ndarray):
        value = value.sum()
    elif isinstance(value, (list, tuple)):
        value = len(value)
    if isinstance(value, int):
        return value + 1
    return value * 2.0


CONSTRUCTS = [
    Construct("local list append, then stack", list_append_then_stack, lambda n: (vector(n),)),
    Construct(
        "list append in a tensor-bounded loop", append_in_tensor_bounded_loop, lambda n: (vector(n) * (1 + n % 4),)
    ),
    Construct("dict of tensors, str keys, update", dict_of_tensors, lambda n: (vector(n),)),
    Construct("star unpacking", star_unpacking, lambda n: (vector(n),)),
    Construct("namedtuple._replace", namedtuple_replace, lambda n: (vector(n),)),
    Construct("dataclass built inside", dataclass_built_inside, lambda n: (vector(n),)),
    Construct("set membership with f-string keys", set_membership, lambda n: (vector(n),)),
    Construct("__getattr__", dunder_getattr, lambda n: (vector(n),)),
    Construct("property with setter", property_with_setter, lambda n: (vector(n),)),
    Construct("operator overloading", operator_overloading, lambda n: (vector(n),)),
    Construct("super() and __call__", super_and_call, lambda n: (vector(n),)),
    Construct("getattr/setattr with computed names", computed_attribute_names, lambda n: (vector(n),)),
    Construct("class defined inside the function", class_defined_inside, lambda n: (vector(n),)),
    Construct(
        "isinstance dispatch, one variable of several types",
        isinstance_dispatch,
        lambda n: ((vector(n), [1, 2, 3], n * 0.5)[n % 3],),
    ),
]
