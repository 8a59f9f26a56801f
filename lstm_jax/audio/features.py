"""Log-mel energies, cepstra and deltas of a signal.

    x       a frame, less its mean
    x_i     = x_i - a x_{i-1}                 pre-emphasis, with x_{-1} = x_0
    P_k     = |FFT(window * x)_k|^2           the power at every frequency
    m_j     = log(max(sum_k F_kj P_k, floor))     the energy of every mel band, in nats
    c_n     = lifter_n sum_j D_nj m_j         cepstra: an orthonormal cosine transform
    lifter_n = 1 + (Q / 2) sin(pi n / Q)

Davis & Mermelstein, "Comparison of Parametric Representations for Monosyllabic Word
Recognition", 1980; conventions of Kaldi (Povey et al. 2011) unless the config says
otherwise. All frames are whole, so a stream has the same numbers as a file.
"""

import functools
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from lstm_jax._types import Array, Float, Int, Lengths
from lstm_jax.audio.frames import (
    Window,
    cut,
    power_of_two,
    whole_frames,
    window_weights,
)
from lstm_jax.audio.mel import Scale, mel_bands
from lstm_jax.config import config
from lstm_jax.core.arguments import check_floating
from lstm_jax.core.cells.checks import check_lengths
from lstm_jax.core.recurrence.sequence import length_mask

REACH = 2
"""Frames on either side of the one that a delta is of."""


@config
class FeatureConfig:
    """Which features, of what signal.

    Raises:
        ValueError: a value is out of its range, there are more cepstra than mel bands,
            or a band contains no frequency of a frame.

    >>> from lstm_jax.audio import FeatureConfig
    >>> FeatureConfig(rate=8000, mels=40, cepstra=13, deltas=2).size
    39
    """

    rate: Annotated[int, Field(ge=1000, le=384_000)] = 16_000
    """Samples a second."""
    frame_ms: Annotated[float, Field(gt=0, le=1000)] = 25.0
    """Length of a frame, in milliseconds."""
    hop_ms: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """From the beginning of a frame to that of the next, in milliseconds."""
    window: Window = "povey"
    """How a frame is faded in and out."""
    mels: Annotated[int, Field(ge=1, le=512)] = 80
    """Mel bands."""
    low: Annotated[float, Field(ge=0)] = 20.0
    """Where the lowest band begins, in Hz."""
    high: Annotated[float, Field(ge=0)] = 0.0
    """Where the highest band ends, in Hz; 0: at half the sampling rate."""
    scale: Scale = "kaldi"
    """Which mels, and which bands over them; see ``lstm_jax/audio/mel.py``."""
    pre_emphasis: Annotated[float, Field(ge=0, lt=1)] = 0.97
    """How much of the sample before is taken away from each; 0: nothing."""
    remove_mean: bool = True
    """Whether the mean of a frame is taken away from it."""
    floor: Annotated[float, Field(gt=0)] = 1.1920929e-07
    """The least energy of a band."""
    cepstra: Annotated[int, Field(ge=0, le=512)] = 0
    """Cepstral coefficients; 0: the log-mel energies themselves."""
    lifter: Annotated[float, Field(ge=0)] = 22.0
    """``Q``, which makes high cepstra as large as low ones; 0: no such factor."""
    deltas: Annotated[int, Field(ge=0, le=2)] = 0
    """1: slopes over time beside the features; 2: slopes of slopes, too."""

    def __post_init__(self):
        if self.cepstra > self.mels:
            raise ValueError(
                f"cepstra is {self.cepstra} and mels {self.mels}; there are no more "
                f"cepstra than mel bands; set cepstra to {self.mels} or less"
            )
        if not self.low < self.highest <= self.rate / 2:
            raise ValueError(
                f"low is {self.low:g} Hz and high {self.highest:g} Hz, expected low "
                f"below high, and high at most half the rate, {self.rate / 2:g} Hz"
            )
        if self.frame_size < 2 or self.hop_size < 1:
            raise ValueError(
                f"frame_ms={self.frame_ms:g} and hop_ms={self.hop_ms:g} are "
                f"{self.frame_size} and {self.hop_size} samples at rate {self.rate}; "
                f"lengthen them"
            )
        silent = int((self._bands.sum(axis=0) == 0).sum())
        if silent:
            raise ValueError(
                f"{silent} of {self.mels} mel bands hold no frequency of a frame of "
                f"{self.frame_ms:g} ms; lower mels or lengthen frame_ms"
            )

    @property
    def highest(self) -> float:
        """Where the highest band ends, in Hz."""
        return self.high or self.rate / 2

    @property
    def frame_size(self) -> int:
        """Samples of a frame."""
        return int(self.rate * self.frame_ms / 1000)

    @property
    def hop_size(self) -> int:
        """Samples from a frame to the next."""
        return int(self.rate * self.hop_ms / 1000)

    @property
    def fft_size(self) -> int:
        """The power of 2 that a frame is filled up to."""
        return power_of_two(self.frame_size)

    @property
    def size(self) -> int:
        """Features of a frame."""
        return (self.cepstra or self.mels) * (1 + self.deltas)

    @property
    def _bands(self):
        return mel_bands(
            self.mels, self.fft_size, self.rate, self.low, self.highest, self.scale
        )


def frame_count(samples: int, config: FeatureConfig) -> int:
    """Frames of a signal of so many samples.

    >>> from lstm_jax.audio import FeatureConfig, frame_count
    >>> [frame_count(n, FeatureConfig()) for n in (399, 400, 16_000)]
    [0, 1, 98]
    """
    return whole_frames(samples, config.frame_size, config.hop_size)


