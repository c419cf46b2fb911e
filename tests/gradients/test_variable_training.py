"""Networks written with variables and tapes: functions of `janusjit.nn`, optimisers, and whole trainings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

import janusjit as jj
from janusjit import nn, optim

RNG = np.random.default_rng(5)
LABELS = np.array([0, 1, 4, 2])
FUNCTIONS = {
    "cross_entropy": lambda x: nn.cross_entropy(x, LABELS),
    "softmax": nn.softmax,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "sigmoid": nn.sigmoid,
    "softplus": nn.softplus,
    "layer_norm": lambda x: nn.layer_norm(x, (5,)),
    "stop_gradient": lambda x: x * jj.stop_gradient(x),
    "checkpoint": lambda x: jj.checkpoint(np.tanh)(x),
    "conv2d": lambda x: nn.conv2d(x.reshape(1, 1, 4, 5), np.ones((2, 1, 3, 3))),
    "max_pool2d": lambda x: nn.max_pool2d(x.reshape(1, 1, 4, 5), 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_for_networks(name):
    def squared(x):
        found = FUNCTIONS[name](x)
        return (found * found).sum()

    def step(x):
        loss = squared(x)
        loss.backward()
        gradient = x.grad
        x.zero_grad()
        return loss.item(), gradient

    x = RNG.normal(size=(4, 5))
    value, wanted = jj.value_and_grad(squared)(x)
    compiled = jj.jit(step, warmup=1, background=False)
    variable = jj.Variable(x)
    for function in (step, compiled, compiled, compiled):
        loss, gradient = function(variable)
        assert loss == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-9, atol=1e-12)  # sums in another order
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (2, 0), compiled.reason


# ---------------------------------------------------------------------- digits, in both styles


class Network:
    """Two layers, as PyTorch programs write them."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.weights = [jj.Variable(rng.normal(size=size) / 8.0) for size in ((64, 32), (32, 10))]
        self.biases = [jj.Variable(np.zeros(size)) for size in (32, 10)]

    def parameters(self):
        return [*self.weights, *self.biases]

    def __call__(self, images):
        hidden = nn.relu(images @ self.weights[0] + self.biases[0])
        return hidden @ self.weights[1] + self.biases[1]


def torch_step(network, optimizer, images, labels):
    for parameter in network.parameters():
        parameter.zero_grad()
    loss = nn.cross_entropy(network(images), labels)
    loss.backward()
    parameters = network.parameters()
    optimizer.step([parameter.data for parameter in parameters], [parameter.grad for parameter in parameters])
    return loss.item()


def tensorflow_step(network, optimizer, images, labels):
    parameters = network.parameters()
    with jj.GradientTape() as tape:
        loss = nn.cross_entropy(network(images), labels)
    gradients = tape.gradient(loss, parameters)
    optimizer.step([parameter.numpy() for parameter in parameters], gradients)
    return float(loss)


@jj.no_grad()
def accuracy(network, images, labels):
    return (network(images).argmax(axis=1) == labels).mean()


def train(step, evaluate, steps=120):
    digits = load_digits()
    images, labels = digits.data / 16.0, digits.target
    network = Network(0)
    optimizer = optim.Adam([parameter.data for parameter in network.parameters()], lr=0.01)
    rng, losses = np.random.default_rng(1), []
    for _ in range(steps):
        batch = rng.integers(0, 1500, size=64)
        losses.append(step(network, optimizer, images[batch], labels[batch]))
    return losses, evaluate(network, images[1500:], labels[1500:])


@pytest.mark.parametrize("step", [torch_step, tensorflow_step])
def test_digits(step):
    compiled = jj.jit(step, warmup=1, background=False)
    losses, score = train(step, accuracy)
    compiled_losses, compiled_score = train(compiled, accuracy)
    np.testing.assert_allclose(compiled_losses, losses, rtol=1e-8)  # rounding grows over the steps
    assert score == compiled_score and score > 0.85
    assert compiled.reason is None and compiled.stats.host_calls == 0
    assert compiled.stats.graph_calls == 119, compiled.stats


def test_both_styles_are_one_training():
    losses, score = train(torch_step, accuracy, steps=20)
    others, other_score = train(tensorflow_step, accuracy, steps=20)
    np.testing.assert_allclose(losses, others, rtol=1e-12)
    assert score == other_score


def test_an_evaluation_under_no_grad_is_in_the_graph():
    digits = load_digits()
    network, compiled = Network(0), jj.jit(accuracy, warmup=1, background=False)
    for _ in range(4):
        assert compiled(network, digits.data, digits.target) == accuracy(network, digits.data, digits.target)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0), compiled.reason
