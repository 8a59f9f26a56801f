"""The encoder and decoder against their equations."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from lstm_jax.models.forecast.encoder_decoder import EncoderDecoderConfig
from lstm_jax.models.forecast.heads import Quantiles
from lstm_jax.models.forecast.window import Sizes, Window
from tests import reference

C, H, SIZE, B = 7, 4, 5, 3
CONFIG = EncoderDecoderConfig(
    context=C,
    horizon=H,
    hidden_size=SIZE,
    embed_size=2,
    output_dropout=0.0,
    head=Quantiles(levels=(0.2, 0.5, 0.9)),
)


def build(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    model = config.build(Sizes(4, known=2, past=1, static=1), nnx.Rngs(3))
    model.eval()
    return model


def some():
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(2.0, 3.0, shape).astype(np.float32)
    observed = rng.random((C, B)) < 0.7
    observed[:2] = True
    return Window(
        normal(C, B),
        observed,
        np.array([0, 3, -1]),
        normal(C + H, B, 2),
        normal(C, B, 1),
        normal(B, 1),
    )


def by_hand(model, window, b):
    there = window.observed[:, b]
    y = window.y[:, b].astype(np.float64)
    loc, scale = y[there].mean(), y[there].std()
    y = np.where(there, (y - loc) / scale, 0.0)
    table = np.asarray(model.series.table[...], np.float64)
    index = window.series[b]
    vector = table[index] if index >= 0 else table.mean(axis=0)
    fixed = [*vector, *window.static[b]]
    past = [
        [y[t], there[t], *window.past[t, b], *window.known[t, b], *fixed]
        for t in range(C)
    ]
    future = [[*window.known[C + k, b], *fixed, (k + 1) / H] for k in range(H)]
    zero = np.zeros(SIZE)
    state, hs = (zero, zero), []
    for params, xs in ((model.encoder.params, past), (model.decoder.params, future)):
        weights = [np.asarray(w, np.float64) for w in params[0]]
        for x in np.array(xs, np.float64):
            state = reference.lstm_step(weights, state, x)
            hs.append(state[0])
    hs = hs[-H:]
    w, b_out = (
        np.asarray(p[...], np.float64)
        for p in (model.readout.kernel, model.readout.bias)
    )
    return (np.stack(hs) @ w + b_out) * scale + loc


def test_equations():
    model, window = build(), some()
    got = model(window)
    for b in range(B):
        np.testing.assert_allclose(
            got[:, b], by_hand(model, window, b), rtol=2e-4, atol=2e-4
        )


def test_what_is_asked_for_is_given():
    model, window = build(), some()
    whole = np.sort(model(window), axis=-1)
    found = model.forecast(window, None, 2, (0.5, 0.9))
    np.testing.assert_array_equal(found, whole[:2, :, 1:])
    # What is known ahead may end earlier.
    short = window._replace(known=window.known[: C + 2])
    np.testing.assert_allclose(np.sort(model(short)), whole[:2], rtol=1e-6)


def test_dropout_acts_in_training_alone():
    model, window = build(output_dropout=0.5), some()
    key = jax.random.key(1)
    trained = model(window, key=key, deterministic=False)
    assert not np.allclose(trained, model(window))
    np.testing.assert_array_equal(trained, model(window, key=key, deterministic=False))
    with pytest.raises(ValueError, match="dropout"):
        model(window, deterministic=False)
