"""The samples of a sound file."""

import contextlib
import dataclasses
import os
from pathlib import Path

import numpy as np

from lstm_jax.data.sounds.packages import need
from lstm_jax.data.sounds.stream import (
    LEAST_RATE,
    MOST_RATE,
    check_rate,
    check_samples,
    resample,
)
from lstm_jax.data.sounds.wav import missing_bytes
from lstm_jax.data.text import DataError, counted, open_data

MOST_SECONDS = 4 * 3600
"""A file is refused if it is longer: 4 hours."""

BLOCK = 2**20
"""So many samples are read at a time."""

LOUDEST = 10
"""Full scale is 1. Float files may go beyond it, but a file with samples beyond this
one has another scale, such as that of 16-bit integers."""

CLIPPED, SILENT = 0.999, 1e-4
"""From here on a sample is clipped; below, a sound is silent."""


@dataclasses.dataclass(frozen=True)
class SoundInfo:
    """What the header of a sound file says."""

    rate: int
    """Samples per second, in Hz."""
    channels: int
    samples: int
    """In each channel."""

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return self.samples / self.rate


def sound_info(path: str | Path, called: str | None = None) -> SoundInfo:
    """Rate, channels and length of a sound file, without its samples.

    The header tells them. MP3 alone is decoded, since many of its headers have no exact
    length.

    Args:
        path: the file.
        called: what errors call the file; by default its path.

    Raises:
        DataError: soundfile is not installed, the file cannot be read, or is not sound.

    >>> import tempfile, wave
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with wave.open(f"{folder}/a.wav", "wb") as sound:
    ...         sound.setparams((1, 2, 8000, 0, "NONE", ""))
    ...         sound.writeframes(bytes(2 * 4000))
    ...     info = sound_info(f"{folder}/a.wav")
    >>> info.rate, info.seconds
    (8000, 0.5)
    """
    with _opened(path, called or str(path)) as sound:
        samples = sound.frames
        if _is_mp3(sound):
            samples = sum(map(len, _blocks(sound)))
        return SoundInfo(sound.samplerate, sound.channels, samples)


def read_sound(path: str | Path, rate: int, called: str | None = None) -> np.ndarray:
    """The samples of a sound file at ``rate``, float32 ``[N]``.

    Channels are mixed: a sample is their mean. Full scale is 1, so that integers of any
    width lie from -1 to 1. Float files, lossy formats and resampling may go a little
    beyond; nothing is clipped. If the file has another rate, it is resampled (soxr's
    quality HQ), to ``N × rate / file rate`` samples.

    Args:
        path: WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF, AU, W64 or another format of
            libsndfile, with 8 to 32 bits or floats.
        rate: the sampling rate of the result, in Hz.
        called: what errors call the file; by default its path.

    Raises:
        DataError: soundfile or soxr is not installed, or the file cannot be used: it is
            missing, not a regular file, not sound, corrupt, cut off (found for WAV and
            FLAC), without samples, longer than 4 hours, or has samples that are not
            finite or larger than 10.

    >>> import tempfile, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/a.flac", np.zeros((441, 2)), 44100)
    ...     read_sound(f"{folder}/a.flac", 8000).shape
    (80,)
    """
    called = called or str(path)
    rate = check_rate("rate", rate)
    with _opened(path, called) as sound:
        own = sound.samplerate
        if not LEAST_RATE <= own <= MOST_RATE:
            raise DataError(
                f"{called} has a sampling rate of {own:,} Hz, expected {LEAST_RATE:,} "
                f"to {MOST_RATE:,} Hz; export it again."
            )
        samples = _mixed(sound, called)
    _check_whole(path, called)
    if not len(samples):
        raise DataError(
            f"{called} has no samples, expected sound; record it again, or remove it."
        )
    check_sound(samples, own, called)
    if own == rate:
        return samples
    resampled = resample(samples, own, rate)
    if not len(resampled):
        raise DataError(
            f"{called} has {counted(len(samples), 'sample')} at {own:,} Hz, which is "
            f"less than one at {rate:,} Hz; remove it."
        )
    return resampled


