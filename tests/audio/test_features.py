"""Features against Kaldi and librosa, and a stream against the whole signal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lstm_jax.audio import (
    FeatureConfig,
    FeatureStream,
    FrameStream,
    deltas,
    features,
    frame_count,
)
from tests.audio.reference import CEPSTRA, MELS, PATH, RATE, signal

REFERENCE = dict(np.load(PATH))
KALDI = FeatureConfig(rate=RATE, mels=MELS)


def sound():
    return jnp.asarray(signal())


def librosa(scale, **more):
    plain = dict(window="hann", pre_emphasis=0.0, remove_mean=False, lifter=0.0)
    return FeatureConfig(rate=RATE, mels=MELS, scale=scale, **plain, **more)


def close(found, name):
    """To 1e-4 of the largest value. librosa leaves out a frame at the end."""
    expected = REFERENCE[name]
    assert len(expected) <= len(found) <= len(expected) + 1
    error = np.abs(np.asarray(found)[: len(expected)] - expected).max()
    assert error <= 1e-4 * np.abs(expected).max()


def test_kaldi():
    close(features(sound(), KALDI), "kaldi_mels")
    cepstra = FeatureConfig(rate=RATE, mels=MELS, cepstra=CEPSTRA)
    close(features(sound(), cepstra), "kaldi_cepstra")


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_librosa(scale):
    found = features(sound(), librosa(scale))
    energies = np.exp(found)
    close(energies, f"{scale}_energies")
    close(features(sound(), librosa(scale, cepstra=CEPSTRA)), f"{scale}_cepstra")


def test_slopes():
    found = features(sound(), FeatureConfig(rate=RATE, mels=MELS, deltas=2))
    assert found.shape[1] == 3 * MELS
    close(found[:, MELS : 2 * MELS], "htk_slopes")
    twice = deltas(found[:, MELS : 2 * MELS], 1)[:, MELS:]
    np.testing.assert_allclose(found[:, 2 * MELS :], twice, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        FeatureConfig(rate=RATE, mels=20),
        FeatureConfig(rate=RATE, mels=20, deltas=1),
        FeatureConfig(rate=RATE, mels=20, cepstra=12, deltas=2),
        # Frames that do not overlap, with samples between them.
        FeatureConfig(rate=RATE, mels=20, frame_ms=25, hop_ms=40, deltas=1),
    ],
    ids=lambda config: f"{config.cepstra}-{config.deltas}-{config.hop_ms:g}",
)
def test_any_split_is_the_whole(config):
    samples, rng = signal(), np.random.default_rng(0)
    whole = np.asarray(features(sound(), config))
    for trial in range(25):
        cuts = np.sort(rng.integers(0, len(samples), rng.integers(0, 60)))
        stream, parts, given = FeatureStream(config), [], 0
        for piece in np.split(samples, cuts):
            parts.append(stream.feed(piece))
            given += len(piece)
            # As early as can be.
            ready = frame_count(given, config) - 2 * config.deltas
            assert sum(map(len, parts)) == max(ready, 0)
        parts.append(stream.finish())
        found = np.concatenate(parts)
        assert found.shape == whole.shape
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=2e-4, err_msg=trial)


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("hop_ms", [10, 40])
def test_stretches_hold_whole_groups_of_frames(group, hop_ms):
    """Every sample of every group once, as early as can be, in a few sizes."""
    config = FeatureConfig(rate=RATE, mels=20, hop_ms=hop_ms)
    size, hop = config.frame_size, config.hop_size
    samples, rng = signal(), np.random.default_rng(0)
    sizes = set()
    for _ in range(25):
        cuts = np.sort(rng.integers(0, len(samples), rng.integers(0, 60)))
        stream, given, groups = FrameStream(config, group), 0, 0
        for piece in np.split(samples, cuts):
            given += len(piece)
            for part, count in stream.feed(piece):
                sizes.add(len(part))
                start, real = groups * group * hop, (count * group - 1) * hop + size
                np.testing.assert_array_equal(
                    part[:real], samples[start:][:real].astype(np.float32)
                )
                groups += count
            assert groups == frame_count(given, config) // group
    assert len(sizes) <= 10


def test_a_finished_stream():
    stream = FeatureStream(KALDI)
    stream.finish()
    with pytest.raises(RuntimeError, match="the stream is finished"):
        stream.feed(signal())


def test_short_signals():
    for count in (0, 1, KALDI.frame_size - 1):
        assert features(jnp.zeros(count), KALDI).shape == (0, MELS)
        stream = FeatureStream(KALDI)
        assert stream.feed(np.zeros(count)).shape == (0, MELS)
        assert stream.finish().shape == (0, MELS)
    silence = features(jnp.zeros(400), KALDI)
    np.testing.assert_allclose(silence, np.log(KALDI.floor), rtol=1e-6)


def test_batch_axes():
    both = jnp.stack([sound()[:2000], sound()[1999::-1]], axis=1)
    config = FeatureConfig(rate=RATE, mels=20, deltas=1)
    found = features(both[:, None], config)
    assert found.shape == (frame_count(2000, config), 1, 2, 40)
    for n in range(2):
        np.testing.assert_allclose(
            found[:, 0, n], features(both[:, n], config), rtol=1e-4, atol=1e-4
        )


def test_gradients():
    """By finite differences of a loud signal, and finite for silence."""
    config = FeatureConfig(rate=1000, mels=5, low=0, cepstra=4, deltas=1)
    noise = jax.random.normal(jax.random.key(0), (60,))
    check_grads(lambda x: features(x, config), (noise,), order=1, eps=1e-2, rtol=2e-2)
    silent = jax.grad(lambda x: features(x, config).sum())(jnp.zeros(60))
    assert bool(jnp.isfinite(silent).all())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(cepstra=81), "cepstra is 81 and mels 80"),
        (dict(high=9000), "low is 20 Hz and high 9000 Hz, expected low below high"),
        (dict(low=8000), "expected low below high"),
        (dict(mels=300), "of 300 mel bands hold no frequency"),
        (dict(frame_ms=0.1), "lengthen them"),
        (dict(hop_ms=0.01), "lengthen them"),
    ],
)
def test_configs_that_cannot_be(change, says):
    with pytest.raises(ValueError, match=says):
        FeatureConfig(**change)


def test_wrong_signals():
    with pytest.raises(TypeError, match="signal"):
        features(jnp.zeros(400, jnp.int16), KALDI)
    with pytest.raises(TypeError, match="divide 16-bit integers by 32768"):
        FeatureStream(KALDI).feed(np.zeros(400, np.int16))
    with pytest.raises(ValueError, match=r"expected \[N\]"):
        FeatureStream(KALDI).feed(np.zeros((400, 2)))
