"""An LSTM whose nodes are objects in a list, one a time step, with state and derivatives in attributes."""

import numpy as np


def sigmoid(x):
    return 1.0 / (1 + np.exp(-x))


class LstmParam:
    def __init__(self, cells, inputs, rng):
        self.cells, self.inputs = cells, inputs
        width = inputs + cells
        for gate in "gifo":
            setattr(self, f"w{gate}", rng.uniform(-0.1, 0.1, (cells, width)))
            setattr(self, f"b{gate}", rng.uniform(-0.1, 0.1, cells))
        self.zero()

    def zero(self):
        for gate in "gifo":
            setattr(self, f"w{gate}_diff", np.zeros_like(getattr(self, f"w{gate}")))
            setattr(self, f"b{gate}_diff", np.zeros_like(getattr(self, f"b{gate}")))

    def apply_diff(self, rate=1.0):
        for gate in "gifo":
            weights, bias = getattr(self, f"w{gate}"), getattr(self, f"b{gate}")
            weights -= rate * getattr(self, f"w{gate}_diff")
            bias -= rate * getattr(self, f"b{gate}_diff")
        self.zero()


class LstmState:
    def __init__(self, cells, inputs):
        self.g, self.i, self.f, self.o = (np.zeros(cells) for _ in range(4))
        self.s, self.h = np.zeros(cells), np.zeros(cells)
        self.bottom_diff_h, self.bottom_diff_s = np.zeros(cells), np.zeros(cells)


class LstmNode:
    def __init__(self, param, state):
        self.param, self.state = param, state

    def bottom_data_is(self, x, s_prev=None, h_prev=None):
        if s_prev is None:
            s_prev = np.zeros_like(self.state.s)
        if h_prev is None:
            h_prev = np.zeros_like(self.state.h)
        self.s_prev, self.h_prev = s_prev, h_prev
        xc = np.hstack((x, h_prev))
        p, state = self.param, self.state
        state.g = np.tanh(np.dot(p.wg, xc) + p.bg)
        state.i = sigmoid(np.dot(p.wi, xc) + p.bi)
        state.f = sigmoid(np.dot(p.wf, xc) + p.bf)
        state.o = sigmoid(np.dot(p.wo, xc) + p.bo)
        state.s = state.g * state.i + s_prev * state.f
        state.h = state.s * state.o
        self.xc = xc

    def top_diff_is(self, top_diff_h, top_diff_s):
        p, state = self.param, self.state
        ds = state.o * top_diff_h + top_diff_s
        do = state.s * top_diff_h
        di, dg, df = state.g * ds, state.i * ds, self.s_prev * ds
        di_input = state.i * (1.0 - state.i) * di
        df_input = state.f * (1.0 - state.f) * df
        do_input = state.o * (1.0 - state.o) * do
        dg_input = (1.0 - state.g**2) * dg
        dxc = np.zeros_like(self.xc)
        for gate, d in (("i", di_input), ("f", df_input), ("o", do_input), ("g", dg_input)):
            weights_diff = getattr(p, f"w{gate}_diff")
            weights_diff += np.outer(d, self.xc)
            bias_diff = getattr(p, f"b{gate}_diff")
            bias_diff += d
            dxc += np.dot(getattr(p, f"w{gate}").T, d)
        state.bottom_diff_s = ds * state.f
        state.bottom_diff_h = dxc[p.inputs :]


class LstmNetwork:
    def __init__(self, param):
        self.param = param
        self.nodes, self.inputs = [], []

    def y_list_is(self, ys):
        index = len(self.inputs) - 1
        loss = (self.nodes[index].state.h[0] - ys[index]) ** 2
        diff_h = np.zeros_like(self.nodes[index].state.h)
        diff_h[0] = 2 * (self.nodes[index].state.h[0] - ys[index])
        self.nodes[index].top_diff_is(diff_h, np.zeros(self.param.cells))
        index -= 1
        while index >= 0:
            loss += (self.nodes[index].state.h[0] - ys[index]) ** 2
            diff_h = np.zeros_like(self.nodes[index].state.h)
            diff_h[0] = 2 * (self.nodes[index].state.h[0] - ys[index])
            diff_h += self.nodes[index + 1].state.bottom_diff_h
            self.nodes[index].top_diff_is(diff_h, self.nodes[index + 1].state.bottom_diff_s)
            index -= 1
        return loss

    def x_list_add(self, x):
        self.inputs.append(x)
        if len(self.inputs) > len(self.nodes):
            self.nodes.append(LstmNode(self.param, LstmState(self.param.cells, self.param.inputs)))
        index = len(self.inputs) - 1
        if index == 0:
            self.nodes[index].bottom_data_is(x)
        else:
            before = self.nodes[index - 1].state
            self.nodes[index].bottom_data_is(x, before.s, before.h)


def train_step(network, xs, ys):
    for x in xs:
        network.x_list_add(x)
    loss = network.y_list_is(ys)
    network.param.apply_diff(0.1)
    network.inputs = []
    return loss


def build(jit):
    """Return the step to call with a number, and the state it leaves."""
    rng = np.random.default_rng(0)
    network = LstmNetwork(LstmParam(12, 6, rng))
    xs, ys = [rng.random(6) for _ in range(4)], [-0.5, 0.2, 0.1, -0.5]
    step = jit(train_step)
    return lambda number: step(network, xs, ys), lambda: network, step


STEPS = 40
