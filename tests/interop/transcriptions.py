"""Peers that do not run here, in float32 numpy, one line for a line of their sources.

haste: lib/lstm_forward_gpu.cu.cc, lib/gru_forward_gpu.cu.cc,
lib/layer_norm_lstm_forward_gpu.cu.cc of https://github.com/lmnt-com/haste.
TensorFlow: rnn_cell_impl.py (`LSTMCell.call`) and the documentation of the operators
LSTMBlockCell, BlockLSTM and BlockLSTMV2. Nothing here knows of the package.
"""

import numpy as np


def sigmoid(z):
    return (1 / (1 + np.exp(-z))).astype(z.dtype)


def normalise(a, gamma, beta=0.0):
    a = a - a.mean(axis=-1, keepdims=True, dtype=a.dtype)
    scale = 1 / np.sqrt(np.square(a).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return a * scale.astype(a.dtype) * gamma + np.float32(beta)


def haste_lstm(w, x, state):
    h, c = state
    v = x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
    i, g, f, o = np.split(v, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def haste_layer_norm_lstm(w, x, state):
    h, c = state
    v = normalise(x @ w["kernel"], w["gamma"][0]) + w["bias"]
    v = v + normalise(h @ w["recurrent_kernel"], w["gamma"][1])
    i, g, f, o = np.split(v, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(normalise(c, w["gamma_h"], w["beta_h"])), c


def haste_gru(w, x, state):
    (h,) = state
    x_z, x_r, x_g = np.split(x @ w["kernel"] + w["bias"], 3, axis=-1)
    h_z, h_r, h_g = np.split(
        h @ w["recurrent_kernel"] + w["recurrent_bias"], 3, axis=-1
    )
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    return (z * h + (1 - z) * np.tanh(x_g + r * h_g),)


def tf_lstm_cell(w, x, state):
    """LSTMCell: gates i, j, f, o; peepholes and a projection if there are any."""
    c, h = state
    z = np.concatenate([x, h], axis=-1) @ w["kernel"] + w["bias"]
    i, j, f, o = np.split(z, 4, axis=-1)
    diag = lambda gate, c: c * w.get(f"w_{gate}_diag", np.float32(0))
    f, i = f + np.float32(1) + diag("f", c), i + diag("i", c)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(j)
    m = sigmoid(o + diag("o", c)) * np.tanh(c)
    if "projection/kernel" in w:
        m = m @ w["projection/kernel"]
    return c, m


def tf_block(order, forget_bias):
    """One step of BlockLSTM (gates i, c, f, o) or BlockLSTMV2 (i, f, c, o)."""

    def step(w, x, state):
        cs, h = state
        z = np.concatenate([x, h], axis=-1) @ w["w"] + w["b"]
        gate = dict(zip(order, np.split(z, 4, axis=-1), strict=True))
        seen = lambda name, cs: cs * w.get(name, np.float32(0))
        i = sigmoid(seen("wci", cs) + gate["i"])
        f = sigmoid(seen("wcf", cs) + gate["f"] + np.float32(forget_bias))
        cs = np.tanh(gate["c"]) * i + cs * f
        return cs, sigmoid(seen("wco", cs) + gate["o"]) * np.tanh(cs)

    return step
