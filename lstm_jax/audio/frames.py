"""Overlapping frames of a signal, and the windows that fade them in and out."""

from typing import Literal

import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float

Window = Literal["povey", "hann", "hamming", "rectangular"]


def window_weights(kind: Window, size: int) -> np.ndarray:
    """The weights of a frame, with ``u = 2 pi i / (size - 1)``:

        hann      0.5 - 0.5 cos u
        hamming   0.54 - 0.46 cos u
        povey     (0.5 - 0.5 cos u) ** 0.85

    >>> from lstm_jax.audio.frames import window_weights
    >>> window_weights("hann", 5).round(3).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if kind == "rectangular":
        return np.ones(size)
    cosine = np.cos(2 * np.pi * np.arange(size) / max(size - 1, 1))
    if kind == "hamming":
        return 0.54 - 0.46 * cosine
    hann = 0.5 - 0.5 * cosine
    return hann**0.85 if kind == "povey" else hann


def cut(signal: Float[Array, "N *B"], size: int, hop: int) -> Float[Array, "T size *B"]:
    """Frames of ``size`` samples, ``hop`` apart; samples after the last whole frame are
    left out.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.audio.frames import cut
    >>> cut(jnp.arange(8.0), 4, 2).tolist()
    [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0], [4.0, 5.0, 6.0, 7.0]]
    """
    count = whole_frames(len(signal), size, hop)
    if not count:
        return jnp.zeros((0, size, *signal.shape[1:]), signal.dtype)
    # Not of NumPy: XLA would keep the places of a long signal in the program.
    starts = jnp.arange(count, dtype=jnp.int32)[:, None] * hop
    places = starts + jnp.arange(size, dtype=jnp.int32)[None]
    return jnp.take(signal, places, axis=0)


def power_of_two(count: int) -> int:
    """The least power of 2 that is not below ``count``: what is filled up to it has few
    sizes, and each is compiled once.

    >>> from lstm_jax.audio.frames import power_of_two
    >>> [power_of_two(n) for n in (1, 2, 3, 400)]
    [1, 2, 4, 512]
    """
    return 1 << (count - 1).bit_length()


FEW = 4
"""Up to here every number of frames has a program of its own. A live sound comes in
pieces of a few, and to fill them up would cost a third of the time."""


def some_size(count: int) -> int:
    """`count`, or the power of 2 that more than `FEW` are filled up to.

    >>> from lstm_jax.audio.frames import some_size
    >>> [some_size(n) for n in (1, 2, 3, 5, 400)]
    [1, 2, 3, 8, 512]
    """
    return count if count <= FEW else power_of_two(count)


def whole_frames(samples: int, size: int, hop: int) -> int:
    """How many frames `cut` finds.

    >>> from lstm_jax.audio.frames import whole_frames
    >>> [whole_frames(n, 4, 2) for n in (3, 4, 5, 6)]
    [0, 1, 1, 2]
    """
    return max(0, (samples - size) // hop + 1)
