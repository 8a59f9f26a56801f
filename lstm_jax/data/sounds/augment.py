"""Variations of a sound to train with: level, speed, tempo, tone, noise, and joined
recordings.

Each is a function of its arguments and of a ``np.random.Generator``. Sounds are floats
``[N]``; results are float32 and new arrays. The length of every result is known before.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from lstm_jax.data.sounds.packages import need
from lstm_jax.data.sounds.stream import QUALITY, check_samples

Color = Literal["white", "pink"]
COLORS: tuple[Color, ...] = get_args(Color)

HOP_SECONDS = 0.015
"""From a piece that `at_tempo` adds to the next."""

TONES = 8
"""Frequencies at which `draw_tone` draws a level."""

LOWEST = 1 / 400
"""Pink noise begins at this fraction of the sampling rate, 40 Hz at 16 kHz. Half its
power would lie below what is heard otherwise."""


def gain(x: np.ndarray, rng: np.random.Generator, db: float) -> np.ndarray:
    """Louder or softer by a level drawn uniformly from -db to db, in decibels.

    Nothing is clipped.

    >>> gain(np.ones(2), np.random.default_rng(0), 0.0)
    array([1., 1.], dtype=float32)
    """
    level = rng.uniform(-_at_least_0("db", db), db)
    return check_samples(x) * np.float32(10 ** (level / 20))


def speed_factor(rng: np.random.Generator, percent: float) -> float:
    """A speed drawn uniformly from 1 - percent / 100 to 1 + percent / 100.

    Raises:
        ValueError: ``percent`` is not from 0 to 50.
    """
    if not 0 <= percent <= 50:
        raise ValueError(f"percent is {percent}, expected 0 to 50; 10 is usual.")
    return float(rng.uniform(1 - percent / 100, 1 + percent / 100))


def length_at_speed(length: int, factor: float) -> int:
    """How many samples `at_speed` makes of ``length``: ``round(length / factor)``.

    >>> length_at_speed(1000, 1.25)
    800
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(
            f"factor is {factor}, expected a speed above 0; 1 is as it is."
        )
    return round(length / factor)


def at_speed(x: np.ndarray, factor: float) -> np.ndarray:
    """A sound played ``factor`` times as fast, ``round(len(x) / factor)`` samples.

    soxr resamples it. That keeps high frequencies, which linear interpolation weakens,
    and takes a quarter of its time.

    Raises:
        DataError: soxr is not installed.
        ValueError: ``factor`` is not above 0.

    >>> at_speed(np.zeros(1000), 1.25).shape
    (800,)
    """
    x, length = check_samples(x), length_at_speed(len(x), factor)
    if factor == 1 or not length:
        return x[:length].copy()
    y = need("soxr").resample(x, factor, 1.0, quality=QUALITY)
    return np.pad(y[:length], (0, max(0, length - len(y))))


