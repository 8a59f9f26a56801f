"""Units that follow a signal, on activations that do so by construction."""

import numpy as np
import pytest

from lstm_jax.diagnostics import find_units, text_signals

TEXT = 'def f(a):\n    return "x (y)"  # It\'s 1\n\nB'


def test_planted_units_are_found():
    rng = np.random.default_rng(0)
    on = rng.random(400) < 0.3
    hs = rng.normal(size=(400, 20))
    hs[:, 3] = np.tanh(3 * on + rng.normal(size=400))
    hs[:, 7] = np.tanh(-4.0 * on)
    first, second, third = find_units(hs, on, count=3)
    assert (first.unit, first.score) == (7, -1.0)
    assert second.unit == 3
    assert second.score > 0.9
    assert abs(third.score) < 0.3


def test_the_score_of_two_values_is_the_auc():
    rng = np.random.default_rng(1)
    h, on = np.round(rng.normal(size=60), 1), rng.random(60) < 0.4
    pairs = np.sign(h[on][:, None] - h[~on][None])
    (found,) = find_units(h[:, None], on)
    np.testing.assert_allclose(found.score, pairs.mean())


def test_a_counter_is_a_rank_correlation():
    column = np.tile(np.arange(10.0), 6)
    hs = np.stack([np.exp(column), -column, np.zeros(60)], axis=1)
    assert [found.unit for found in find_units(hs, column)] == [0, 1, 2]
    assert [found.score for found in find_units(hs, column)] == [1.0, -1.0, 0.0]


def test_signals_of_a_text():
    found = text_signals(TEXT)
    shown = lambda name: "".join("^" if a else " " for a in found[name]).rstrip()
    marks = [mark for mark, on in zip(TEXT, found["quotes"], strict=True) if on]
    assert "".join(marks) == '"x (y)'
    assert [TEXT[n] for n in np.flatnonzero(found["brackets"])] == [*"(a", *"(y"]
    line = TEXT.index("return")
    assert found["indentation"][line] == 4
    assert found["column"][line] == 4
    assert found["column"][TEXT.index("B")] == 0
    assert TEXT[np.flatnonzero(found["capital"])[0]] == "I"
    assert shown("digit").strip() == "^"
    assert "quotes" not in text_signals("no quotes here")


def test_what_is_refused():
    with pytest.raises(ValueError, match="constant"):
        find_units(np.ones((3, 2)), np.ones(3))
    with pytest.raises(ValueError, match=r"\[T, H\]"):
        find_units(np.ones((3, 2)), np.arange(4))
    with pytest.raises(ValueError, match="not finite"):
        find_units(np.full((3, 2), np.nan), np.arange(3))
