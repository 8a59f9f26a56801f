"""Features while the signal is still coming, equal to those of the whole signal."""

import functools
from collections.abc import Iterator

import jax
import numpy as np

from lstm_jax.audio.features import REACH, FeatureConfig, deltas, of_frames
from lstm_jax.audio.frames import cut, power_of_two, some_size, whole_frames

CHUNK = 128
"""Frames, or groups of them, that are computed at a time at the most."""


class FrameStream:
    """Takes pieces of a signal of any length, and returns the samples of whole frames.

    Args:
        config: of the frames.
        group: so many frames always come together.

    >>> import numpy as np
    >>> from lstm_jax.audio import FeatureConfig, FrameStream
    >>> stream = FrameStream(FeatureConfig(rate=8000))  # frames of 200, 80 apart
    >>> [(part.shape, groups) for part, groups in stream.feed(np.zeros(390))]
    [((360,), 3)]
    """

    def __init__(self, config: FeatureConfig, group: int = 1):
        self._config, self._group, self._skip = config, group, 0
        self._samples = np.zeros(0, np.float32)

    def feed(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """Stretches of samples, float32 ``[M]``, each with the number of groups of
        frames in it that are complete. Others may come after them: the stretches have a
        few sizes, so that a jitted function of them is compiled a few times.

        Args:
            samples: the next samples ``[N]``, floating point.
        """
        hop, length = self._config.hop_size, self._config.frame_size
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        held = np.concatenate([self._samples, samples[skipped:]], dtype=np.float32)
        count = whole_frames(len(held), length, hop) // self._group
        step = self._group * hop
        # Frames may have samples between them, and these may still be to come.
        self._skip += max(0, count * step - len(held))
        self._samples = held[count * step :]
        return self._cut(held, count)

    def finish(self) -> Iterator[tuple[np.ndarray, int]]:
        """Nothing more: samples of no whole group of frames are left out."""
        return iter(())

    def _cut(self, samples, count):
        hop = self._config.hop_size
        for start in range(0, count, CHUNK):
            groups = min(CHUNK, count - start)
            frames = some_size(groups) * self._group
            size = (frames - 1) * hop + self._config.frame_size
            part = samples[start * self._group * hop :][:size]
            missing = size - len(part)
            # Nothing is missing in a piece of a few frames, and padding takes time.
            yield np.pad(part, (0, missing)) if missing else part, groups


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
        self._config, self._stretches = config, FrameStream(config)
        width = config.cepstra or config.mels
        self._frames = np.zeros((0, width), np.float32)
        """Those that later frames need for their deltas."""
        self._made, self._returned, self._finished = 0, 0, False

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
        made = [self._frames]
        for part, count in self._stretches.feed(samples):
            made.append(np.asarray(_frames(part, self._config))[:count])
            self._made += count
        self._frames = np.concatenate(made)
        return self._take(self._made - REACH * self._config.deltas)

    def finish(self) -> np.ndarray:
        """The last frames, ``[n, F]``. Samples of no whole frame are left out."""
        self._finished = True
        return self._take(self._made)

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
