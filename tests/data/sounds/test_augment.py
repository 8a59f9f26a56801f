"""Variations of sounds: levels, lengths, ratios, and that seeds decide them."""

import numpy as np
import pytest

from lstm_jax.data.sounds.augment import (
    add_noise,
    at_speed,
    at_tempo,
    at_tone,
    draw_gaps,
    draw_tone,
    gain,
    join,
    length_at_speed,
    speed_factor,
)
from tests.data.sounds.made import frequency, sine

RATE = 8000
TONE = sine(RATE).astype(np.float32)
VARIATIONS = {
    "gain": lambda x, rng: gain(x, rng, 6.0),
    "speed": lambda x, rng: at_speed(x, speed_factor(rng, 10.0)),
    "tempo": lambda x, rng: at_tempo(x, speed_factor(rng, 40.0), RATE),
    "tone": lambda x, rng: at_tone(x, draw_tone(rng, 6.0)),
    "white": lambda x, rng: add_noise(x, rng, 0.0, 20.0),
    "pink": lambda x, rng: add_noise(x, rng, 0.0, 20.0, "pink"),
    "join": lambda x, rng: join([x, x], draw_gaps(rng, 2, 0.0, 0.5, RATE)),
}


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", VARIATIONS)
def test_seeds_decide(name):
    vary, before = VARIATIONS[name], TONE.copy()
    found = vary(TONE, generator(1))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vary(TONE, generator(1)))
    other = vary(TONE, generator(2))
    assert len(other) != len(found) or np.abs(other - found).max() > 1e-3
    np.testing.assert_array_equal(TONE, before)
    assert vary(TONE[:0], generator()).dtype == np.float32
    with pytest.raises(TypeError, match="dtype int16, expected floats"):
        vary(np.ones(9, np.int16), generator())


def test_gain():
    rng = generator()
    levels = [20 * np.log10(gain(np.ones(1), rng, 6.0)[0]) for _ in range(2000)]
    assert -6 <= min(levels) < -5.9
    assert 5.9 < max(levels) <= 6
    assert abs(np.mean(levels)) < 0.3
    with pytest.raises(ValueError, match="db is -1, expected 0 or more"):
        gain(TONE, rng, -1)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100, 1234, 7777])
@pytest.mark.parametrize("factor", [0.5, 0.9, 0.913, 1.0, 1.001, 1.07, 1.5, 3.0])
def test_lengths_at_a_speed(length, factor):
    found = at_speed(TONE[:length], factor)
    assert len(found) == length_at_speed(length, factor) == round(length / factor)
    assert not np.shares_memory(found, TONE)
    found = at_tempo(TONE[:length], factor, RATE)
    assert len(found) == round(length / factor)
    assert not np.shares_memory(found, TONE)


def test_speed_changes_the_pitch():
    for factor in (0.9, 1.1):
        found = at_speed(TONE, factor)
        assert frequency(found, RATE) == pytest.approx(440 * factor, abs=1)
        times = np.arange(len(found)) * factor / RATE
        want = 0.5 * np.sin(2 * np.pi * 440 * times)
        middle = slice(500, -500)
        np.testing.assert_allclose(found[middle], want[middle], atol=1e-3)


def test_speeds_are_uniform():
    rng = generator()
    factors = [speed_factor(rng, 10.0) for _ in range(2000)]
    assert 0.9 <= min(factors) < 0.902
    assert 1.098 < max(factors) <= 1.1
    with pytest.raises(ValueError, match="percent is 80, expected 0 to 50"):
        speed_factor(rng, 80)
    with pytest.raises(ValueError, match="factor is 0, expected a speed above 0"):
        at_speed(TONE, 0)


@pytest.mark.parametrize("factor", [0.5, 0.7, 0.95, 1.05, 1.5])
@pytest.mark.parametrize("hertz", [150, 440, 1234])
def test_tempo_keeps_pitch_and_level(factor, hertz):
    """Pieces that do not continue each other would weaken a tone."""
    x = sine(RATE, hertz=hertz).astype(np.float32)
    found = at_tempo(x, factor, RATE)
    assert frequency(found, RATE) == pytest.approx(hertz, abs=1)
    middle = found[400:-400]
    assert np.std(middle) == pytest.approx(0.5**1.5, rel=0.01)
    assert np.abs(middle).max() < 0.505


