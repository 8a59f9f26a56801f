"""The weights of a layer as cuDNN's flat vector, and a gradient by that vector back.

    w_x.T [4H, D], w_h.T [4H, H], b [4H], zeros [4H]

The gates have our order. cuDNN adds two biases, so the second is 0. Both have the same
gradient, and ours is the first.
"""

import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core.cells.lstm import LSTMParams


def pack(params: LSTMParams) -> Float[Array, "N"]:
    """The vector of `jax.experimental.rnn`, in float32."""
    w_x, w_h, b = (p.astype(jnp.float32) for p in params)
    return jnp.concatenate([w_x.T.ravel(), w_h.T.ravel(), b, jnp.zeros_like(b)])


def unpack(vector: Float[Array, "N"], in_size: int, hidden_size: int) -> LSTMParams:
    """The first three parts of the vector."""
    D, H = in_size, hidden_size
    w_x, w_h, b, _ = jnp.split(
        vector, [4 * H * D, 4 * H * (D + H), 4 * H * (D + H + 1)]
    )
    return LSTMParams(w_x.reshape(4 * H, D).T, w_h.reshape(4 * H, H).T, b)
