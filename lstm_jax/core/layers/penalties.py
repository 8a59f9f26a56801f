"""Penalties on the outputs of a recurrent layer. Add them to the loss.

    activation            mean over t, rows and units of h_t ** 2
    temporal activation   mean over t, rows and units of (h_{t+1} - h_t) ** 2

Merity, McCann & Socher, "Revisiting Activation Regularization for Language RNNs", 2017;
Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018.
The papers write ``L_2(h)``, but their code uses the mean of squares, as here. They add
2 times the activation penalty of the last layer's outputs after dropout, and once the
temporal penalty of the same outputs before dropout. A mean is over real steps, or over
pairs of neighbouring real steps of one episode. It is 0 if there are none.
"""

import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float
from lstm_jax.core.arguments import check_floating
from lstm_jax.core.cells.checks import check_flags
from lstm_jax.core.precision import accumulation_dtype


def activation_penalty(
    hs: Float[Array, "T *B H"], *, mask: Bool[Array, "T *B"] | None = None
) -> Float[Array, ""]:
    """Activation regularisation (AR): the mean square of the outputs.

    Args:
        hs: outputs ``[T, ..., H]``. Values at masked steps are ignored, even NaN.
        mask: True at real steps, ``[T, ...]``; ``None`` means that all steps are real.

    Returns:
        A scalar, float32 where ``hs`` has 16 bits.

    Raises:
        TypeError: ``hs`` is not floating point, or ``mask`` is not boolean.
        ValueError: ``hs`` has no time axis, or ``mask`` does not have the shape
            ``[T, ...]``.

    >>> import jax.numpy as jnp
    >>> hs = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> float(activation_penalty(hs)), float(activation_penalty(
    ...     hs, mask=jnp.array([True, False])))
    (7.5, 2.5)
    """
    hs, mask = _checked(hs, mask)
    return _mean_square(hs, mask)


def temporal_activation_penalty(
    hs: Float[Array, "T *B H"],
    *,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
) -> Float[Array, ""]:
    """Temporal activation regularisation (TAR): the mean square change of the outputs.

    Args:
        hs, mask: as in `activation_penalty`. A pair counts if both steps are real.
        resets: True at the first step of an episode, ``[T, ...]``. The change from the
            step before it does not count.

    Returns:
        A scalar, float32 where ``hs`` has 16 bits.

    Raises:
        TypeError, ValueError: as `activation_penalty`, also for ``resets``.

    >>> import jax.numpy as jnp
    >>> hs = jnp.array([[1.0], [2.0], [5.0]])
    >>> float(temporal_activation_penalty(hs)), float(temporal_activation_penalty(
    ...     hs, resets=jnp.array([True, False, True])))
    (5.0, 1.0)
    """
    hs, mask = _checked(hs, mask)
    pairs = mask[1:] & mask[:-1]
    resets = check_flags("resets", resets, hs.shape[:-1], of="hs")
    if resets is not None:
        pairs &= ~resets[1:]
    return _mean_square(hs[1:] - hs[:-1], pairs)


def _checked(hs, mask):
    """``hs`` in the accumulation dtype, and a mask (all True if none was given)."""
    hs = check_floating("hs", hs)
    if hs.ndim < 2:
        raise ValueError(f"hs has shape {hs.shape}, expected time-major [T, ..., H].")
    mask = check_flags("mask", mask, hs.shape[:-1], of="hs")
    mask = jnp.ones(hs.shape[:-1], bool) if mask is None else mask
    return hs.astype(accumulation_dtype(hs.dtype)), mask


def _mean_square(a, counts):
    """The mean square over the last axis and the counted steps. Other values are
    ignored.
    """
    # Mask before squaring: the derivative of the square at NaN, times 0, is NaN.
    a = jnp.where(counts[..., None], a, jnp.zeros_like(a))
    return jnp.sum(a * a) / jnp.maximum(counts.sum() * a.shape[-1], 1).astype(a.dtype)
