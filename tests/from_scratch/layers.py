"""A class-based layer library with optimizers and a trainer, as from-scratch repositories have it."""

import numpy as np


class Dense:
    def __init__(self, inputs, outputs, rng):
        self.W = rng.normal(size=(inputs, outputs)) * np.sqrt(2.0 / inputs)
        self.b = np.zeros(outputs)
        self.grads = {}

    def forward(self, x, training):
        self.x = x
        return x @ self.W + self.b

    def backward(self, grad):
        self.grads["W"] = self.x.T @ grad
        self.grads["b"] = grad.sum(axis=0)
        return grad @ self.W.T

    def params(self):
        return [("W", self.W), ("b", self.b)]


class ReLU:
    def forward(self, x, training):
        self.mask = x > 0
        return x * self.mask

    def backward(self, grad):
        return grad * self.mask

    def params(self):
        return []


class Dropout:
    def __init__(self, rate, rng):
        self.rate = rate
        self.rng = rng

    def forward(self, x, training):
        if not training:
            return x
        self.mask = (self.rng.random(x.shape) >= self.rate) / (1.0 - self.rate)
        return x * self.mask

    def backward(self, grad):
        return grad * self.mask

    def params(self):
        return []


class BatchNorm:
    def __init__(self, size, momentum=0.9):
        self.gamma, self.beta = np.ones(size), np.zeros(size)
        self.running_mean, self.running_var = np.zeros(size), np.ones(size)
        self.momentum = momentum
        self.grads = {}

    def forward(self, x, training):
        if training:
            mean, var = x.mean(axis=0), x.var(axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean, var = self.running_mean, self.running_var
        self.std = np.sqrt(var + 1e-5)
        self.normalized = (x - mean) / self.std
        return self.gamma * self.normalized + self.beta

    def backward(self, grad):
        count = len(grad)
        self.grads["gamma"] = (grad * self.normalized).sum(axis=0)
        self.grads["beta"] = grad.sum(axis=0)
        inner = grad * self.gamma
        centred = count * inner - inner.sum(axis=0) - self.normalized * (inner * self.normalized).sum(axis=0)
        return centred / (count * self.std)

    def params(self):
        return [("gamma", self.gamma), ("beta", self.beta)]


class Network:
    def __init__(self, *layers):
        self.layers = layers

    def forward(self, x, training=True):
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, grad):
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad


class Adam:
    def __init__(self, rate=0.01, betas=(0.9, 0.999)):
        self.rate, self.betas, self.t = rate, betas, 0
        self.state = {}

    def step(self, layers):
        self.t += 1
        b1, b2 = self.betas
        for number, layer in enumerate(layers):
            for name, value in layer.params():
                key = f"{number}.{name}"
                grad = layer.grads[name]
                if key not in self.state:
                    self.state[key] = {"m": np.zeros_like(value), "v": np.zeros_like(value)}
                slot = self.state[key]
                slot["m"] = b1 * slot["m"] + (1 - b1) * grad
                slot["v"] = b2 * slot["v"] + (1 - b2) * grad**2
                m, v = slot["m"] / (1 - b1**self.t), slot["v"] / (1 - b2**self.t)
                value -= self.rate * m / (np.sqrt(v) + 1e-8)


class Trainer:
    def __init__(self, network, optimizer, every=10):
        self.network, self.optimizer, self.every = network, optimizer, every
        self.steps, self.history = 0, []

    def train_step(self, x, labels):
        logits = self.network.forward(x)
        shifted = logits - logits.max(axis=1, keepdims=True)
        probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        loss = -np.log(probabilities[np.arange(len(x)), labels]).mean()
        grad = probabilities.copy()
        grad[np.arange(len(x)), labels] -= 1.0
        self.network.backward(grad / len(x))
        self.optimizer.step(self.network.layers)
        self.steps += 1
        if self.steps % self.every == 0:
            print(f"step {self.steps}: loss {loss:.4f}")
        self.history.append(float(loss))
        return loss


def build(jit):
    """Return the step to call with a number, and the state it leaves."""
    rng = np.random.default_rng(0)
    drops = np.random.default_rng(1)
    network = Network(
        Dense(8, 16, rng), ReLU(), BatchNorm(16), Dropout(0.2, drops), Dense(16, 16, rng), ReLU(), Dense(16, 4, rng)
    )
    trainer = Trainer(network, Adam())
    step = jit(Trainer.train_step)
    data = np.random.default_rng(2)

    def run(number):
        x = data.normal(size=(20, 8))
        return step(trainer, x, (np.abs(x).sum(axis=1) * 3).astype(int) % 4)

    return run, lambda: (trainer, drops.bit_generator.state), step


STEPS = 60
