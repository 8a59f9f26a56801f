"""Initialisers of gate weights and biases.

A fused ``[n, 4H]`` matrix is four matrices next to each other. Each matrix is drawn
separately. A single draw for all four would give Glorot the wrong fan, and no gate
would be orthogonal. Draws are float32 and then cast, because QR has no 16-bit form.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Key
from lstm_jax.core.arguments import check_dtype, check_size
from lstm_jax.core.precision import accumulation_dtype

Initializer = Callable[..., Array]
"""``(key, shape, dtype) -> array``, as in ``jax.nn.initializers``."""

glorot = jax.nn.initializers.glorot_uniform()
"""Glorot & Bengio 2010: the default of input weights."""

orthogonal = jax.nn.initializers.orthogonal()
"""Saxe, McClelland & Ganguli 2014: the default of recurrent weights."""

zeros = jax.nn.initializers.zeros


def uniform(scale: float | None = None) -> Initializer:
    """U(-scale, scale); ``None`` takes ``1/sqrt(n)`` for a last axis of ``n``.

    For most gates ``n`` is ``H``, the number of hidden units, as in torch.

    >>> import jax
    >>> from lstm_jax import init, init_lstm
    >>> uniform = init.uniform()
    >>> params = init_lstm(jax.random.key(0), 3, 25, w_x=uniform, w_h=uniform)
    >>> bool(abs(params.w_x).max() <= 1 / 5)
    True
    """

    def init(key, shape, dtype=jnp.float32):
        bound = shape[-1] ** -0.5 if scale is None else scale
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def identity(scale: float = 1.0) -> Initializer:
    """``scale`` times the identity, for the recurrent weights of a plain RNN.

    Le, Jaitly & Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified
    Linear Units", 2015. The initialiser raises ValueError for a matrix that is not
    square.

    >>> import jax
    >>> from lstm_jax import RNNCell, init
    >>> RNNCell(2).init(jax.random.key(0), 3, w_h=init.identity(0.5)).w_h.tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """

    def init(key, shape, dtype=jnp.float32):
        del key
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(
                f"identity is asked for the shape {shape}, expected a square [H, H]; "
                f"use init.orthogonal or init.glorot."
            )
        return jnp.asarray(scale, dtype) * jnp.eye(shape[0], dtype=dtype)

    return init


ForgetBias = float | Callable[..., tuple[Array, Array]]
"""A number for the forget gate (the input gate gets 0), or a function
``(key, shape, dtype) -> (b_i, b_f)``, such as `chrono`."""


def chrono(max_steps: int) -> ForgetBias:
    """``forget_bias`` of an LSTM for dependencies of up to ``max_steps`` steps.

        b_f ~ log(U[1, max_steps - 1])        b_i = -b_f

    Tallec & Ollivier, "Can Recurrent Neural Networks Warp Time?", ICLR 2018: a unit
    with ``sigmoid(b_f) = 1 - 1/(1 + u)`` forgets after about ``u`` steps. Coupled gates
    have ``b_i = -b_f`` by construction.

    Raises:
        ValueError: ``max_steps`` is less than 2.

    >>> import jax
    >>> from lstm_jax import init, init_lstm
    >>> params = init_lstm(jax.random.key(0), 3, 5, forget_bias=init.chrono(100))
    >>> b_i, b_f, *_ = params.b.reshape(4, 5)
    >>> bool((b_i == -b_f).all()), bool((b_f >= 0).all())
    (True, True)
    """
    if not max_steps >= 2:
        raise ValueError(
            f"max_steps is {max_steps}, expected 2 or more, the longest dependency."
        )

    def init(key, shape, dtype=jnp.float32):
        b_f = jnp.log(jax.random.uniform(key, shape, dtype, 1.0, max_steps - 1.0))
        return -b_f, b_f

    return init


def gate_bias(
    forget_bias: ForgetBias, key: Key[Array, ""], hidden_size: int, dtype=jnp.float32
) -> Float[Array, "gH"]:
    """The bias ``[4H]`` of the gates i, f, g, o. The biases of g and o are 0."""
    zero = jnp.zeros(hidden_size, dtype)
    if callable(forget_bias):
        biases = forget_bias(key, (hidden_size,), accumulation_dtype(dtype))
        b_i, b_f = (b.astype(dtype) for b in biases)
    else:
        b_i, b_f = zero, jnp.full(hidden_size, forget_bias, dtype)
    return jnp.concatenate([b_i, b_f, zero, zero])


def per_gate(
    initializer: Initializer,
    key: Key[Array, ""],
    shape: tuple[int, ...],
    gates: int,
    dtype=jnp.float32,
) -> Float[Array, "*N gH"]:
    """``gates`` independent draws of ``[..., n, H]``, concatenated on the last axis."""
    check_dtype(dtype)
    check_size("in_size", shape[-2])
    keys = jax.random.split(key, gates)
    draws = [initializer(k, shape, accumulation_dtype(dtype)) for k in keys]
    return jnp.concatenate(draws, axis=-1).astype(dtype)
