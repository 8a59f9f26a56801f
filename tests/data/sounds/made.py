"""Sounds to test with, and what refusals say."""

import numpy as np
import pytest
import soundfile

from lstm_jax.data.text import DataError


def sine(rate, seconds=1.0, hertz=440.0, amplitude=0.5):
    """A tone, float64 ``[N]``."""
    times = np.arange(round(rate * seconds)) / rate
    return amplitude * np.sin(2 * np.pi * hertz * times)


def write(path, samples, rate=8000, **options):
    """A sound file; its path."""
    soundfile.write(path, samples, rate, **options)
    return path


def frequency(samples, rate):
    """The frequency with the most power, in Hz."""
    windowed = samples * np.hanning(len(samples))
    return np.abs(np.fft.rfft(windowed)).argmax() * rate / len(samples)


def refusal(call, *arguments, **options):
    """What a DataError says: one line that ends with a full stop."""
    with pytest.raises(DataError) as caught:
        call(*arguments, **options)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    return said
