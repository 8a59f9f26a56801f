"""Streams: resampled piece by piece, and raw samples from a pipe."""

import io
import os
import threading

import numpy as np
import pytest

from lstm_jax.data.sounds import StreamResampler, read_pcm, resample
from tests.data.sounds.made import refusal, sine

RNG = np.random.default_rng(0)


def cuts(length, sizes):
    """Pieces of ``sizes``, over and over, as slices."""
    start, n = 0, 0
    while start < length:
        yield slice(start, start + sizes[n % len(sizes)])
        start += sizes[n % len(sizes)]
        n += 1


@pytest.mark.parametrize("sizes", [(1,), (160,), (7, 0, 1000), (4096, 3), (99_999,)])
@pytest.mark.parametrize(
    "rates", [(44100, 8000), (48000, 16000), (8000, 16000), (16000, 16000)]
)
def test_any_cut_gives_the_same(rates, sizes):
    samples = RNG.uniform(-1, 1, 9001).astype(np.float32)
    stream = StreamResampler(*rates)
    whole = [stream.feed(samples), stream.finish()]
    stream = StreamResampler(*rates)
    pieces = [stream.feed(samples[cut]) for cut in cuts(len(samples), sizes)]
    found = np.concatenate([*pieces, stream.finish()])
    np.testing.assert_allclose(found, np.concatenate(whole), atol=1e-6)
    np.testing.assert_allclose(found, resample(samples, *rates), atol=1e-6)
    assert len(found) == round(9001 * rates[1] / rates[0])
    assert found.dtype == np.float32


def test_equal_rates_pass_through():
    samples = sine(8000).astype(np.float32)
    stream = StreamResampler(8000, 8000)
    found = stream.feed(samples)
    np.testing.assert_array_equal(found, samples)
    assert not np.shares_memory(found, samples)
    assert len(stream.finish()) == 0


def test_views_and_other_floats():
    samples = sine(44100)
    want = resample(samples[::2].astype(np.float32), 22050, 8000)
    np.testing.assert_array_equal(resample(samples[::2], 22050, 8000), want)


def test_wrong_use_of_a_stream():
    stream = StreamResampler(8000, 16000)
    stream.finish()
    for call in (stream.finish, lambda: stream.feed(np.zeros(1))):
        with pytest.raises(RuntimeError, match="the stream is finished; make a new"):
            call()
    stream = StreamResampler(8000, 16000)
    with pytest.raises(TypeError, match="dtype int16, expected floats from -1 to 1;"):
        stream.feed(np.ones(3, np.int16))
    with pytest.raises(ValueError, match=r"shape \(3, 2\), expected \[N\]"):
        stream.feed(np.ones((3, 2)))
    with pytest.raises(ValueError, match="rate_out is 0, expected 1 or more"):
        StreamResampler(8000, 0)


class Dripping:
    """A file that gives so many bytes a read, whatever it is asked for."""

    def __init__(self, data, sizes):
        self.pieces = [data[cut] for cut in cuts(len(data), sizes)]

    def read(self, size):
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]


INTEGERS = RNG.integers(-32768, 32768, 1000).astype("<i2")


@pytest.mark.parametrize("sizes", [(1,), (2,), (3,), (1, 4, 7), (5000,)])
@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_pcm(sizes, chunk):
    pieces = [*read_pcm(Dripping(INTEGERS.tobytes(), sizes), chunk)]  # pyright: ignore[reportArgumentType]
    found = np.concatenate(pieces)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found * 32768, INTEGERS)
    assert max(map(len, pieces)) <= chunk
    assert min(map(len, pieces)) > 0


def test_half_a_sample_at_the_end_is_dropped():
    data = INTEGERS.tobytes() + b"\x7f"
    assert sum(map(len, read_pcm(io.BytesIO(data), 64))) == 1000
    assert [*read_pcm(io.BytesIO(b"\x7f"))] == [*read_pcm(io.BytesIO())] == []


@pytest.mark.parametrize("buffering", [0, -1])
def test_pcm_does_not_wait_for_a_full_chunk(buffering):
    source, sink = os.pipe()
    with open(source, "rb", buffering=buffering) as file:
        pieces = read_pcm(file, 4096)
        os.write(sink, INTEGERS[:10].tobytes())
        found = []
        reader = threading.Thread(
            target=lambda: found.append(next(pieces)), daemon=True
        )
        reader.start()
        reader.join(10)
        waited = reader.is_alive()
        os.close(sink)
        reader.join(10)
        assert not waited
        np.testing.assert_array_equal(found[0] * 32768, INTEGERS[:10])
        assert [*pieces] == []


def test_pcm_that_is_not_raw():
    said = refusal(next, read_pcm(io.BytesIO(b"RIFF\0\0\0\0WAVE")))
    assert "the stream is a WAV file, expected raw signed 16-bit samples" in said
    source, sink = os.pipe()
    os.set_blocking(source, False)
    with open(source, "rb", buffering=0) as file:
        assert "does not wait for any" in refusal(next, read_pcm(file))
    os.close(sink)
