"""Random numbers: methods of ``RandomState``, ``Generator`` and Python's ``random``, called as they are.

Owns `METHODS`, one declaration a method, and the ops made of them. Invariants: the numbers are the method's own, so the
stream and the generator's state afterwards are eager's; and every op takes an *order* token (input 0) and gives the
next one (result 0), so that data flow keeps all draws in program order, whichever generators they are from.

The second input of a method's op is the generator, as its address. The inputs after it are the parameters that are
numbers or arrays; all others are attributes, under the parameters' names.
"""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim
from janusjit.ir.types import INT, TensorType, dtype_name
from janusjit.ops.generators import ObjectAddress, restore_state, save_state
from janusjit.ops.registry import ZERO, Attributes, NotDifferentiable, ObjectCall, Op, StateCopy, TypeRule, declare
from janusjit.ops.samples import Draw, Exactly, Made, Sample
from janusjit.ops.type_rules import TypeRuleError, broadcast_shapes

REQUIRED = object()
"""The default of a parameter that has none."""

PREFIXES = {np.random.RandomState: "random_state", np.random.Generator: "generator", random.Random: "python_random"}


#: kinds of parameters that are attributes of nodes
CONSTANT_KINDS = ("size", "length", "option")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method.

    Attributes
    ----------
    name : str
        As in the method's signature.
    kind : str
        ``float`` and ``int``: numbers or arrays, which broadcast together; ``number``: a Python int or float, passed
        as it is; ``integer``: a Python int; ``count``: an int; ``vector``: an array whose last axis is the result's;
        ``array``: any array; ``size``: the result's shape; ``length``: an int that is the result's only dimension;
        ``option``: a constant.
    default : object
        `REQUIRED` if there is none.
    keyword_only : bool
        It is passed by name.
    """

    name: str
    kind: str
    default: Any = REQUIRED
    keyword_only: bool = False


@dataclass(frozen=True, eq=False)
class Method:
    """A method whose calls are operations.

    Attributes
    ----------
    owner : type
        The exact type of the generator; None for a function that makes one.
    name : str
        The method's.
    parameters : tuple of Parameter
        In the order of its signature.
    dtype : str
        Of the result; where there is a parameter ``dtype``, that says it.
    scalar : str
        What the method returns without a size: a scalar kind, ``numpy`` for a NumPy scalar of the result's dtype.
    function : callable
        ``function(generator, *arguments)``: the method, or what calls it.
    returns : str
        ``value``; ``argument``: the first array is changed in place; ``object``: a new generator; ``nothing``.
    sample : tuple
        Arguments for which it is defined, by position.
    makes : type or None
        Of the new generator.
    """

    owner: type | None
    name: str
    parameters: tuple[Parameter, ...]
    dtype: str
    scalar: str
    function: Callable[..., Any]
    returns: str = "value"
    sample: tuple[Any, ...] = ()
    makes: type | None = None

    @property
    def op(self) -> str:
        """The name of its op."""
        return f"{PREFIXES[self.owner]}.{self.name}" if self.owner is not None else f"random.{self.name}"

    def result_type(self, inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
        """Return the type of the numbers drawn; ``inputs`` are the parameters among the node's."""
        named = dict(zip(self.input_names(attributes), inputs, strict=True))
        if "x" in named:  # an array that is permuted
            return named["x"]
        shape = self._shape(named, attributes)
        dtype = dtype_name(attributes["dtype"]) if "dtype" in attributes else self.dtype
        if not shape and attributes.get("size") is None and self.scalar == "float":
            dtype = "f64"
        return TensorType(str(dtype), shape)

    def _shape(self, named: dict[str, TensorType], attributes: Attributes) -> tuple[Dim, ...]:
        length = next((p.name for p in self.parameters if p.kind == "length"), None)
        if length is not None:
            return (attributes[length],)
        shape: tuple[Dim, ...] | None = attributes.get("size")
        if shape is None:
            shape = ()
            for parameter in self.parameters:
                if parameter.kind in ("float", "int") and parameter.name in named:
                    shape = broadcast_shapes(shape, named[parameter.name].shape)
        vectors = (named[p.name] for p in self.parameters if p.kind == "vector" and p.name in named)
        return (*shape, *(vector.shape[-1] for vector in vectors))

    def input_names(self, attributes: Attributes) -> Iterator[str]:
        """Yield the names of the parameters that are inputs."""
        return (parameter.name for parameter in self.parameters if parameter.name not in attributes)

    def scalar_kind(self, attributes: Attributes) -> str:
        """Return what kind of scalar a call without size returns."""
        if self.scalar != "numpy":
            return self.scalar
        return f"numpy.{dtype_name(attributes['dtype']) if 'dtype' in attributes else self.dtype}"


