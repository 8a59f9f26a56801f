"""Features while the signal is still coming, equal to those of the whole signal."""

import functools

import jax
import numpy as np

from lstm_jax.audio.features import REACH, FeatureConfig, deltas, of_frames
from lstm_jax.audio.frames import cut, power_of_two, whole_frames

CHUNK = 128
"""Frames that are computed at a time at the most."""


class FeatureStream:
    """Takes pieces of a signal of any length, and returns the frames that are complete.

    A frame is returned as soon as its last sample is there; with deltas, ``2 * deltas``
    frames later. `finish` returns the rest.

    Args:
        config: which features.

    >>> import numpy as np
    >>> from lstm_jax.audio import FeatureConfig, FeatureStream, features
    >>> signal = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    >>> config = FeatureConfig(rate=8000, mels=20, deltas=1)
    >>> stream = FeatureStream(config)
    >>> parts = [stream.feed(piece) for piece in np.split(signal, [10, 1000, 1001])]
    >>> whole = np.concatenate([*parts, stream.finish()])
    >>> bool(np.allclose(whole, features(signal, config), rtol=1e-4, atol=1e-4))
    True
    """

    def __init__(self, config: FeatureConfig):
        self._config = config
        self._samples = np.zeros(0, np.float32)
        width = config.cepstra or config.mels
        self._frames = np.zeros((0, width), np.float32)
        """Those that later frames need for their deltas."""
        self._made, self._returned, self._skip, self._finished = 0, 0, 0, False

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """The frames that these samples complete, ``[n, F]``.

        Args:
            samples: the next samples ``[N]``, any number of them, floating point.

        Raises:
            TypeError, ValueError: they are not floating point, or not of one axis.
            RuntimeError: the stream is finished.
        """
        if self._finished:
            raise RuntimeError("the stream is finished; make another FeatureStream.")
        samples = np.asarray(samples)
        if not np.issubdtype(samples.dtype, np.floating):
            raise TypeError(
                f"samples have dtype {samples.dtype}, expected floating point between "
                f"-1 and 1; divide 16-bit integers by 32768."
            )
        if samples.ndim != 1:
            raise ValueError(f"samples have shape {samples.shape}, expected [N].")
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        samples = samples[skipped:].astype(np.float32)
        self._samples = np.concatenate([self._samples, samples])
        config, made = self._config, [self._frames]
        count = whole_frames(len(self._samples), config.frame_size, config.hop_size)
        if not count:
            return self._take(self._made - REACH * config.deltas)
        for start in range(0, count, CHUNK):
            made.append(self._compute(start, min(CHUNK, count - start)))
        # Frames may have samples between them, and these may still be to come.
        self._skip = max(0, count * config.hop_size - len(self._samples))
        self._samples = self._samples[count * config.hop_size :]
        self._frames = np.concatenate(made)
        self._made += count
        return self._take(self._made - REACH * config.deltas)

    def finish(self) -> np.ndarray:
        """The last frames, ``[n, F]``. Samples of no whole frame are left out."""
        self._finished = True
        return self._take(self._made)

    def _compute(self, start, count):
        """So many frames, in one of a few compiled sizes."""
        config = self._config
        size = min(power_of_two(count), CHUNK)
        hop, length = config.hop_size, (size - 1) * config.hop_size + config.frame_size
        part = self._samples[start * hop : start * hop + length]
        padded = np.zeros(length, np.float32)
        padded[: len(part)] = part
        return np.asarray(_frames(padded, config))[:count]

    def _take(self, until):
        """The frames up to ``until`` that were not returned yet, with their deltas."""
        config = self._config
        until = max(until, self._returned)
        kept_from = self._made - len(self._frames)
        found = np.zeros((0, config.size), np.float32)
        if until > self._returned:
            found = self._with_deltas()[self._returned - kept_from : until - kept_from]
        self._returned = until
        # At the beginning the first frame stands for those before it.
        needed = max(0, until - REACH * config.deltas)
        self._frames = self._frames[needed - kept_from :]
        return found

    def _with_deltas(self):
        """The frames with their deltas, in one of a few compiled sizes."""
        if not self._config.deltas:
            return self._frames
        count = len(self._frames)
        rest = (0, power_of_two(count) - count), (0, 0)
        padded, order = np.pad(self._frames, rest), self._config.deltas
        return np.asarray(_deltas(padded, order, np.int32(count)))[:count]


_deltas = jax.jit(deltas, static_argnums=1)


@functools.partial(jax.jit, static_argnums=1)
def _frames(signal, config):
    return of_frames(cut(signal, config.frame_size, config.hop_size), config)
