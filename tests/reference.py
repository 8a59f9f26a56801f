"""The oracle: one row and one step at a time, in float64, from the equations.

It imports nothing from the package. Weights are ``(w_x, w_h, b)`` with the gates side
by side in the order i, f, g, o; an LSTM's state is ``(h, c)``, a plain network's
``(h,)``; inputs are ``[T, B, ..., D]`` and flags ``[T, B]``.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


ACTIVATIONS = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z, alpha=0.01: np.where(z >= 0, z, alpha * z),
    "thresholded_relu": lambda z, alpha=1.0: np.where(z >= alpha, z, 0),
    "elu": lambda z, alpha=1.0: np.where(z >= 0, z, alpha * (np.exp(z) - 1)),
    "affine": lambda z, alpha=1.0, beta=0.0: alpha * z + beta,
    "hard_sigmoid": lambda z, alpha=0.2, beta=0.5: np.clip(alpha * z + beta, 0, 1),
    "scaled_tanh": lambda z, alpha=1.7159, beta=2 / 3: alpha * np.tanh(beta * z),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "softsign": lambda z: z / (1 + np.abs(z)),
}
"""The functions of ONNX's recurrent operators."""


class Functions(NamedTuple):
    """What a step applies, and where it clips."""

    gate: Callable = sigmoid
    candidate: Callable = np.tanh
    output: Callable = np.tanh
    clip: float = np.inf
    cell_clip: float = np.inf

    def of_gate(self, z):
        return self.gate(np.clip(z, -self.clip, self.clip))

    def of_candidate(self, z):
        return self.candidate(np.clip(z, -self.clip, self.clip))

    def of_state(self, c):
        return np.clip(c, -self.cell_clip, self.cell_clip)


TEXTBOOK = Functions()


def lstm_gates(weights, h, c, x, act=TEXTBOOK):
    """``i, f, g, o`` and the next ``c`` and ``h`` of one row."""
    w_x, w_h, b = weights
    z_i, z_f, z_g, z_o = np.split(x @ w_x + h @ w_h + b, 4)
    i, f, o = act.of_gate(z_i), act.of_gate(z_f), act.of_gate(z_o)
    g = act.of_candidate(z_g)
    c = act.of_state(f * c + i * g)
    return i, f, g, o, c, o * act.output(c)


def lstm_step(weights, state, x, act=TEXTBOOK):
    *_, c, h = lstm_gates(weights, *state, x, act)
    return (h, c)


def rnn_step(weights, state, x, act=TEXTBOOK):
    w_x, w_h, b = weights
    return (act.of_candidate(x @ w_x + state[0] @ w_h + b),)


def forward(
    step,
    weights,
    carry,
    xs,
    *,
    mask=None,
    resets=None,
    reset_carry=None,
    reverse=False,
    tape=None,
):
    """``(carry, hs)``; every step taken is written on ``tape``, in order.

    A reset lies on the boundary before its step. Going backwards, the state crosses
    that boundary after the step, on its way to the one before it.
    """
    weights = [np.asarray(w, np.float64) for w in weights]
    xs = np.asarray(xs, np.float64)
    steps, rows = xs.shape[:2]
    carry = [np.array(part, np.float64) for part in carry]
    if reset_carry is None:
        reset_carry = [np.zeros_like(part) for part in carry]
    hs = np.zeros((steps, *carry[0].shape))
    for row in range(rows):
        state = tuple(part[row].copy() for part in carry)
        for t in reversed(range(steps)) if reverse else range(steps):
            boundary = t + 1 if reverse else t
            reset = resets is not None and boundary < steps and resets[boundary, row]
            if reset:
                state = tuple(np.asarray(p[row], np.float64) for p in reset_carry)
            real = mask is None or mask[t, row]
            if tape is not None:
                tape.append((t, row, reset, real, state))
            if real:
                state = step(weights, state, xs[t, row])
                hs[t, row] = state[0]
        for part, value in zip(carry, state, strict=True):
            part[row] = value
    return tuple(carry), hs


def lstm_backward(weights, carry, xs, d_carry, d_hs, **options):
    """Gradients by hand: ``(dw_x, dw_h, db), (dh, dc), dxs, (dh_reset, dc_reset)``.

    ``d_carry`` and ``d_hs`` are the gradients of the final carry and of the outputs;
    ``options`` are those of `forward`.
    """
    forward(lstm_step, weights, carry, xs, tape=(tape := []), **options)
    w_x, w_h, b = (np.asarray(w, np.float64) for w in weights)
    dw_x, dw_h, db = np.zeros_like(w_x), np.zeros_like(w_h), np.zeros_like(b)
    dxs = np.zeros(np.shape(xs))
    dh, dc = (np.array(d, np.float64) for d in d_carry)
    dh_reset, dc_reset = np.zeros_like(dh), np.zeros_like(dc)
    for t, row, reset, real, (h, c) in reversed(tape):
        if real:
            x = xs[t, row]
            i, f, g, o, c_new, _ = lstm_gates((w_x, w_h, b), h, c, x)
            d_h = dh[row] + d_hs[t, row]
            d_c = dc[row] + d_h * o * (1 - np.tanh(c_new) ** 2)
            dz = np.concatenate(
                [
                    d_c * g * i * (1 - i),
                    d_c * c * f * (1 - f),
                    d_c * i * (1 - g**2),
                    d_h * np.tanh(c_new) * o * (1 - o),
                ]
            )
            dw_x += np.outer(x, dz)
            dw_h += np.outer(h, dz)
            db += dz
            dxs[t, row] = w_x @ dz
            dh[row] = w_h @ dz
            dc[row] = d_c * f
        if reset:
            dh_reset[row] += dh[row]
            dc_reset[row] += dc[row]
            dh[row] = dc[row] = 0
    return (dw_x, dw_h, db), (dh, dc), dxs, (dh_reset, dc_reset)
