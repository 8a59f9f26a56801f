"""From one sampling rate to another: a whole sound, or a stream."""

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.data.checks import check_count
from lstm_jax.data.sounds.packages import need

LEAST_RATE, MOST_RATE = 1_000, 1_000_000
"""Sampling rates that are accepted, in Hz."""

QUALITY = "HQ"
"""soxr's default, good for 16 bits."""


def check_rate(name: str, rate: int) -> int:
    """A sampling rate in Hz, from `LEAST_RATE` to `MOST_RATE`."""
    rate = check_count(name, rate)
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise ValueError(
            f"{name} is {rate} Hz, expected {LEAST_RATE:,} to {MOST_RATE:,} Hz; speech "
            f"has {name}=8000 or {name}=16000."
        )
    return rate


def check_samples(samples: ArrayLike) -> np.ndarray:
    """Samples as contiguous float32 ``[N]``.

    Raises:
        TypeError: they are not floats: integers have another scale.
        ValueError: they have several axes.

    >>> check_samples([0.5, -0.5])
    array([ 0.5, -0.5], dtype=float32)
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise ValueError(
            f"samples has shape {array.shape}, expected [N]; take the mean over the "
            f"channels first."
        )
    if array.dtype.kind != "f" and array.size:
        raise TypeError(
            f"samples has dtype {array.dtype}, expected floats from -1 to 1; divide "
            f"16-bit integers by 32768."
        )
    return np.ascontiguousarray(array, np.float32)


def resample(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Samples float32 ``[N]`` at another rate, ``N × rate_out / rate_in`` of them.

    Args:
        samples: floats ``[N]``.
        rate_in, rate_out: sampling rates in Hz.

    Raises:
        DataError: soxr is not installed.

    >>> resample(np.zeros(441, np.float32), 44100, 8000).shape
    (80,)
    """
    stream = StreamResampler(rate_in, rate_out)
    return np.concatenate([stream.feed(samples), stream.finish()])


class StreamResampler:
    """Resamples a stream piece by piece.

    However the stream is cut into pieces, the outputs joined together are the same.
    The outputs lag the inputs by a few hundred samples; `finish` gives the rest. With
    equal rates, the samples pass through at once.

    Args:
        rate_in, rate_out: sampling rates in Hz.

    Raises:
        DataError: the rates differ and soxr is not installed.

    >>> stream = StreamResampler(16000, 8000)
    >>> pieces = [stream.feed(np.zeros(700, np.float32)) for _ in range(4)]
    >>> sum(map(len, pieces)) + len(stream.finish())
    1400
    """

    def __init__(self, rate_in: int, rate_out: int):
        self.rate_in = check_rate("rate_in", rate_in)
        self.rate_out = check_rate("rate_out", rate_out)
        self._finished = False
        self._stream = None
        if self.rate_in != self.rate_out:
            make = need("soxr").ResampleStream
            self._stream = make(self.rate_in, self.rate_out, 1, "float32", QUALITY)

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """The outputs, float32, that are ready after the next inputs ``[N]``.

        There may be no output yet.

        Raises:
            RuntimeError: the stream is finished.
        """
        return self._process(samples, last=False)

    def finish(self) -> np.ndarray:
        """The outputs, float32, that are left at the end of the stream.

        Raises:
            RuntimeError: the stream is finished already.
        """
        rest = self._process(np.zeros(0, np.float32), last=True)
        self._finished = True
        return rest

    def _process(self, samples, last):
        if self._finished:
            raise RuntimeError(
                "the stream is finished; make a new StreamResampler for another one."
            )
        samples = check_samples(samples)
        if self._stream is None:
            return samples.copy()
        return self._stream.resample_chunk(samples, last)