def at_tempo(x: np.ndarray, factor: float, rate: int) -> np.ndarray:
    """A sound ``factor`` times as fast at the same pitch, ``round(len(x) / factor)``
    samples.

    Pieces of 30 ms are added up every 15 ms. Each comes from where the tempo says, or
    from up to 7.5 ms beside it, where it continues the piece before it best. Verhelst &
    Roelands, "An overlap-add technique based on waveform similarity (WSOLA)", ICASSP
    1993.

    Args:
        x: floats ``[N]``.
        factor: above 0.
        rate: samples a second.

    Raises:
        ValueError: ``factor`` is not above 0.

    >>> at_tempo(np.zeros(1000), 1.25, 8000).shape
    (800,)
    """
    x, length = check_samples(x), length_at_speed(len(x), factor)
    if factor == 1 or not length:
        return x[:length].copy()
    hop = max(round(rate * HOP_SECONDS), 2)
    size, near = 2 * hop, hop // 2
    fade = (0.5 - 0.5 * np.cos(np.pi * np.arange(size) / hop)).astype(np.float32)
    count = -(-length // hop) + 1
    # Places count from hop + near before the sound, so that none is below 0.
    before, after = hop + near, round(count * hop * factor) + 3 * size
    padded = np.pad(x, (before, after))
    y = np.zeros((count + 1) * hop, np.float32)
    at = near
    for n in range(count):
        if n:
            wanted = padded[at + hop : at + hop + size]
            first = round(n * hop * factor)
            around = padded[first : first + size + 2 * near]
            at = first + int(np.correlate(around, wanted, "valid").argmax())
        y[n * hop : n * hop + size] += fade * padded[at : at + size]
    return y[hop : hop + length]


def draw_tone(rng: np.random.Generator, db: float) -> np.ndarray:
    """Levels of `TONES` for `at_tone`, each drawn uniformly from -db to db decibels."""
    return rng.uniform(-_at_least_0("db", db), db, TONES)


def at_tone(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """A sound as through another microphone: some frequencies are louder, some softer.

    Args:
        x: floats ``[N]``.
        levels: decibels at equally spaced frequencies from 0 to half the sampling
            rate; between them they change linearly.

    Returns:
        float32 ``[N]``.

    >>> at_tone(np.ones(4), np.zeros(3))
    array([1., 1., 1., 1.], dtype=float32)
    """
    x = check_samples(x)
    if not len(x):
        return x.copy()
    # With zeros after it, since what leaves at the end comes back at the beginning.
    size = 2 << (len(x) - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    at = np.linspace(0, len(levels) - 1, len(spectrum))
    spectrum *= 10 ** (np.interp(at, np.arange(len(levels)), levels) / 20)
    return np.fft.irfft(spectrum, size)[: len(x)].astype(np.float32)


def add_noise(
    x: np.ndarray,
    rng: np.random.Generator,
    low_db: float,
    high_db: float,
    color: Color = "white",
) -> np.ndarray:
    """A sound in noise, at a signal-to-noise ratio from ``low_db`` to ``high_db``.

    The ratio is 10 log10(signal / noise) decibels. The signal is the mean square of
    those samples of ``x`` that are not exactly 0, so that silence added by `join` or by
    padding does not count. The noise is the mean square of what is added, over all
    samples. If all of ``x`` is 0, there is no ratio and no noise is added.

    Args:
        x: floats ``[N]``.
        rng: of the ratio, uniform in decibels, and of the noise.
        low_db, high_db: the least and the largest ratio in decibels.
        color: ``"white"`` (equal power at all frequencies) or ``"pink"`` (equal power
            in every octave, from 1/400 of the sampling rate).

    Raises:
        ValueError: ``color`` is another word, or ``low_db`` exceeds ``high_db``.
    """
    if color not in COLORS:
        raise ValueError(f"color is {color!r}, must be one of {', '.join(COLORS)}.")
    _check_order("low_db", low_db, "high_db", high_db)
    x = check_samples(x)
    ratio = rng.uniform(low_db, high_db)
    noise = rng.standard_normal(len(x))
    sounding = x[x != 0].astype(np.float64)
    if not len(sounding):
        return x.copy()
    if color == "pink":
        noise = _pink(noise)
    signal = np.mean(np.square(sounding)) / 10 ** (ratio / 10)
    noise *= np.sqrt(signal / np.mean(np.square(noise)))
    return x + noise.astype(np.float32)


def _pink(noise):
    """White noise with its spectrum divided by the root of the frequency."""
    if len(noise) < 2:  # it has no frequency but 0
        return noise
    frequencies = np.fft.rfftfreq(len(noise))
    weights = np.maximum(frequencies, LOWEST) ** -0.5 * (frequencies >= LOWEST)
    return np.fft.irfft(np.fft.rfft(noise) * weights, len(noise))


def draw_gaps(
    rng: np.random.Generator, pieces: int, low: float, high: float, rate: int
) -> np.ndarray:
    """The gaps for `join`, each drawn uniformly from ``low`` to ``high`` seconds.

    Args:
        rng: of the random numbers.
        pieces: how many recordings are joined.
        low, high: seconds.
        rate: the sampling rate in Hz.

    Returns:
        int64 ``[pieces + 1]``, in samples: before, between and after the recordings.

    >>> draw_gaps(np.random.default_rng(0), 2, 0.5, 0.5, 8000)
    array([4000, 4000, 4000])
    """
    _check_order("low", _at_least_0("low", low), "high", high)
    return np.rint(rng.uniform(low, high, pieces + 1) * rate).astype(np.int64)


def join(pieces: Sequence[np.ndarray], gaps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Recordings one after the other, with silence before, between and after.

    Args:
        pieces: sounds ``[N_i]``.
        gaps: samples of silence, one more than there are pieces, as of `draw_gaps`.

    Returns:
        float32 ``[sum(N_i) + sum(gaps)]``.

    Raises:
        ValueError: the number of gaps does not fit, or a gap is below 0.

    >>> join([np.ones(2), np.ones(1)], [1, 2, 0])
    array([0., 1., 1., 0., 0., 1.], dtype=float32)
    """
    if len(gaps) != len(pieces) + 1:
        raise ValueError(
            f"gaps has {len(gaps)} numbers for {len(pieces)} pieces, expected "
            f"{len(pieces) + 1}; use draw_gaps(rng, {len(pieces)}, ...)."
        )
    if min(gaps) < 0:
        raise ValueError(f"a gap is {min(gaps)} samples, expected 0 or more.")
    parts = [np.zeros(gaps[0], np.float32)]
    for piece, gap in zip(pieces, gaps[1:], strict=True):
        parts += [check_samples(piece), np.zeros(gap, np.float32)]
    return np.concatenate(parts)


def _at_least_0(name, value):
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value}, expected 0 or more.")
    return value


def _check_order(low_name, low, high_name, high):
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(
            f"{low_name} is {low} and {high_name} is {high}, expected finite numbers "
            f"with {low_name} no larger than {high_name}."
        )
