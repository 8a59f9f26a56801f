"""Samples of sound files: formats, rates, and files that cannot be used."""

import contextlib
import os
import struct
import sys

import numpy as np
import pytest
import soundfile

from lstm_jax.data.sounds import fraction_clipped, is_silent, read_sound, sound_info
from lstm_jax.data.sounds import sound as module
from lstm_jax.data.sounds.packages import need
from lstm_jax.data.text import DataError
from tests.data.sounds.made import frequency, refusal, sine, write

FORMATS = [
    ("wav", "PCM_U8", 2**-7),
    ("wav", "PCM_16", 2**-15),
    ("wav", "PCM_24", 2**-23),
    ("wav", "PCM_32", 2**-23),
    ("wav", "FLOAT", 2**-23),
    ("wav", "DOUBLE", 2**-23),
    ("flac", "PCM_16", 2**-15),
    ("flac", "PCM_24", 2**-23),
    ("aiff", "PCM_16", 2**-15),
    ("au", "PCM_16", 2**-15),
    ("w64", "PCM_16", 2**-15),
]


@pytest.mark.parametrize(("suffix", "subtype", "step"), FORMATS)
def test_formats(tmp_path, suffix, subtype, step):
    tone = sine(8000, amplitude=0.9)
    path = write(tmp_path / f"a.{suffix}", tone, subtype=subtype)
    samples = read_sound(path, 8000)
    assert samples.dtype == np.float32
    assert samples.shape == tone.shape
    np.testing.assert_allclose(samples, tone, atol=step)


