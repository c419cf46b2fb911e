"""REINFORCE on gymnasium's CartPole: the environment is a library's Python, in wrappers of wrappers."""

import gymnasium
import numpy as np

from tests.from_scratch.reinforce import learn


def run_episode(env, params, rng, seed, rate=0.01, gamma=0.99):
    observation, _ = env.reset(seed=seed)
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
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        done = terminated or truncated
    learn(params, observations, hiddens, dlogits, rewards, rate, gamma)
    return len(rewards)


def build(jit):
    """Return the step to call with a number, and the state it leaves."""
    weights = np.random.default_rng(0)
    params = {"W1": weights.normal(size=(4, 8)) * 0.5, "W2": weights.normal(size=8) * 0.5}
    env, rng = gymnasium.make("CartPole-v1"), np.random.default_rng(1)
    step = jit(run_episode)

    def state():
        return params, rng.bit_generator.state, env.unwrapped.state, env.unwrapped.np_random.bit_generator.state

    return lambda number: step(env, params, rng, number), state, step


STEPS = 15