def features(
    signal: Float[Array, "N *B"],
    config: FeatureConfig,
    lengths: Lengths | None = None,
) -> Float[Array, "T *B F"]:
    """The features of every frame of a signal, time-major.

    Differentiable, and a jitted function of its own.

    Args:
        signal: samples, by convention between -1 and 1.
        config: which features; see `FeatureConfig`.
        lengths: real samples of every row; ``None`` means all. Padding, even NaN,
            changes no frame; frames after the last whole frame of a row are 0. See
            `frame_lengths`.

    Raises:
        TypeError: the signal is not floating point, or lengths are not integers.
        ValueError: the signal has no axis, or lengths do not match it.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.audio import FeatureConfig, features
    >>> tone = jnp.sin(2 * jnp.pi * 1000 * jnp.arange(8000.0) / 8000)
    >>> config = FeatureConfig(rate=8000, mels=23)
    >>> found = features(tone, config)
    >>> found.shape, int(found[0].argmax())  # the band of 1,000 Hz
    ((98, 23), 10)
    """
    signal = check_floating("signal", signal)
    if signal.ndim < 1:
        raise ValueError(f"signal has shape {signal.shape}, expected [N, ...].")
    signal = signal.astype(jnp.float32)
    if lengths is not None:
        batch = signal.shape[1:]
        lengths = check_lengths(lengths, len(signal), batch, of="signal")
    return _features(signal, config, lengths)


def frame_lengths(samples: Int[Array, "*B"], config: FeatureConfig) -> Int[Array, "*B"]:
    """`frame_count` of every row of a batch.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.audio import FeatureConfig, frame_lengths
    >>> frame_lengths(jnp.array([8000, 100]), FeatureConfig(rate=8000)).tolist()
    [98, 0]
    """
    count = (samples - config.frame_size) // config.hop_size + 1
    return jnp.maximum(count, 0).astype(jnp.int32)


@functools.partial(jax.jit, static_argnums=1)
def _features(signal, config, lengths):
    if lengths is None:
        frames = cut(signal, config.frame_size, config.hop_size)
        return deltas(of_frames(frames, config), config.deltas)
    signal = jnp.where(length_mask(lengths, len(signal)), signal, 0)
    xs = of_frames(cut(signal, config.frame_size, config.hop_size), config)
    counts = frame_lengths(lengths, config)
    xs = deltas(xs, config.deltas, counts)
    real = length_mask(counts, len(xs))
    return jnp.where(real[..., None], xs, 0)


def of_frames(
    frames: Float[Array, "T size *B"], config: FeatureConfig
) -> Float[Array, "T *B F"]:
    """The features of frames, without deltas."""
    x = jnp.moveaxis(frames, 1, -1)
    if config.remove_mean:
        x = x - x.mean(axis=-1, keepdims=True)
    if config.pre_emphasis:
        before = jnp.concatenate([x[..., :1], x[..., :-1]], axis=-1)
        x = x - config.pre_emphasis * before
    x = x * _like(window_weights(config.window, config.frame_size), x)
    spectrum = jnp.fft.rfft(x, config.fft_size)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    energies = times(power, jnp.asarray(config._bands, x.dtype))
    mels = jnp.log(jnp.maximum(energies, config.floor))
    if not config.cepstra:
        return mels
    return times(mels, jnp.asarray(_cosines(config), x.dtype))


def deltas(
    xs: Float[Array, "T *B F"], order: int, lengths: Int[Array, "*B"] | None = None
) -> Float[Array, "T *B G"]:
    """Features beside their slopes over time, ``G = (1 + order) F``.

        d_t = (x_{t+1} - x_{t-1} + 2 (x_{t+2} - x_{t-2})) / 10

    Before the first frame and after the last stand copies of them (Young et al. 2006).

    Args:
        xs: features of every frame.
        order: 0 returns ``xs``, 1 adds slopes, and 2 the slopes of the slopes, too.
        lengths: frames of every row; ``None`` means all. Slopes of later frames have no
            meaning.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.audio import deltas
    >>> deltas(3 * jnp.arange(6.0)[:, None], 1)[2].tolist()
    [6.0, 3.0]
    """
    found = [xs]
    for _ in range(order if len(xs) else 0):
        found.append(_slope(found[-1], lengths))
    return jnp.concatenate(found, axis=-1) if len(xs) else jnp.tile(xs, order + 1)


def _slope(xs, lengths):
    if lengths is None:
        lengths = jnp.full(xs.shape[1:-1], len(xs), jnp.int32)
    last = jnp.maximum(lengths - 1, 0)[None]
    t = jnp.arange(len(xs), dtype=jnp.int32).reshape(-1, *[1] * lengths.ndim)

    def at(n):
        """``x_{t + n}``"""
        places = jnp.clip(t + n, 0, last)[..., None]
        return jnp.take_along_axis(xs, places, axis=0)

    slopes = [n * (at(n) - at(-n)) for n in range(1, REACH + 1)]
    total: Array = sum(slopes[1:], slopes[0])
    return total / (2 * sum(n * n for n in range(1, REACH + 1)))


def _cosines(config):
    """The orthonormal cosine transform with its lifter, ``[mels, cepstra]``."""
    j, n = np.arange(config.mels)[:, None] + 0.5, np.arange(config.cepstra)
    cosines = np.cos(np.pi * j * n / config.mels) * math.sqrt(2 / config.mels)
    cosines[:, 0] /= math.sqrt(2)
    if config.lifter:
        cosines *= 1 + config.lifter / 2 * np.sin(np.pi * n / config.lifter)
    return cosines


def _like(weights, x):
    return jnp.broadcast_to(jnp.asarray(weights, x.dtype), x.shape)
