"""REINFORCE on a cart with a pole; the environment is a black box to the compiler."""

import math

import numpy as np

# a black box: code without source, as an environment written in C would be
_SOURCE = """
class CartPole:
    def reset(self, rng):
        self.state = rng.uniform(-0.05, 0.05, 4)
        self.steps = 0
        return self.state.copy()

    def step(self, action):
        x, v, angle, spin = self.state.tolist()
        force = 10.0 if action == 1 else -10.0
        push = (force + 0.05 * spin**2 * math.sin(angle)) / 1.1
        turn = (9.8 * math.sin(angle) - math.cos(angle) * push) / (0.5 * (4.0 / 3.0 - 0.1 * math.cos(angle) ** 2 / 1.1))
        slide = push - 0.05 * turn * math.cos(angle) / 1.1
        self.state = np.array([x + 0.02 * v, v + 0.02 * slide, angle + 0.02 * spin, spin + 0.02 * turn])
        self.steps += 1
        done = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21 or self.steps >= 60
        return self.state.copy(), 1.0, bool(done)
"""


def make_environment():
    space = {"np": np, "math": math}
    exec(_SOURCE, space)
    return space["CartPole"]()


def learn(params, observations, hiddens, dlogits, rewards, rate, gamma):
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = running * gamma + rewards[t]
        returns[t] = running
    returns -= returns.mean()
    deviation = returns.std()
    if deviation > 0:
        returns /= deviation
    error = np.array(dlogits) * returns
    H, X = np.vstack(hiddens), np.vstack(observations)
    params["W1"] += rate * X.T @ (np.outer(error, params["W2"]) * (1 - H**2))
    params["W2"] += rate * H.T @ error


def run_episode(env, params, rng, rate=0.01, gamma=0.99):
    observation = env.reset(rng)
    observations, hiddens, dlogits, rewards = [], [], [], []
    done = False
    while not done:
        hidden = np.tanh(observation @ params["W1"])
        logit = hidden @ params["W2"]
        probability = 1.0 / (1.0 + np.exp(-logit))
        action = 1 if rng.random() < probability else 0
        observations.append(observation)
        hiddens.append(hidden)
        dlogits.append(action - probability)
        observation, reward, done = env.step(action)
        rewards.append(reward)
    learn(params, observations, hiddens, dlogits, rewards, rate, gamma)
    return len(rewards)


def build(jit):
    """Return the step to call with a number, and the state it leaves."""
    weights = np.random.default_rng(0)
    params = {"W1": weights.normal(size=(4, 8)) * 0.5, "W2": weights.normal(size=8) * 0.5}
    env, rng = make_environment(), np.random.default_rng(1)
    step = jit(run_episode)
    return lambda number: step(env, params, rng), lambda: (params, rng.bit_generator.state, env.state), step


STEPS = 15