def test_tempo_keeps_the_order_of_what_is_heard():
    """A click at half of the time stays there, whatever the tempo."""
    x = np.zeros(RATE, np.float32)
    x[RATE // 2] = 1
    for factor in (0.6, 1.4):
        found = at_tempo(x, factor, RATE)
        at = np.abs(found).argmax() / len(found)
        assert at == pytest.approx(0.5, abs=0.03)
    with pytest.raises(ValueError, match="factor is 0, expected a speed above 0"):
        at_tempo(TONE, 0, RATE)


def test_tone():
    levels = [20.0, 0.0, -20.0]  # at 0, 2000 and 4000 Hz
    for hertz, db in ((1000, 10), (2000, 0), (3000, -10)):
        x = sine(RATE, hertz=hertz)
        change = np.std(at_tone(x, levels)[500:-500]) / np.std(x[500:-500])
        assert 20 * np.log10(change) == pytest.approx(db, abs=0.1)
    quiet = np.concatenate([TONE[:800], np.zeros(800, np.float32)])
    assert np.abs(at_tone(quiet, levels)[-100:]).max() < 0.01
    drawn = np.array([draw_tone(generator(seed), 6.0) for seed in range(300)])
    assert -6 <= drawn.min() < -5.9
    assert 5.9 < drawn.max() <= 6
    assert np.abs(np.corrcoef(drawn.T) - np.eye(8)).max() < 0.25


def ratio(x, found):
    """The signal-to-noise ratio in decibels, by the definition."""
    noise = found.astype(np.float64) - x
    return 10 * np.log10(np.mean(x[x != 0] ** 2.0) / np.mean(noise**2))


@pytest.mark.parametrize("color", ["white", "pink"])
@pytest.mark.parametrize("db", [-5.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("silence", [0, 30_000])
def test_signal_to_noise_ratio(color, db, silence):
    x = np.concatenate([np.zeros(silence, np.float32), TONE])
    found = add_noise(x, generator(), db, db, color)
    assert ratio(x, found) == pytest.approx(db, abs=0.2)
    assert len(found) == len(x)
    if silence:  # the noise is everywhere
        quiet, loud = found[:silence], (found - x)[silence:]
        assert np.std(quiet) == pytest.approx(np.std(loud), rel=0.1)


def test_ratios_are_uniform():
    rng = generator()
    ratios = [ratio(TONE, add_noise(TONE, rng, 5.0, 15.0)) for _ in range(300)]
    assert 5 - 1e-3 <= min(ratios) < 5.5
    assert 14.5 < max(ratios) <= 15 + 1e-3
    assert np.mean(ratios) == pytest.approx(10, abs=0.6)


def power(noise, low, high):
    """Between two frequencies in Hz."""
    spectrum = np.square(np.abs(np.fft.rfft(noise)))
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    return spectrum[(hertz >= low) & (hertz < high)].sum()


def test_colors():
    x = np.full(20 * RATE, 1e-3, np.float32)
    noises = {c: add_noise(x, generator(), 0.0, 0.0, c) - x for c in ("white", "pink")}
    octaves = [(250, 500), (500, 1000), (1000, 2000), (2000, 4000)]
    for color, rise in (("white", 2), ("pink", 1)):
        powers = [power(noises[color], *octave) for octave in octaves]
        np.testing.assert_allclose(np.divide(powers[1:], powers[:-1]), rise, rtol=0.1)
    assert power(noises["pink"], 0, 15) < 1e-3 * power(noises["pink"], 250, 500)
    with pytest.raises(ValueError, match="color is 'red', must be one of white, pink"):
        add_noise(x, generator(), 0, 0, "red")


@pytest.mark.parametrize("color", ["white", "pink"])
def test_noise_of_short_and_silent_sounds(color):
    for length in (0, 1, 2, 3):
        assert np.isfinite(
            add_noise(TONE[5 : 5 + length], generator(), 3, 9, color)
        ).all()
    rng, like = generator(), generator()
    np.testing.assert_array_equal(add_noise(0 * TONE, rng, 3, 9, color), 0 * TONE)
    add_noise(TONE, like, 3, 9, color)
    assert rng.uniform() == like.uniform()  # silence draws as many numbers as sound
    with pytest.raises(ValueError, match="low_db is 9 and high_db is 3, expected fin"):
        add_noise(TONE, rng, 9, 3, color)


def test_join():
    pieces = [TONE[:300] + 2, TONE[:1] + 2, TONE[:50] + 2]
    gaps = draw_gaps(generator(), 3, 0.1, 0.5, RATE)
    assert gaps.shape == (4,)
    assert len({*gaps.tolist()}) == 4
    assert 800 <= gaps.min() <= gaps.max() <= 4000
    found = join(pieces, gaps)
    assert len(found) == 351 + gaps.sum()
    start = 0
    for piece, gap in zip(pieces, gaps, strict=False):
        assert not found[start : start + gap].any()
        start += gap + len(piece)
        np.testing.assert_array_equal(found[start - len(piece) : start], piece)
    assert not found[start:].any()
    assert join([], [5]).tolist() == [0] * 5


def test_gaps_that_cannot_be_used():
    with pytest.raises(ValueError, match="gaps has 2 numbers for 2 pieces, expected 3"):
        join([TONE, TONE], [0, 0])
    with pytest.raises(ValueError, match="a gap is -1 samples, expected 0 or more"):
        join([TONE], [0, -1])
    with pytest.raises(ValueError, match=r"low is -0.1, expected 0 or more"):
        draw_gaps(generator(), 1, -0.1, 1.0, RATE)
    with pytest.raises(ValueError, match="low is 2 and high is 1, expected finite"):
        draw_gaps(generator(), 1, 2, 1, RATE)
