"""The LSTMs of other JAX libraries, given our weights and called as their users would.

A peer is a function from `LSTMParams` to a `Peer`. It imports its library itself, and
an ImportError means that the peer is missing. All take time-major inputs ``[T, B, D]``,
the layout in which none has to transpose, and start from a zero state.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import LSTMParams, lstm

GATES = "ifgo"


class Peer(NamedTuple):
    """One library's LSTM.

    ``apply(params, xs)`` gives ``hs``; ``to_ours`` brings the library's parameters, and
    so the gradient with respect to them, into the layout of `LSTMParams`.
    """

    params: Any
    apply: Callable[[Any, Any], Any]
    to_ours: Callable[[Any], LSTMParams]


def ours(params: LSTMParams) -> Peer:
    return Peer(params, lambda p, xs: lstm(p, None, xs)[1], lambda grads: grads)


def ours_by_scan(params: LSTMParams) -> Peer:
    apply = lambda p, xs: lstm(p, None, xs, implementation="scan")[1]
    return Peer(params, apply, lambda grads: grads)


def ours_by_kernel(params: LSTMParams) -> Peer:
    apply = lambda p, xs: lstm(p, None, xs, implementation="native")[1]
    return Peer(params, apply, lambda grads: grads)


def linen_lstm(params: LSTMParams) -> Peer:
    from flax import linen

    return _linen(linen, linen.LSTMCell, params)


def linen_optimized(params: LSTMParams) -> Peer:
    from flax import linen

    return _linen(linen, linen.OptimizedLSTMCell, params)


def _linen(linen, cell, params):
    rnn = linen.RNN(cell(params.w_h.shape[0]), time_major=True)
    apply = lambda p, xs: rnn.apply({"params": {"cell": p}}, xs)
    return Peer(_by_gate(params), apply, _from_gates)


def nnx_lstm(params: LSTMParams) -> Peer:
    from flax import nnx

    # ``if`` is no name for an attribute.
    rename = lambda tree, old, new: {new if k == old else k: tree[k] for k in tree}
    return _nnx(
        nnx,
        nnx.LSTMCell,
        params,
        rename(_by_gate(params), "if", "if_"),
        lambda cell: _from_gates(rename(cell, "if_", "if")),
    )


def nnx_optimized(params: LSTMParams) -> Peer:
    from flax import nnx

    weights = {
        "dense_i": {"kernel": params.w_x},
        "dense_h": {"kernel": params.w_h, "bias": params.b},
    }
    to_ours = lambda cell: LSTMParams(
        cell["dense_i"]["kernel"], cell["dense_h"]["kernel"], cell["dense_h"]["bias"]
    )
    return _nnx(nnx, nnx.OptimizedLSTMCell, params, weights, to_ours)


def _nnx(nnx, cell, params, weights, to_ours):
    in_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]
    # What it draws is replaced, and in bfloat16 it cannot draw orthogonal weights.
    zeros = nnx.initializers.zeros_init()
    options = dict(recurrent_kernel_init=zeros, param_dtype=params.w_x.dtype)
    options["rngs"] = nnx.Rngs(0)
    module = nnx.RNN(cell(in_size, hidden_size, **options), time_major=True)
    graphdef, state, rest = nnx.split(module, nnx.Param, ...)
    nnx.replace_by_pure_dict(state, {"cell": weights})
    return Peer(
        state,
        lambda state, xs: nnx.merge(graphdef, state, rest, copy=True)(xs),
        lambda state: to_ours(nnx.to_pure_dict(state)["cell"]),
    )


def equinox(params: LSTMParams) -> Peer:
    import equinox as eqx  # pyright: ignore[reportMissingImports]

    in_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]
    cell = eqx.nn.LSTMCell(in_size, hidden_size, key=jax.random.key(0))
    leaves = lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias)
    cell = eqx.tree_at(leaves, cell, (params.w_x.T, params.w_h.T, params.b))

    def apply(cell, xs):
        def step(state, x):
            state = cell(x, state)
            return state, state[0]

        zeros = jnp.zeros(hidden_size)
        sequence = lambda xs: jax.lax.scan(step, (zeros, zeros), xs)[1]
        return jax.vmap(sequence, in_axes=1, out_axes=1)(xs)

    to_ours = lambda cell: LSTMParams(cell.weight_ih.T, cell.weight_hh.T, cell.bias)
    return Peer(cell, apply, to_ours)


def haiku(params: LSTMParams) -> Peer:
    import haiku as hk  # pyright: ignore[reportMissingImports]

    in_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]

    @hk.without_apply_rng
    @hk.transform
    def unroll(xs):
        core = hk.LSTM(hidden_size)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    # The gates are i, g, f, o, and 1 is added to the forget gate at run time.
    i, f, g, o = jnp.split(params.b, 4)
    linear = {
        "w": _swap_f_and_g(jnp.concatenate([params.w_x, params.w_h])),
        "b": jnp.concatenate([i, g, f - 1, o]),
    }

    def to_ours(tree):
        w = _swap_f_and_g(tree["lstm/linear"]["w"])
        b = _swap_f_and_g(tree["lstm/linear"]["b"])
        return LSTMParams(w[:in_size], w[in_size:], b)

    return Peer({"lstm/linear": linear}, unroll.apply, to_ours)


def keras(params: LSTMParams) -> Peer:
    # Read when keras is imported, which is here: a peer has a process of its own.
    os.environ["KERAS_BACKEND"] = "jax"
    import keras  # pyright: ignore[reportMissingImports]

    layer = keras.layers.LSTM(params.w_h.shape[0], return_sequences=True)
    layer.build((None, None, params.w_x.shape[0]))
    state = [variable.value for variable in layer.non_trainable_variables]

    def apply(weights, xs):
        # It takes batches first and swaps the axes itself; XLA drops both swaps.
        outputs, *_ = layer.stateless_call(weights, state, xs.swapaxes(0, 1))
        return outputs.swapaxes(0, 1)

    # Kernel, recurrent kernel, bias; gates i, f, c, o.
    return Peer(list(params), apply, lambda weights: LSTMParams(*weights))


JAX_PEERS = {
    "linen LSTMCell": linen_lstm,
    "linen Optimized": linen_optimized,
    "nnx LSTMCell": nnx_lstm,
    "nnx Optimized": nnx_optimized,
    "equinox": equinox,
    "haiku": haiku,
    "keras": keras,
}


def _by_gate(params):
    """Flax's four input and four recurrent kernels; the bias goes with the latter."""
    w_x, w_h, b = (jnp.split(leaf, 4, axis=-1) for leaf in params)
    inputs = {f"i{n}": {"kernel": w} for n, w in zip(GATES, w_x, strict=True)}
    hidden = {
        f"h{n}": {"kernel": w, "bias": bias}
        for n, w, bias in zip(GATES, w_h, b, strict=True)
    }
    return inputs | hidden


def _from_gates(tree):
    join = lambda side, leaf: jnp.concatenate([tree[side + n][leaf] for n in GATES], -1)
    return LSTMParams(join("i", "kernel"), join("h", "kernel"), join("h", "bias"))


def _swap_f_and_g(w):
    a, b, c, d = jnp.split(w, 4, axis=-1)
    return jnp.concatenate([a, c, b, d], axis=-1)