def fraction_clipped(samples: np.ndarray) -> float:
    """The fraction of samples ``[N]`` of magnitude 0.999 or more; 0 of no samples.

    More than about 0.001 means that the recording was too loud.

    >>> fraction_clipped(np.array([0.0, 1.0, -1.0, 0.5]))
    0.5
    """
    return float(np.mean(np.abs(samples) >= CLIPPED)) if len(samples) else 0.0


def is_silent(samples: np.ndarray) -> bool:
    """Whether all samples ``[N]`` have a magnitude below 0.0001 (-80 dB).

    >>> is_silent(np.zeros(9)), is_silent(np.array([0.0, -0.01]))
    (True, False)
    """
    return not len(samples) or bool(np.abs(samples).max() < SILENT)


@contextlib.contextmanager
def _opened(path, called):
    """The file as an object of soundfile, also while it is read."""
    soundfile = need("soundfile")
    with open_data(path, called) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise DataError(f"{called} is an empty file, expected sound.")
        # A descriptor, since Python's files would print errors of seeking. Windows has
        # a descriptor for each C library.
        source = file if os.name == "nt" else file.fileno()
        try:
            with soundfile.SoundFile(source, closefd=False) as sound:
                yield sound
        except soundfile.LibsndfileError as error:
            reason = error.error_string.removeprefix("Error : ").rstrip(".")
            raise DataError(
                f"{called} cannot be read as sound: {reason}. Expected a whole file of "
                f"WAV, FLAC, OGG, MP3, AIFF, AU or W64; fetch it again, or convert it "
                f"to WAV."
            ) from error


def _blocks(sound):
    """The samples ``[n, channels]``, block by block.

    The header does not set the size: a corrupt one asks for all memory.
    """
    size = max(1, BLOCK // sound.channels)
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        yield block


def _mixed(sound, called):
    """The mean of the channels, float32 ``[N]``."""
    most = MOST_SECONDS * sound.samplerate
    pieces, count = [], 0
    if not _is_mp3(sound):
        _check_length(sound.frames, most, called)
    with np.errstate(invalid="ignore", over="ignore"):  # told as not finite, later
        for block in _blocks(sound):
            pieces.append(block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
            count += len(block)
            _check_length(count, most, called)
    if count < sound.frames and not _is_mp3(sound):
        raise DataError(
            f"{called} is cut off: {counted(count, 'sample')} of {sound.frames:,} are "
            f"there; fetch it again."
        )
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _is_mp3(sound):
    """Whether the length in the header may be an estimate."""
    return sound.subtype.startswith("MPEG")


def _check_length(count, most, called):
    if count > most:
        raise DataError(
            f"{called} is longer than {MOST_SECONDS // 3600} hours, the most that is "
            f"read into memory; cut it into shorter files, best where nobody speaks."
        )


def _check_whole(path, called):
    with open_data(path, called) as file:
        missing = missing_bytes(file)
    if missing:
        raise DataError(
            f"{called} is cut off: its header promises {counted(missing, 'byte')} of "
            f"sound more than there are; fetch it again, or export it again to keep "
            f"what is there."
        )


def check_sound(samples: np.ndarray, rate: int, called: str) -> np.ndarray:
    """Samples as contiguous float32 ``[N]``, finite and of full scale 1.

    Args:
        samples: floats ``[N]``.
        rate: samples a second, to say where one is wrong.
        called: what errors call the sound.

    Raises:
        TypeError: ``samples`` is not floating point.
        ValueError: ``samples`` has more than one axis.
        DataError: a sample is not finite, or larger than 10.

    >>> check_sound(np.zeros(3), 8000, "the sound").dtype
    dtype('float32')
    """
    samples = check_samples(samples)
    # NaN is no such number either, and two passes suffice for samples that are right.
    if not len(samples) or -LOUDEST <= samples.min() <= samples.max() <= LOUDEST:
        return samples
    finite = np.isfinite(samples)
    if not finite.all():
        at = int(finite.argmin())
        raise DataError(
            f"{called}: the sample at {at / rate:.3f} s is {samples[at]}, expected "
            f"finite numbers; export it again."
        )
    loudest = float(np.abs(samples).max())
    raise DataError(
        f"{called} has samples as large as {loudest:g}, expected floats from -1 to "
        f"1; divide them by their full scale, such as 32768."
    )
