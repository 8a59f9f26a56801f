"""A small LSTM language model as pure functions, and streams to evaluate it on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import LSTMCarry, init_lstm, lstm

V, H = 5, 6


@functools.cache
def parameters(forget_bias=1.0, scale=1.0):
    """Random ones; the embedding is one-hot."""
    keys = jax.random.split(jax.random.key(0), 3)
    cell = init_lstm(keys[0], V, H, forget_bias=forget_bias)
    return {
        "cell": cell._replace(w_x=scale * cell.w_x),
        "kernel": jax.random.normal(keys[1], (H, V)),
        "bias": jax.random.normal(keys[2], (V,)),
    }


def start(rows=1, dtype=jnp.float32):
    zeros = jnp.zeros((rows, H), dtype)
    return LSTMCarry(zeros, zeros)


def nats(params, carry, inputs, targets):
    xs = jax.nn.one_hot(inputs, V, dtype=params["bias"].dtype)
    carry, hs = lstm(params["cell"], carry, xs, implementation="scan")
    log_p = jax.nn.log_softmax(hs @ params["kernel"] + params["bias"][None, None])
    return carry, -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]


def loss(params, carry, inputs, targets):
    carry, each = nats(params, carry, inputs, targets)
    return carry, each.mean()


def stream(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length)