METHODS: dict[tuple[type | None, str], Method] = {}


def find(owner: type | None, name: str) -> Method | None:
    """Return the declaration of a method."""
    return METHODS.get((owner, name))


# ---------------------------------------------------------------------- ops


def _rule(method: Method) -> TypeRule:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        first = 2 if method.owner is not None else 1
        expected = sum(1 for _ in method.input_names(attributes))
        if len(inputs) != first + expected or any(type_ != INT for type_ in inputs[:first]):
            raise TypeRuleError(f"{method.op} of {len(inputs)} inputs")
        if method.returns == "nothing":
            return (INT,)
        if method.returns == "object":
            return INT, INT
        return INT, method.result_type(inputs[first:], attributes)

    return infer


def _eager(method: Method) -> Callable[..., Any]:
    def eager(order: Any, *inputs: Any, **attributes: Any) -> Any:
        owner = [inputs[0].object] if method.owner is not None else []
        arrays = [np.array(value) if np.ndim(value) else np.asarray(value).item() for value in inputs[len(owner) :]]
        values = iter(arrays)
        given = {p.name: attributes[p.name] if p.name in attributes else next(values) for p in method.parameters}
        named = {p.name: given.pop(p.name) for p in method.parameters if p.keyword_only}
        result = method.function(*owner, *given.values(), **named)
        if method.returns == "nothing":
            return (order,)
        if method.returns == "object":
            return order, ObjectAddress.of(result)
        return order, arrays[0] if method.returns == "argument" else np.asarray(result)[()]

    return eager


def _sample(method: Method) -> Sample:
    inputs: list[Any] = [Exactly(0)]
    if method.owner is not None:
        make: Any = np.random.default_rng if method.owner is np.random.Generator else method.owner
        inputs.append(Made(lambda generator: ObjectAddress.of(make(int(generator.integers(99))))))
    attributes: dict[str, Any] = {}
    given = [*method.sample, *(p.default for p in method.parameters[len(method.sample) :])]
    for parameter, value in zip(method.parameters, given, strict=True):
        if parameter.kind in CONSTANT_KINDS or value is None:
            attributes[parameter.name] = value
        else:
            inputs.append(value if isinstance(value, Draw) else Exactly(np.asarray(value)[()]))
    return Sample(tuple(inputs), attributes)


def _method(
    owner: type | None,
    name: str,
    parameters: tuple[Parameter, ...],
    sample: tuple[Any, ...] = (),
    dtype: str = "f64",
    scalar: str = "float",
    function: Callable[..., Any] | None = None,
    **more: Any,
) -> None:
    """Declare a method and its op."""
    called = function if function is not None else getattr(owner, name)
    made = Method(owner, name, parameters, dtype, scalar, called, sample=sample, **more)
    METHODS[owner, name] = made
    declare(
        Op(
            name=made.op,
            family="random",
            eager=_eager(made),
            infer=_rule(made),
            lowering=ObjectCall(
                function=made.function,
                parameters=tuple(p.name for p in parameters),
                defaults={p.name: p.default for p in parameters if p.kind in ("size", "option") and name != "randint"},
                keyword_only=frozenset(p.name for p in parameters if p.keyword_only),
                has_owner=owner is not None,
                returns=made.returns,
                scalar_kind=made.scalar_kind,
            ),
            samples=(_sample(made),),
            fallible=True,
            stateful=True,
            gradient=NotDifferentiable("a random number is drawn, with parameters that a gradient is asked for"),
        )
    )


