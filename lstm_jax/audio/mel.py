"""Mel bands: triangles that are equally wide for the ear.

    kaldi, htk   mel(f) = 1127 log(1 + f / 700)
    slaney       mel(f) = f / (200 / 3)                            below 1,000 Hz
                        = 15 + 27 log(f / 1000) / log(6.4)         above

The corners of the bands are equally spaced in mel, and each band rises from the centre
of the band below it to its own, and falls to that of the band above it. Kaldi's bands
are triangles over mel, the others over Hz, and those of ``slaney`` have area 1 (in Hz).

Stevens, Volkmann & Newman, "A Scale for the Measurement of the Psychological Magnitude
Pitch", JASA 1937; Young et al., "The HTK Book", 2006; Slaney, "Auditory Toolbox", 1998.
"""

from typing import Literal

import numpy as np

Scale = Literal["kaldi", "htk", "slaney"]


def mel_bands(
    bands: int, fft_size: int, rate: float, low: float, high: float, scale: Scale
) -> np.ndarray:
    """The weight of every frequency in every band, ``[fft_size // 2 + 1, bands]``.

    Args:
        bands: number of bands.
        fft_size: length of the transform; frequency ``k`` is ``k rate / fft_size`` Hz.
        rate: samples a second.
        low, high: the outer corners of the lowest and the highest band, in Hz.
        scale: which mels.

    >>> from lstm_jax.audio.mel import mel_bands
    >>> weights = mel_bands(4, 512, 16000, 20, 8000, "htk")
    >>> weights.shape, weights.argmax(axis=0).tolist()  # the centres
    ((257, 4), [16, 40, 80, 147])
    """
    to_mel, to_hz = (_slaney, _slaney_hz) if scale == "slaney" else (_htk, _htk_hz)
    corners = np.linspace(to_mel(low), to_mel(high), bands + 2)
    at = np.arange(fft_size // 2 + 1) * (rate / fft_size)
    if scale == "kaldi":
        at = to_mel(at)
    else:
        corners = to_hz(corners)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (at[:, None] - left) / (centre - left)
    falling = (right - at[:, None]) / (right - centre)
    weights = np.maximum(np.minimum(rising, falling), 0)
    if scale == "slaney":
        weights *= 2 / (right - left)
    if scale == "kaldi":
        weights[-1] = 0  # Kaldi leaves out half the sampling rate
    return weights


def _htk(hz):
    return 1127 * np.log1p(np.asarray(hz, float) / 700)


def _htk_hz(mel):
    return 700 * np.expm1(mel / 1127)


STEP = np.log(6.4) / 27
"""Of ``slaney``: one mel above 1,000 Hz, in the logarithm of the frequency."""


def _slaney(hz):
    hz = np.asarray(hz, float)
    above = 15 + np.log(np.maximum(hz, 1000) / 1000) / STEP
    return np.where(hz < 1000, hz * 3 / 200, above)


def _slaney_hz(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * STEP))