@pytest.mark.parametrize(
    ("suffix", "options", "rate"),
    [
        ("ogg", {}, 44100),
        ("opus", {"format": "OGG", "subtype": "OPUS"}, 48000),
        ("mp3", {}, 44100),
    ],
)
def test_lossy_formats(tmp_path, suffix, options, rate):
    path = write(tmp_path / f"a.{suffix}", sine(rate), rate, **options)
    samples = read_sound(path, 16000)
    assert len(samples) == 16000
    assert frequency(samples, 16000) == 440
    assert np.std(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    assert sound_info(path).samples == rate


def test_full_scale(tmp_path):
    path = write(tmp_path / "a.wav", np.array([-32768, 16384, 0], np.int16))
    assert read_sound(path, 8000).tolist() == [-1, 0.5, 0]


def test_channels_are_mixed(tmp_path):
    left, right, rear = sine(8000), sine(8000, hertz=1000), np.zeros(8000)
    tones = np.stack([left, right, rear], 1)
    path = write(tmp_path / "a.wav", tones, subtype="FLOAT")
    samples = read_sound(path, 8000)
    np.testing.assert_allclose(samples, (left + right) / 3, atol=1e-6)
    assert sound_info(path).channels == 3


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_resampled_stereo_flac(tmp_path, rate):
    tone = sine(44100, 2.0)
    path = write(tmp_path / "a.flac", np.stack([tone, tone], 1), 44100)
    samples = read_sound(path, rate)
    assert len(samples) == 2 * rate
    assert frequency(samples, rate) == 440
    middle = slice(rate // 4, -rate // 4)
    np.testing.assert_allclose(samples[middle], sine(rate, 2.0)[middle], atol=2e-4)


def test_nothing_is_aliased(tmp_path):
    path = write(tmp_path / "a.wav", sine(44100, hertz=6000), 44100)
    assert np.abs(read_sound(path, 8000)[800:-800]).max() < 1e-4


def test_blocks_are_joined(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", np.stack([sine(8000)] * 2, 1), subtype="FLOAT")
    whole = read_sound(path, 8000)
    monkeypatch.setattr(module, "BLOCK", 13)
    np.testing.assert_array_equal(read_sound(path, 8000), whole)


def test_info(tmp_path):
    info = sound_info(write(tmp_path / "a.wav", np.zeros((6000, 2)), 8000))
    assert (info.rate, info.channels, info.samples) == (8000, 2, 6000)
    assert info.seconds == 0.75


def test_header_of_mp3_is_an_estimate(tmp_path, monkeypatch):
    """Without its first frame, MP3 has no exact length in a header."""
    tones = np.concatenate(
        [np.zeros(44100 * 5), np.random.default_rng(0).normal(0, 0.1, 44100 * 5)]
    )
    data = write(tmp_path / "a.mp3", tones, 44100).read_bytes()
    path = tmp_path / "b.mp3"
    path.write_bytes(data[data.index(b"\xff\xfb", 4) :])
    with soundfile.SoundFile(path) as sound:
        assert sound.frames > 11 * 44100
    assert sound_info(path).samples == pytest.approx(441000, abs=3000)
    monkeypatch.setattr(module, "MOST_SECONDS", 11)
    assert len(read_sound(path, 44100)) == sound_info(path).samples


def test_utf8_names(tmp_path):
    path = write(tmp_path / "grüße 你好.flac", sine(8000))
    assert len(read_sound(path, 8000)) == len(read_sound(str(path), 8000)) == 8000


def hostile(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "FILE is an empty file, expected sound."),
        (b"hello, this is text\n" * 99, "FILE cannot be read as sound: Format not rec"),
        (b"RIFF\0\0", "FILE cannot be read as sound: "),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0", "FILE cannot be read as sound: "),
        (bytes(1000), "FILE cannot be read as sound: "),
        (b"\x1f\x8b\x08" + bytes(90), "FILE cannot be read as sound: "),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.raw", "a"])
def test_what_is_not_sound(tmp_path, name, content, said):
    path = hostile(tmp_path, name, content)
    for call in (lambda: read_sound(path, 8000), lambda: sound_info(path)):
        assert refusal(call).replace(str(path), "FILE").startswith(said)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.98])
def test_wav_that_is_cut_off(tmp_path, subtype, fraction):
    data = write(tmp_path / "a.wav", sine(8000), subtype=subtype).read_bytes()
    path = hostile(tmp_path, "b.wav", data[: int(len(data) * fraction)])
    said = refusal(read_sound, path, 8000)
    assert said.startswith(f"{path} is cut off: its header promises ")
    assert "fetch it again" in said


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.98])
def test_flac_that_is_cut_off(tmp_path, fraction):
    data = write(tmp_path / "a.flac", sine(8000)).read_bytes()
    path = hostile(tmp_path, "b.flac", data[: int(len(data) * fraction)])
    assert "fetch it again" in refusal(read_sound, path, 8000)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "aiff", "au", "w64"])
def test_corrupt_files_never_crash(tmp_path, suffix):
    data = write(tmp_path / f"a.{suffix}", sine(16000), 16000).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(20):
        array = np.frombuffer(data, np.uint8).copy()
        array[rng.integers(0, len(array), 30)] = rng.integers(0, 256, 30)
        array[rng.integers(0, 60, 2)] = rng.integers(0, 256, 2)
        path = hostile(tmp_path, "b", array[: rng.integers(1, len(array))].tobytes())
        with contextlib.suppress(DataError):
            assert np.isfinite(read_sound(path, 8000)).all()