# ---------------------------------------------------------------------- parameters

SIZE = Parameter("size", "size", None)
_X = Parameter("x", "array")
_SEED = Parameter("seed", "count")


def _numbers(text: str) -> tuple[Parameter, ...]:
    """Return parameters that broadcast: ``"n:int p=0.5"``."""
    made = []
    for part in text.split():
        named, _, default = part.partition("=")
        name, _, kind = named.partition(":")
        made.append(Parameter(name, kind or "float", float(default) if default else REQUIRED))
    return tuple(made)


def _option(name: str, default: Any, keyword_only: bool = False) -> Parameter:
    return Parameter(name, "option", default, keyword_only)


# ---------------------------------------------------------------------- what RandomState and Generator share

_PAIR = np.array([0.25, 0.75])
_MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])

#: name → (parameters, arguments of the sample)
_FLOATS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "beta": ("a b", (2.0, 3.0)),
    "chisquare": ("df", (3.0,)),
    "exponential": ("scale=1", ()),
    "f": ("dfnum dfden", (3.0, 4.0)),
    "gamma": ("shape scale=1", (2.0,)),
    "gumbel": ("loc=0 scale=1", ()),
    "laplace": ("loc=0 scale=1", ()),
    "logistic": ("loc=0 scale=1", ()),
    "lognormal": ("mean=0 sigma=1", ()),
    "noncentral_chisquare": ("df nonc", (3.0, 1.0)),
    "noncentral_f": ("dfnum dfden nonc", (3.0, 4.0, 1.0)),
    "normal": ("loc=0 scale=1", (Draw((3,)),)),
    "pareto": ("a", (2.0,)),
    "power": ("a", (2.0,)),
    "rayleigh": ("scale=1", ()),
    "standard_cauchy": ("", ()),
    "standard_t": ("df", (3.0,)),
    "triangular": ("left mode right", (0.0, 1.0, 2.0)),
    "uniform": ("low=0 high=1", ()),
    "vonmises": ("mu kappa", (0.0, 1.0)),
    "wald": ("mean scale", (1.0, 2.0)),
    "weibull": ("a", (2.0,)),
}
_INTEGERS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "binomial": ("n:int p", (5, 0.5)),
    "geometric": ("p", (0.5,)),
    "hypergeometric": ("ngood:int nbad:int nsample:int", (3, 4, 2)),
    "logseries": ("p", (0.5,)),
    "negative_binomial": ("n p", (3.0, 0.5)),
    "poisson": ("lam=1", (2.0,)),
    "zipf": ("a", (2.0,)),
}


def _shuffled_indices(generator: Any, x: int) -> np.ndarray:
    """Return where the items of a list of ``x`` come from when the generator shuffles it."""
    indices = list(range(x))
    generator.shuffle(indices)
    return np.array(indices, np.int64)


def _declare_shared(owner: type) -> None:
    for name, (parameters, sample) in _FLOATS.items():
        _method(owner, name, (*_numbers(parameters), SIZE), sample)
    for name, (parameters, sample) in _INTEGERS.items():
        _method(owner, name, (*_numbers(parameters), SIZE), sample, "i64", "int")
    vector = Parameter("pvals", "vector"), Parameter("alpha", "vector")
    _method(owner, "multinomial", (*_numbers("n:int"), vector[0], SIZE), (5, _PAIR, (3,)), "i64")
    _method(owner, "dirichlet", (vector[1], SIZE), (_PAIR,))
    _method(owner, "permutation", (_X,), (Draw((4,)),))


