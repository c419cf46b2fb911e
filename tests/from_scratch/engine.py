"""A Tensor class with its own reverse-mode engine: closures, a topological order, backward()."""

import numpy as np


class Tensor:
    def __init__(self, data, children=(), op=""):
        self.data = np.asarray(data, dtype=float)
        self.grad = np.zeros_like(self.data)
        self._backward = lambda: None
        self._prev = set(children)
        self._op = op

    def __add__(self, other):
        other = other if isinstance(other, Tensor) else Tensor(other)
        out = Tensor(self.data + other.data, (self, other), "+")

        def _backward():
            self.grad = self.grad + unbroadcast(out.grad, self.data.shape)
            other.grad = other.grad + unbroadcast(out.grad, other.data.shape)

        out._backward = _backward
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Tensor) else Tensor(other)
        out = Tensor(self.data * other.data, (self, other), "*")

        def _backward():
            self.grad = self.grad + unbroadcast(out.grad * other.data, self.data.shape)
            other.grad = other.grad + unbroadcast(out.grad * self.data, other.data.shape)

        out._backward = _backward
        return out

    def __matmul__(self, other):
        out = Tensor(self.data @ other.data, (self, other), "@")

        def _backward():
            self.grad = self.grad + out.grad @ other.data.T
            other.grad = other.grad + self.data.T @ out.grad

        out._backward = _backward
        return out

    def __pow__(self, power):
        out = Tensor(self.data**power, (self,), f"**{power}")

        def _backward():
            self.grad = self.grad + power * self.data ** (power - 1) * out.grad

        out._backward = _backward
        return out

    def tanh(self):
        out = Tensor(np.tanh(self.data), (self,), "tanh")

        def _backward():
            self.grad = self.grad + (1 - out.data**2) * out.grad

        out._backward = _backward
        return out

    def mean(self):
        out = Tensor(self.data.mean(), (self,), "mean")

        def _backward():
            self.grad = self.grad + np.ones_like(self.data) * out.grad / self.data.size

        out._backward = _backward
        return out

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + (-other if isinstance(other, Tensor) else Tensor(-other))

    __radd__ = __add__
    __rmul__ = __mul__

    def backward(self):
        order, visited = [], set()

        def visit(node):
            if node not in visited:
                visited.add(node)
                for child in node._prev:
                    visit(child)
                order.append(node)

        visit(self)
        self.grad = np.ones_like(self.data)
        for node in reversed(order):
            node._backward()


def unbroadcast(grad, shape):
    while grad.ndim > len(shape):
        grad = grad.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and grad.shape[axis] != 1:
            grad = grad.sum(axis=axis, keepdims=True)
    return grad


class MLP:
    def __init__(self, sizes, rng):
        self.weights = [Tensor(rng.normal(size=(a, b)) / np.sqrt(a)) for a, b in zip(sizes, sizes[1:])]
        self.biases = [Tensor(np.zeros((1, b))) for b in sizes[1:]]

    def __call__(self, x):
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = x @ weight + bias
            if number < len(self.weights) - 1:
                x = x.tanh()
        return x

    def parameters(self):
        return self.weights + self.biases


def train_step(model, x, y, rate):
    for parameter in model.parameters():
        parameter.grad = np.zeros_like(parameter.data)
    loss = ((model(Tensor(x)) - Tensor(y)) ** 2).mean()
    loss.backward()
    for parameter in model.parameters():
        parameter.data -= rate * parameter.grad
    return float(loss.data)


def build(jit):
    """Return the step to call with a number, and the state it leaves."""
    model = MLP([3, 8, 8, 1], np.random.default_rng(0))
    step = jit(train_step)
    data = np.random.default_rng(1)

    def run(number):
        x = data.normal(size=(16, 3))
        return step(model, x, np.sin(x.sum(axis=1, keepdims=True)), 0.05 / (1 + 0.01 * number))

    return run, lambda: [(p.data, p.grad) for p in model.parameters()], step


STEPS = 40
