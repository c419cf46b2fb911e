"""Programs in the style of the examples of the package `autograd`: nothing in them knows of `@jit`.

Each entry of `PROGRAMS` is a function and its arguments.
"""

from __future__ import annotations

import autograd.numpy as np
from autograd import elementwise_grad, grad, hessian_vector_product, jacobian, value_and_grad
from autograd.misc import flatten
from autograd.misc.optimizers import adam, rmsprop, sgd
from autograd.scipy.special import expit, logsumexp
from autograd.scipy.stats import norm

RANDOM = np.random.RandomState(0)


# ---------------------------------------------------------------- a neural network, trained on minibatches


def predictions(parameters, inputs):
    for weights, bias in parameters:
        outputs = np.dot(inputs, weights) + bias
        inputs = np.tanh(outputs)
    return outputs - logsumexp(outputs, axis=1, keepdims=True)


def negative_log_posterior(parameters, inputs, targets):
    penalty = sum([np.sum(weights**2) for weights, _ in parameters])
    return 0.01 * penalty - np.sum(predictions(parameters, inputs) * targets)


network_gradient = grad(negative_log_posterior)
LAYERS = [(RANDOM.randn(m, n) * 0.1, RANDOM.randn(n) * 0.1) for m, n in ((8, 16), (16, 4))]
IMAGES = RANDOM.randn(64, 8)
LABELS = np.eye(4)[RANDOM.randint(0, 4, 64)]


def train_network(layers, images, labels):
    def objective(parameters, iteration):
        start = (iteration % 4) * 16
        return negative_log_posterior(parameters, images[start : start + 16], labels[start : start + 16])

    return adam(grad(objective), layers, num_iters=12, step_size=0.01)


def network_step(layers, images, labels):
    gradient = network_gradient(layers, images, labels)
    return [(w - 0.01 * dw, b - 0.01 * db) for (w, b), (dw, db) in zip(layers, gradient, strict=True)]


# ---------------------------------------------------------------- a recurrent network


def recurrent_loss(parameters, inputs, targets):
    hidden = np.zeros((inputs.shape[1], 6))
    loss = 0.0
    for turn in range(inputs.shape[0]):
        hidden = np.tanh(np.dot(inputs[turn], parameters["in"]) + np.dot(hidden, parameters["back"]))
        loss = loss + np.mean((np.dot(hidden, parameters["out"]) - targets[turn]) ** 2)
    return loss


def lstm_loss(parameters, inputs):
    hidden, cell = np.zeros((3, 4)), np.zeros((3, 4))
    for turn in range(inputs.shape[0]):
        joint = np.concatenate((inputs[turn], hidden), axis=1)
        change = np.tanh(np.dot(joint, parameters["change"]))
        forget, ingate, outgate = [expit(np.dot(joint, parameters[name])) for name in ("forget", "ingate", "outgate")]
        cell = forget * cell + ingate * change
        hidden = outgate * np.tanh(cell)
    return np.sum(hidden**2)


RECURRENT = {"in": RANDOM.randn(2, 6), "back": RANDOM.randn(6, 6) * 0.3, "out": RANDOM.randn(6, 2)}
GATES = {name: RANDOM.randn(6, 4) for name in ("change", "forget", "ingate", "outgate")}


# ---------------------------------------------------------------- probability


def variational_objective(parameters, noise):
    mean, log_scale = parameters[:2], parameters[2:]
    samples = noise * np.exp(log_scale) + mean
    mu, log_sigma = samples[:, 0], samples[:, 1]
    density = norm.logpdf(log_sigma, 0, 1.35) + norm.logpdf(mu, 0, np.exp(log_sigma))
    return -(np.sum(log_scale) + np.mean(density))


def variational_inference(parameters, noise):
    def gradient(at, iteration):
        return grad(variational_objective)(at, noise)

    return rmsprop(gradient, parameters, num_iters=10, step_size=0.1)


def gaussian_process(parameters, points, targets):
    scale, noise, length = np.exp(parameters[0]), np.exp(parameters[1]), np.exp(parameters[2])
    distances = (points[:, None] - points[None, :]) / length
    covariance = scale * np.exp(-0.5 * distances**2) + (noise + 1e-3) * np.eye(points.shape[0])
    _, logarithm = np.linalg.slogdet(covariance)
    return 0.5 * np.dot(targets, np.linalg.solve(covariance, targets)) + 0.5 * logarithm


def logistic_loss(weights, inputs, targets):
    chances = 0.5 * (np.tanh(np.dot(inputs, weights)) + 1)
    return -np.sum(np.log(chances * targets + (1 - chances) * (1 - targets)))


def logistic_regression(weights, inputs, targets):
    return sgd(lambda w, _: grad(logistic_loss)(w, inputs, targets), weights, num_iters=10, step_size=0.01)


# ---------------------------------------------------------------- operators

derivative = np.tanh
for _ in range(3):
    derivative = elementwise_grad(derivative)


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


rosenbrock_product = hessian_vector_product(rosenbrock)
rosenbrock_value_and_gradient = value_and_grad(rosenbrock)


def newton_directions(x, v):
    value, gradient = rosenbrock_value_and_gradient(x)
    return value, gradient, rosenbrock_product(x, v)


def flat_norm(parameters):
    flat, unflatten = flatten(parameters)
    return np.sum(flat**2), unflatten(flat / 2)


LINE = np.linspace(-2.0, 2.0, 50)
PAIR = np.array([0.3, 0.5])
INPUTS = RANDOM.randn(20, 3)
PROGRAMS = {
    "neural network": (train_network, (LAYERS, IMAGES, LABELS)),
    "neural network, one step": (network_step, (LAYERS, IMAGES, LABELS)),
    "recurrent network": (grad(recurrent_loss), (RECURRENT, RANDOM.randn(5, 4, 2), RANDOM.randn(5, 4, 2))),
    "lstm": (grad(lstm_loss), (GATES, RANDOM.randn(4, 3, 2))),
    "variational inference": (variational_inference, (np.array([-1.0, -1.0, -2.0, -2.0]), RANDOM.randn(30, 2))),
    "gaussian process": (grad(gaussian_process), (np.zeros(3), np.linspace(0, 3, 12), RANDOM.randn(12))),
    "logistic regression": (logistic_regression, (np.zeros(3), INPUTS, INPUTS[:, 0] > 0)),
    "third derivative of tanh": (lambda x: derivative(x), (LINE,)),
    "rosenbrock": (newton_directions, (PAIR, np.ones(2))),
    "jacobian": (lambda x: jacobian(lambda y: y**2 * np.sum(np.sin(y)))(x), (PAIR,)),
    "flatten": (flat_norm, (LAYERS,)),
}
