"""The two calls of cuDNN, forward and backward, for any batch axes.

Forward fills a reserve space, which backward reads. It is one opaque vector for all
rows of the call.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import rnn

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.lstm import LSTMParams
from lstm_jax.kernels.cudnn.rows import Rows
from lstm_jax.kernels.cudnn.weights import pack, unpack
from lstm_jax.kernels.lstm.operands import Operands, Outputs

BY = ("xs", "w_x", "w_h", "b", "h0", "c0")
"""The operands that have gradients."""


def forward(
    at: Operands, *, reverse: bool, precision: lax.Precision
) -> tuple[Outputs, Float[Array, "R"]]:
    """The outputs, and the reserve space."""
    rows = _rows(at, reverse)
    call = rnn.lstm_fwd(*_arguments(at, rows), *_static(at, precision))
    (y, h, c), (*_, reserve) = call
    hs = rows.take(y).reshape(*at.xs.shape[:-1], -1)
    h, c = (
        rows.take_state(state, _flat(kept)).reshape(kept.shape)
        for state, kept in ((h, at.h0), (c, at.c0))
    )
    return Outputs(hs, h, c), reserve


def backward(
    at: Operands,
    hs: Float[Array, "T *B H"],
    reserve: Float[Array, "R"],
    d_out: Outputs,
    *,
    reverse: bool,
    precision: lax.Precision,
) -> dict[str, Array]:
    """Gradients by the operands `BY`, by name, in their shapes and dtypes.

    Args:
        hs, reserve: outputs and reserve space of `forward`.
        d_out: gradients by the outputs.
    """
    rows = _rows(at, reverse)
    d_h, d_c = _flat(d_out.h), _flat(d_out.c)
    residuals = (*_arguments(at, rows), rows.give(_flat(hs, 1)), _copy(reserve, d_out))
    cotangents = (
        rows.give(_flat(d_out.hs, 1)),
        rows.give_state(d_h),
        rows.give_state(d_c),
    )
    call = rnn.lstm_bwd(*_static(at, precision), residuals, cotangents)
    dx, dh_0, dc_0, dw, _ = call
    d_params = unpack(dw, at.xs.shape[-1], at.h0.shape[-1])
    d_states = rows.take_state(dh_0, d_h), rows.take_state(dc_0, d_c)
    gradients = dict(zip(BY, (rows.take(dx), *d_params, *d_states), strict=True))
    like = lambda d, a: d.reshape(a.shape).astype(a.dtype)
    return {name: like(d, getattr(at, name)) for name, d in gradients.items()}


def reserve_size(at: Operands, precision: lax.Precision) -> int:
    """The size of the reserve space. JAX asks its GPU plugin for it."""
    (T, *_, D), H = at.xs.shape, at.h0.shape[-1]
    B, static = at.h0.size // H, _static(at, precision)
    floats = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    weights = floats(rnn.get_num_params_in_lstm(D, H, 1, bidirectional=False))
    state, lengths = floats(1, B, H), jax.ShapeDtypeStruct((B,), jnp.int32)
    arguments = (floats(B, T, D), state, state, weights, lengths)
    forward = lambda x, h, c, w, n: rnn.lstm_fwd(x, h, c, w, n, *static)
    call = jax.eval_shape(forward, *arguments)
    _, (*_, reserve) = call
    return reserve.size


def _rows(at, reverse):
    T, B = at.xs.shape[0], at.h0.size // at.h0.shape[-1]
    mask = None if at.mask is None else at.mask.reshape(T, B)
    return Rows((T, B), mask, reverse)


def _arguments(at, rows):
    """The arrays of a call: inputs, states, weights and lengths."""
    return (
        rows.give(_flat(at.xs, 1)),
        rows.give_state(_flat(at.h0)),
        rows.give_state(_flat(at.c0)),
        pack(LSTMParams(at.w_x, at.w_h, at.b)),
        rows.lengths(),
    )


def _static(at, precision):
    """Sizes, one layer, no dropout, one direction, and the precision."""
    return at.xs.shape[-1], at.h0.shape[-1], 1, 0.0, False, precision


def _flat(a, begin=0):
    """Merges the batch axes, which start at ``begin``."""
    return a.reshape(*a.shape[:begin], -1, a.shape[-1])


def _copy(reserve, d_out):
    """The reserve space, in memory of its own for every gradient ``d_out``.

    cuDNN's backward call writes into the reserve space. XLA does not know, and would
    give two calls the same memory: in a loop over gradients, or if the function of
    `jax.vjp` is called twice. ``never`` is False, but XLA cannot tell, and it depends
    on the gradient. So each call needs its own copy.
    """
    d_out = lax.optimization_barrier(d_out)
    never = 0 * sum(d.ravel()[0] for d in d_out) > 0
    return jnp.where(never, jnp.zeros_like(reserve), reserve)
