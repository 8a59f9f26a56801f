"""The acoustic model: rows alone, in a batch, and while the sound is coming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.audio import FeatureConfig, features, frame_lengths
from lstm_jax.data.standardise import Standardisation
from lstm_jax.models.acoustic import AcousticConfig, SpecAugmentConfig
from lstm_jax.models.spec_augment import spec_augment

OF = FeatureConfig(rate=2000, mels=6, deltas=1)
SCALE = Standardisation(tuple(np.linspace(-9, 1, OF.size)), (2.0,) * OF.size)
CONFIGS = [
    AcousticConfig(hidden_size=5, num_layers=2),
    AcousticConfig(hidden_size=5, normalise="utterance", stack_frames=3),
    AcousticConfig(hidden_size=5, num_layers=1, normalise="level"),
    AcousticConfig(hidden_size=5, bidirectional=False, normalise="running"),
    AcousticConfig(hidden_size=6, bidirectional=False, projection_size=3),
    AcousticConfig(hidden_size=5, bidirectional=False, cell="layer_norm_lstm"),
    AcousticConfig(
        hidden_size=5, bidirectional=False, normalise="running", stack_frames=2
    ),
]
STREAMS = [config for config in CONFIGS if config.streams]


def made(config):
    return config.build(OF, SCALE, 4, nnx.Rngs(0))


def sounds(*lengths):
    rng = np.random.default_rng(0)
    return [rng.normal(size=n).astype(np.float32) for n in lengths]


def padded(rows, value):
    longest = max(map(len, rows)) + 130
    out = np.full((longest, len(rows)), value, np.float32)
    for n, row in enumerate(rows):
        out[: len(row), n] = row
    return jnp.asarray(out), jnp.array([len(row) for row in rows], jnp.int32)


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
@pytest.mark.parametrize("padding", [0.0, np.nan])
def test_padding_and_other_rows_change_nothing(config, padding):
    model, rows = made(config), sounds(1000, 440, 0, 777, 49)
    logits, steps = model(*padded(rows, padding), deterministic=True)
    for n, row in enumerate(rows):
        length = jnp.array([len(row)], jnp.int32)
        alone, count = model(jnp.asarray(row)[:, None], length, deterministic=True)
        assert count[0] == steps[n]
        real = int(steps[n])
        np.testing.assert_allclose(logits[:real, n], alone[:real, 0], atol=2e-5)


@pytest.mark.parametrize("deltas", [0, 2])
def test_features_of_rows_of_a_batch(deltas):
    config = FeatureConfig(rate=2000, mels=6, deltas=deltas)
    rows = sounds(900, 333, 20)
    signal, lengths = padded(rows, np.nan)
    found, counts = features(signal, config, lengths), frame_lengths(lengths, config)
    for n, row in enumerate(rows):
        alone = features(jnp.asarray(row), config)
        assert len(alone) == counts[n]
        np.testing.assert_allclose(found[: len(alone), n], alone, atol=1e-5)
        assert (found[len(alone) :, n] == 0).all()


def test_gradients_are_finite_with_padding():
    model = made(CONFIGS[0])
    signal, lengths = padded(sounds(400, 0), np.nan)

    def total(signal):
        return model(signal, lengths, deterministic=True)[0].sum()

    assert jnp.isfinite(jax.grad(total)(signal)).all()


@pytest.mark.parametrize("config", STREAMS, ids=range(len(STREAMS)))
def test_pieces_equal_the_whole(config):
    """Also with steps that do not count behind the real ones."""
    model, each = made(config), config.stack_frames
    (sound,) = sounds(2000)
    xs = features(jnp.asarray(sound)[:, None], OF)
    length = jnp.array([len(sound)], jnp.int32)
    whole, steps = model(jnp.asarray(sound)[:, None], length, deterministic=True)
    model.eval()
    state, found, at = model.listen(), [], 0
    for count in (1, 7, 3, 20, int(steps[0]) - 31):
        part = xs[at * each : (at + count) * each]
        part = jnp.pad(part, ((0, 2 * each), (0, 0), (0, 0)), constant_values=9.0)
        state, logits = model.hear(state, part, count)
        found.append(logits[:count])
        at += count
    np.testing.assert_allclose(
        jnp.concatenate(found), whole[: int(steps[0])], atol=1e-5
    )


def test_what_cannot_stream_says_so():
    for config in CONFIGS:
        if not config.streams:
            with pytest.raises(ValueError, match="need the whole sound"):
                made(config).listen()


@pytest.mark.parametrize("how", ["running", "utterance"])
def test_means_are_those_of_the_equations(how):
    """By hand, for a model that only standardises."""
    (sound,) = sounds(1200)
    signal = jnp.asarray(sound)[:, None]
    length = jnp.array([len(sound)], jnp.int32)
    config = AcousticConfig(hidden_size=5, bidirectional=False, normalise=how)
    found, _ = made(config)(signal, length, deterministic=True)
    xs = np.asarray(features(signal, OF), np.float64)
    x = (xs - SCALE.mean) / SCALE.std
    t = np.arange(1, len(x) + 1)[:, None, None]
    mean = np.cumsum(x, axis=0) / (100 + t) if how == "running" else x.mean(0)
    plain = made(AcousticConfig(hidden_size=5, bidirectional=False))
    plain.eval()
    frames = jnp.asarray((x - mean) * SCALE.std + SCALE.mean, jnp.float32)
    expected = plain.hear(plain.listen(), frames)[1]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_equally_loud():
    """With "level" the loudness of a recording changes nothing; padding neither."""
    model = made(AcousticConfig(hidden_size=5, normalise="level"))
    signal, lengths = padded(sounds(1200, 900, 0), np.nan)
    found, _ = model(signal, lengths, deterministic=True)
    for factor in (0.02, 3.0):
        other, _ = model(factor * signal, lengths, deterministic=True)
        np.testing.assert_allclose(other, found, atol=1e-4)
    assert np.isfinite(model(jnp.zeros((900, 1)), jnp.array([900]))[0]).all()
    real = np.asarray(signal)[:1200, 0]
    plain = made(AcousticConfig(hidden_size=5))
    loud = jnp.asarray(0.1 * real / np.sqrt(np.mean(real**2)))[:, None]
    want, _ = plain(loud, lengths[:1], deterministic=True)
    np.testing.assert_allclose(found[: len(want), 0], want[:, 0], atol=1e-4)


def test_training_hides_and_evaluation_does_not():
    augment = SpecAugmentConfig(time_masks=2, time_ms=200, band_masks=1)
    model = made(AcousticConfig(hidden_size=5, augment=augment))
    signal, lengths = padded(sounds(1500, 900), 0.0)
    key = jax.random.key(0)
    one, _ = model(signal, lengths, key=key, deterministic=True)
    two, _ = model(signal, lengths, deterministic=True)
    three, _ = model(signal, lengths, key=key, deterministic=False)
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, three)


def test_masks():
    """Widths within their limits, every place reached, rows of their own."""
    steps, features_ = 60, 10
    lengths = jnp.array([60, 20, 0], jnp.int32)
    xs = jnp.ones((steps, 3, features_))
    masks = dict(time_masks=1, time_width=8, band_masks=1, band_width=3)
    hide = jax.jit(lambda key: spec_augment(xs, lengths, key, **masks) == 0)
    found = np.stack([hide(key) for key in jax.random.split(jax.random.key(0), 300)])
    in_time, in_bands = found.all(axis=3), found.all(axis=1)
    for row, (most, reach) in enumerate([(8, 60), (4, 20), (0, 0)]):
        widths = in_time[:, :, row].sum(axis=1)
        assert widths.max() == most
        assert widths.min() == 0
        assert in_time[:, :reach, row].any(axis=0).all()
        assert not in_time[:, reach:, row].any()
    widths = in_bands.sum(axis=2)
    assert widths.max() == 3
    assert in_bands.any(axis=0).all()
    assert (in_time[:, :, 0].sum(1) != in_time[:, :, 1].sum(1)).any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(num_layers=1, dropout=0.1), "acts between layers"),
        (dict(cell="gru", projection_size=4), 'needs cell="lstm"'),
        (dict(hidden_size=8, projection_size=8), "less than hidden_size"),
        (dict(variational=True), "variational"),
    ],
)
def test_options_that_do_not_go_together(values, said):
    with pytest.raises(ValueError, match=said):
        AcousticConfig(**values)
