"""Results and gradients of `janusjit.nn` are those of torch."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit import nn
from tests.nn.cases import CASES, Case

torch = pytest.importorskip("torch")
# the functions of both take sums of some hundred terms in another order; float32 has 24 bits
RTOL = {np.float64: 1e-10, np.float32: 2e-4}


def torch_function(case: Case):
    return getattr(torch if case.torch_name else torch.nn.functional, case.name)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_results_and_gradients_are_those_of_torch(case: Case, dtype: type) -> None:
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in case.arrays]
    weights = [w.astype(dtype) for w in case.weights()]
    tensors = [torch.tensor(x, requires_grad=i in case.floats) for i, x in enumerate(arrays)]
    wanted = case.call(torch_function(case), tensors)
    found = case.call(case.function, arrays)
    results = found if isinstance(found, tuple) else (found,)
    for got, expected in zip(results, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        assert np.asarray(got).dtype == dtype
        assert np.shape(got) == tuple(expected.shape)
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=RTOL[dtype], atol=RTOL[dtype])
    total = case.total(torch_function(case), tensors, [torch.tensor(w) for w in weights])
    total.backward()

    def loss(*given):
        return case.total(case.function, list(given), weights)

    gradients = jj.grad(loss, case.floats)(*arrays)
    for position, got in zip(case.floats, gradients, strict=True):
        expected = tensors[position].grad
        assert got.dtype == dtype and got.shape == arrays[position].shape
        expected = np.zeros_like(got) if expected is None else expected.numpy()
        np.testing.assert_allclose(got, expected, rtol=RTOL[dtype], atol=RTOL[dtype] * 10)


def test_indices_of_pooling_are_those_of_torch() -> None:
    x = np.random.default_rng(0).integers(0, 4, (2, 3, 7, 6)).astype(float)
    settings = {"kernel_size": 3, "stride": 2, "padding": 1, "return_indices": True}
    values, indices = nn.max_pool2d(x, **settings)
    expected, places = torch.nn.functional.max_pool2d(torch.tensor(x), **settings)
    np.testing.assert_array_equal(values, expected.numpy())
    np.testing.assert_array_equal(indices, places.numpy())


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_running_statistics_are_those_of_torch(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    mean, variance = np.zeros(3), np.ones(3)
    mean_there, variance_there = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    weight, bias = generator.normal(size=3), generator.normal(size=3)
    for _ in range(3):
        x, w = generator.normal(1, 2, shape), generator.normal(size=shape)

        def loss(x, weight, bias, w=w):
            return (nn.batch_norm(x, mean, variance, weight, bias, training=True, momentum=0.3) * w).sum()

        gradients = jj.grad(loss, (0, 1, 2))(x, weight, bias)
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
        there = torch.nn.functional.batch_norm(
            tensors[0], mean_there, variance_there, *tensors[1:], training=True, momentum=0.3
        )
        (there * torch.tensor(w)).sum().backward()
        for got, expected in zip(gradients, tensors, strict=True):
            np.testing.assert_allclose(got, expected.grad.numpy(), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(mean, mean_there.numpy(), rtol=1e-12)
        np.testing.assert_allclose(variance, variance_there.numpy(), rtol=1e-12)


def test_class_weights_are_those_of_torch() -> None:
    generator = np.random.default_rng(0)
    logits, weight, classes = generator.normal(size=(6, 4)), generator.uniform(0.5, 2, 4), generator.integers(0, 4, 6)
    classes[2] = -100
    probabilities = generator.dirichlet(np.ones(4), 6)
    for target in (classes, probabilities):
        for reduction in ("mean", "sum", "none"):
            for smoothing in (0.0, 0.2):
                settings = {"reduction": reduction, "label_smoothing": smoothing}
                got = nn.cross_entropy(logits, target, weight, **settings)
                there = (torch.tensor(logits), torch.tensor(target), torch.tensor(weight))
                expected = torch.nn.functional.cross_entropy(*there, **settings)
                np.testing.assert_allclose(got, expected.numpy(), rtol=1e-12)
    factor = generator.uniform(0.5, 2, 4)
    got = nn.binary_cross_entropy_with_logits(logits, probabilities, weight, pos_weight=factor)
    there = [torch.tensor(x) for x in (logits, probabilities, weight, factor)]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(*there[:3], pos_weight=there[3])
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-12)