def _declare_list_shuffle(owner: type) -> None:
    """Declare what ``shuffle`` does to a list: lists are structures of capture, so only their order is computed."""
    _method(owner, "shuffle_list", (Parameter("x", "length"),), (5,), "i64", function=_shuffled_indices)


def _strictly(owner: type, name: str) -> Callable[..., Any]:
    """Return a method that raises what it would warn of: the call is then done again, by Python, which warns."""
    method = getattr(owner, name)

    def strictly(*arguments: Any, **named: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return method(*arguments, **named)

    return strictly


def _declare_multivariate_normal(owner: type, *more: Parameter) -> None:
    name = "multivariate_normal"
    parameters = (Parameter("mean", "vector"), Parameter("cov", "array"), SIZE)
    options = (_option("check_valid", "warn"), _option("tol", 1e-8), *more)
    _method(owner, name, (*parameters, *options), (_PAIR, _MATRIX), function=_strictly(owner, name))


# ---------------------------------------------------------------------- RandomState

_OLD = np.random.RandomState
_declare_shared(_OLD)
_declare_list_shuffle(_OLD)
_declare_multivariate_normal(_OLD)
_method(_OLD, "random_sample", (SIZE,))
_method(_OLD, "standard_normal", (SIZE,), ((2, 3),))
_method(_OLD, "standard_exponential", (SIZE,))
_method(_OLD, "standard_gamma", (*_numbers("shape"), SIZE), (2.0,))
_INTERVAL = (Parameter("low", "int"), Parameter("high", "int", None), SIZE, _option("dtype", "int64"))
_method(_OLD, "randint", _INTERVAL, (3,), scalar="numpy")
_CHOICE = (Parameter("a", "count"), SIZE, _option("replace", True), Parameter("p", "array", None))
_method(_OLD, "choice", _CHOICE, (5,), "i64", "int")
_method(_OLD, "shuffle", (_X,), (Draw((4,)),), returns="argument")
_method(_OLD, "seed", (_SEED,), (7,), returns="nothing")

# ---------------------------------------------------------------------- Generator

_NEW = np.random.Generator
_FLOAT = _option("dtype", "float64")
_declare_shared(_NEW)
_declare_list_shuffle(_NEW)
_declare_multivariate_normal(_NEW, _option("method", "svd", keyword_only=True))
_method(_NEW, "random", (SIZE, _FLOAT))
_method(_NEW, "standard_normal", (SIZE, _FLOAT), ((2, 3), "float32"))
_method(_NEW, "standard_exponential", (SIZE, _FLOAT, _option("method", "zig")))
_method(_NEW, "standard_gamma", (*_numbers("shape"), SIZE, _FLOAT), (2.0,))
_method(_NEW, "integers", (*_INTERVAL, _option("endpoint", False)), (3,), scalar="numpy")
_method(_NEW, "choice", (*_CHOICE, _option("axis", 0), _option("shuffle", True)), (5,), "i64", "int")
_method(_NEW, "shuffle", (_X, _option("axis", 0)), (Draw((4,)),), returns="argument")
_method(_NEW, "permuted", (_X, _option("axis", None, keyword_only=True)), (Draw((6,)),))

# ---------------------------------------------------------------------- both, of an int

_ARANGE = Parameter("x", "length")
_method(_OLD, "permutation_of_range", (_ARANGE,), (5,), "i64", function=_OLD.permutation)
_method(_NEW, "permutation_of_range", (_ARANGE,), (5,), "i64", function=_NEW.permutation)

# ---------------------------------------------------------------------- Python's random


#: Python's class as it was when this module was imported: a method given to it later is the user's code
PYTHON_METHODS = {name: getattr(random.Random, name) for name in dir(random.Random)}


def _plain(name: str, kind: str) -> tuple[Parameter, ...]:
    """Return the parameters of a method of Python's, which differ from version to version in their defaults."""
    parameters = list(inspect.signature(getattr(random.Random, name)).parameters.values())[1:]
    empty = inspect.Parameter.empty
    return tuple(Parameter(p.name, kind, REQUIRED if p.default is empty else p.default) for p in parameters)


def _declare_python() -> None:
    owner = random.Random
    _method(owner, "random", ())
    floats: dict[str, tuple[Any, ...]] = {
        **dict.fromkeys(("gauss", "normalvariate", "lognormvariate", "vonmisesvariate"), (0.5, 1.5)),
        **dict.fromkeys(("gammavariate", "betavariate", "weibullvariate", "uniform"), (1.5, 2.5)),
        **dict.fromkeys(("paretovariate", "expovariate"), (1.5,)),
        "triangular": (0.0, 1.0, 0.25),
    }
    for name, sample in floats.items():
        _method(owner, name, _plain(name, "number"), sample)
    integers: dict[str, tuple[Any, ...]] = {"randint": (1, 6), "randrange": (1, 6, 2), "_randbelow": (8,)}
    for name, sample in integers.items():
        _method(owner, name, _plain(name, "integer"), sample, "i64", "int")
    _method(owner, "getrandbits", (Parameter("k", "integer"),), (8,), "i64", "int")
    _method(owner, "seed", (Parameter("a", "number"),), (7,), returns="nothing")
    length = (Parameter("n", "count"), Parameter("k", "length"))
    _method(owner, "sample_range", length, (9, 4), "i64", function=_sampled_indices)
    _method(owner, "choices_of_range", length, (9, 4), "i64", function=_chosen_indices)
    _declare_list_shuffle(owner)


def _sampled_indices(generator: random.Random, n: int, k: int) -> np.ndarray:
    return np.array(generator.sample(range(n), k), np.int64)


def _chosen_indices(generator: random.Random, n: int, k: int) -> np.ndarray:
    return np.array(generator.choices(range(n), k=k), np.int64)


_declare_python()

# ---------------------------------------------------------------------- new generators

#: the functions that make generators, and the types of these
MAKERS: dict[Callable[..., Any], type] = {np.random.default_rng: _NEW, _OLD: _OLD, random.Random: random.Random}
for _maker, _made in MAKERS.items():
    _method(None, _maker.__name__, (_SEED,), (7,), function=_maker, returns="object", makes=_made)

#: the bit generators that makers give their generators
MAKER_BITS: dict[str, type | None] = {
    "random.default_rng": np.random.PCG64,
    "random.RandomState": np.random.MT19937,
    "random.Random": None,
}

# ---------------------------------------------------------------------- states


def _save(address: Any, owner: str, bits: str | None) -> ObjectAddress:
    return ObjectAddress.of(save_state(address.object))


def _restore(address: Any, copy: Any, owner: str, bits: str | None) -> tuple[()]:
    restore_state(address.object, copy.object)
    return ()


def _declare_state_copies() -> None:
    """Declare ``random.save`` and ``random.restore``, by which a turn of a loop is taken back."""
    attributes = {"owner": "Generator", "bits": "PCG64"}
    address = Made(lambda generator: ObjectAddress.of(np.random.default_rng(1)))
    copy = Made(lambda generator: ObjectAddress.of(save_state(np.random.default_rng(2))))
    for name, eager, inputs, results in (
        ("random.save", _save, (address,), (INT,)),
        ("random.restore", _restore, (address, copy), ()),
    ):
        declare(
            Op(
                name=name,
                family="random",
                eager=eager,
                infer=_ints(name, len(inputs), results),
                lowering=StateCopy(restores=not results),
                samples=(Sample(inputs, attributes),),
                stateful=True,
                gradient=ZERO,
            )
        )


def _ints(name: str, count: int, results: tuple[TensorType, ...]) -> TypeRule:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if inputs != (INT,) * count or {*attributes} != {"owner", "bits"}:
            raise TypeRuleError(f"{name} of {len(inputs)} inputs")
        return results

    return infer


_declare_state_copies()