def test_length_of_a_streamed_wav_is_not_known(tmp_path):
    """Programs that write into a pipe leave the largest number as the length."""
    data = bytearray(write(tmp_path / "a.wav", sine(8000)).read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    path = hostile(tmp_path, "b.wav", data)
    assert len(read_sound(path, 8000)) == 8000


def test_header_that_asks_for_all_memory(tmp_path):
    data = bytearray(write(tmp_path / "a.flac", sine(8000)).read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    said = refusal(read_sound, hostile(tmp_path, "b.flac", data), 8000)
    assert "b.flac is longer than 4 hours" in said


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_absurd_rates(tmp_path, rate):
    data = bytearray(write(tmp_path / "a.wav", sine(8000)).read_bytes())
    data[24:28] = struct.pack("<I", rate)
    said = refusal(read_sound, hostile(tmp_path, "b.wav", data), 8000)
    assert f"b.wav has a sampling rate of {rate:,} Hz, expected 1,000 to" in said


def test_rate_that_is_asked_for(tmp_path):
    path = write(tmp_path / "a.wav", sine(8000))
    with pytest.raises(ValueError, match="rate is 16 Hz, expected 1,000 to 1,000,000"):
        read_sound(path, 16)
    with pytest.raises(TypeError, match=r"rate is 8000.0, expected a whole number."):
        read_sound(path, 8000.0)  # pyright: ignore[reportArgumentType]


def test_no_samples(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(0))
    assert "a.wav has no samples, expected sound;" in refusal(read_sound, path, 8000)
    path = write(tmp_path / "b.wav", np.zeros(2), 44100)
    assert "b.wav has 2 samples at 44,100 Hz, which is less than one at 8,000" in (
        refusal(read_sound, path, 8000)
    )
    path = write(tmp_path / "c.wav", np.zeros(1), 8000)
    assert len(read_sound(path, 16000)) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_not_finite(tmp_path, bad, channels):
    samples = np.zeros((8000, channels), np.float32)
    samples[4000] = bad
    samples[4000, -1] *= -1  # the mean of opposite infinities is not a number
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    said = refusal(read_sound, path, 16000)
    assert "a.wav: the sample at 0.500 s is " in said


def test_another_scale(tmp_path):
    path = write(tmp_path / "a.wav", 32767 * sine(8000), subtype="FLOAT")
    assert "a.wav has samples as large as 16" in refusal(read_sound, path, 8000)
    path = write(tmp_path / "b.wav", 2 * sine(8000, hertz=1000), subtype="FLOAT")
    assert np.abs(read_sound(path, 8000)).max() == pytest.approx(1)


def test_too_long(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", np.zeros(8001))
    monkeypatch.setattr(module, "MOST_SECONDS", 1)
    assert "a.wav is longer than" in refusal(read_sound, path, 8000)
    assert len(read_sound(write(path, np.zeros(8000)), 8000)) == 8000
    path = write(tmp_path / "a.mp3", np.zeros(48000), 44100)
    assert "a.mp3 is longer than" in refusal(read_sound, path, 8000)


def test_places_that_are_not_files(tmp_path):
    said = refusal(read_sound, tmp_path / "a.wav", 8000)
    assert said == f"{tmp_path / 'a.wav'} cannot be read: No such file or directory."
    assert "Is a directory" in refusal(read_sound, tmp_path, 8000)
    said = refusal(read_sound, "a\0.wav", 8000, called="list.csv, line 3")
    assert said.startswith("list.csv, line 3 cannot be read: ")


def test_pipes_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    assert "it is a pipe, expected a reg" in refusal(
        read_sound, tmp_path / "a.wav", 1000
    )


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_missing_packages_are_named(tmp_path, monkeypatch, package):
    path = write(tmp_path / "a.wav", sine(8000))
    monkeypatch.setitem(sys.modules, package, None)
    said = refusal(read_sound, path, 16000)
    assert said == f"sound needs the package {package}: pip install 'lstm-jax[speech]'."
    if package == "soxr":  # not needed for equal rates
        assert len(read_sound(path, 8000)) == 8000


def test_a_library_that_does_not_load(monkeypatch):
    def load(name):
        raise OSError("sndfile library not found")

    monkeypatch.setattr("importlib.import_module", load)
    said = refusal(need, "soundfile")
    assert "does not load its C library (sndfile library not found); install" in said


def test_bad_recordings_are_found():
    tone = sine(8000, hertz=1000, amplitude=1.5).clip(-1, 1)
    assert 0.4 < fraction_clipped(tone) < 0.8
    assert fraction_clipped(0.9 * tone) == fraction_clipped(tone[:0]) == 0
    assert is_silent(np.zeros(9))
    assert is_silent(np.zeros(0))
    assert is_silent(np.full(9, -9e-5))
    assert not is_silent(np.array([0, -2e-4]))
