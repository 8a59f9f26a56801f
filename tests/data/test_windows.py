"""Windows that hand their state on are the sequences, each run at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import init_lstm, lstm
from lstm_jax.data import continued_rows, cut_windows, last_steps, pad, unpack, unpad
from tests import cells
from tests.data.ragged import SEEDS, assert_same, draw_lengths, draw_sequences
from tests.shapes import H


@SEEDS
@pytest.mark.parametrize("shuffled", [False, True])
def test_there_and_back(seed, shuffled):
    sequences = draw_sequences(seed, dtype=np.int32)
    rng = np.random.default_rng(seed) if shuffled else None
    packed = continued_rows(sequences, rows=4, window=5, value=-1, rng=rng)
    assert packed.xs.shape[0] % 5 == 0
    assert packed.xs.shape[1:] == (4, 3)
    assert_same(unpack(packed.xs, packed), sequences)
    assert (np.diff(packed.mask.astype(int), axis=0) <= 0).all(), "a hole in a row"


@SEEDS
def test_rows_are_balanced(seed):
    """No row can be shorter than the mean, none is a sequence longer than it."""
    lengths = draw_lengths(seed)
    packed = continued_rows(draw_sequences(seed), rows=4, window=1)
    filled = packed.mask.sum(axis=0)
    assert filled.max() - filled.min() <= np.sort(lengths[lengths > 0])[:4].max()
    assert packed.waste == pytest.approx(1 - lengths.sum() / packed.mask.size)


def test_order_within_rows():
    """That of the sequences, or a shuffled one; then as balanced as before."""
    sequences = draw_sequences(0)
    inside = lambda p, row: p.starts[(p.rows == row) & (p.lengths > 0)]
    kept = continued_rows(sequences, 2, 5)
    assert all((np.diff(inside(kept, row)) > 0).all() for row in range(2))
    shuffled = continued_rows(sequences, 2, 5, rng=np.random.default_rng(0))
    assert not all((np.diff(inside(shuffled, row)) > 0).all() for row in range(2))
    assert shuffled.xs.shape == kept.xs.shape


def test_one_sequence_fills_one_row():
    packed = continued_rows([np.arange(7), []], rows=2, window=3)
    assert packed.mask.sum(axis=0).tolist() in ([7, 0], [0, 7])
    assert continued_rows([[], []], rows=2, window=3).xs.shape == (3, 2)


@pytest.mark.usefixtures("x64")
def test_the_lstm_continues():
    sequences = draw_sequences(0, dtype=np.float64, longest=30)
    sequences = [np.sin(s) for s in sequences if len(s)]
    packed = continued_rows(sequences, rows=3, window=8)
    like = init_lstm(jax.random.key(0), 3, H, dtype=jnp.float64)
    params, carry, hs = cells.draw(like, seed=1), None, []
    flags = packed.xs, packed.mask, packed.resets
    for xs, mask, resets in zip(*(cut_windows(a, 8) for a in flags), strict=True):
        carry, window_hs = lstm(params, carry, xs, mask=mask, resets=resets)
        hs.append(window_hs)
    assert len(hs) > 3
    hs = np.concatenate(hs)
    xs, lengths = pad(sequences)
    want = unpad(lstm(params, None, xs, lengths=lengths)[1], lengths)
    cells.assert_close(unpack(hs, packed), want, 1e-12)
    cells.assert_close(hs[last_steps(packed)], np.stack([h[-1] for h in want]), 1e-12)


def test_errors():
    for name in ("rows", "window"):
        with pytest.raises(ValueError, match=f"{name} is 0, expected 1 or more"):
            continued_rows([[1]], **{"rows": 1, "window": 1, name: 0})
    with pytest.raises(ValueError, match="sequences is empty"):
        continued_rows([], 1, 1)
    message = r"xs has shape \(7, 2\), expected a multiple of window=3 steps; make"
    with pytest.raises(ValueError, match=message):
        cut_windows(np.ones((7, 2)), 3)
