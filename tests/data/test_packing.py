"""Packed sequences are the sequences: their places, and the LSTM over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import LSTMCell, init_lstm_stack, lstm, lstm_stack
from lstm_jax.data import last_steps, pack, pack_like, unpack
from tests import cells
from tests.data.ragged import SEEDS, assert_same, draw_lengths, draw_sequences
from tests.shapes import D, H


@SEEDS
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("features", [(), (2, 3)])
def test_there_and_back(seed, shuffled, features):
    sequences = draw_sequences(seed, features, np.int32)
    rng = np.random.default_rng(seed) if shuffled else None
    packed = pack(sequences, steps=20, batch_size=4, value=-1, rng=rng)
    assert packed.xs.shape[1] % 4 == 0
    assert_same(unpack(packed.xs, packed), sequences)
    assert (packed.xs[~packed.mask] == -1).all()
    targets = [np.sqrt(s) for s in sequences]
    assert_same(unpack(pack_like(targets, packed), packed), targets)


@SEEDS
def test_flags_mark_every_sequence(seed):
    """One run of a segment for each sequence, numbered from 1 along the row."""
    lengths = draw_lengths(seed)
    packed = pack(draw_sequences(seed), steps=20)
    assert packed.mask.sum() == lengths.sum()
    assert packed.resets.sum() == (lengths > 0).sum()
    assert not (packed.resets & ~packed.mask).any()
    np.testing.assert_array_equal(packed.mask, packed.segments > 0)
    assert packed.waste == pytest.approx(1 - lengths.sum() / packed.mask.size)
    for start, row, n in zip(packed.starts, packed.rows, packed.lengths, strict=True):
        if n:
            segment = packed.segments[start : start + n, row]
            before = packed.resets[: start + 1, row].sum()
            assert (segment == before).all()
            assert packed.resets[start, row]
            assert not packed.resets[start + 1 : start + n, row].any()


def test_rows_are_full():
    """As few rows as can be where the parts of a cut are put together again."""
    rng = np.random.default_rng(0)
    cuts = [np.sort(rng.choice(np.arange(1, 64), 5, replace=False)) for _ in range(50)]
    lengths = np.concatenate([np.diff([0, *cut, 64]) for cut in cuts])
    packed = pack([np.ones(n) for n in rng.permutation(lengths)], steps=64)
    assert packed.xs.shape[1] <= 51
    assert pack([[1] * n for n in (8, 6, 4, 3, 3)], steps=12).waste == 0
    assert pack([[1]] * 9, steps=4, batch_size=2).xs.shape == (4, 4)


def test_shuffling():
    """Other rows, other neighbours, no more rows; the same for the same seed."""

    def rows(lengths, seed=None):
        rng = None if seed is None else np.random.default_rng(seed)
        packed = pack([[1] * n for n in lengths], steps=8, rng=rng)
        assert packed.xs.shape[1] == -(-sum(lengths) // 8)
        return packed.rows.tolist()

    alone, pairs = [5, 6, 7, 8], [4] * 40
    assert rows(alone) == [3, 2, 1, 0]
    assert rows(alone, 0) != rows(alone)
    assert rows(pairs, 0) == rows(pairs, 0)
    neighbours = lambda rows: {frozenset(np.flatnonzero(rows == r)) for r in rows}
    first, second = (neighbours(np.array(rows(pairs, seed))) for seed in (0, 1))
    assert first != second


def test_unpack_copies():
    """What comes back does not keep the rows alive."""
    packed = pack([[1]], steps=2)
    unpack(packed.xs, packed)[0][:] = 5
    assert packed.xs.max() == 1


def test_nothing_but_empty_sequences():
    packed = pack([[], []], steps=3, batch_size=2)
    assert packed.xs.shape == (3, 2)
    assert not packed.mask.any()
    assert [len(s) for s in unpack(packed.xs, packed)] == [0, 0]


def test_errors():
    with pytest.raises(ValueError, match=r"sequences\[1\] has 3 .*steps=2; .*windows"):
        pack([[1], [1, 2, 3]], steps=2)
    with pytest.raises(ValueError, match="sequences is empty"):
        pack([], steps=2)
    with pytest.raises(ValueError, match="steps is 0, expected 1 or more"):
        pack([[1]], steps=0)
    with pytest.raises(ValueError, match="batch_size is 0, expected 1 or more"):
        pack([[1]], steps=1, batch_size=0)
    packed = pack([[1, 2], []], steps=4)
    with pytest.raises(ValueError, match=r"hs has shape \(4, 2\), expected \[4, 1, .*"):
        unpack(np.ones((4, 2)), packed)
    with pytest.raises(ValueError, match="sequences has 1 entries, expected 2, one"):
        pack_like([[1, 2]], packed)
    with pytest.raises(
        ValueError, match=r"sequences\[1\] has 1 steps, expected 0 like"
    ):
        pack_like([[1, 2], [3]], packed)
    with pytest.raises(ValueError, match=r"sequences\[1\] is empty.*leave empty"):
        last_steps(packed)


LENGTHS = [4, 1, 0, 3, 6, 2, 1]
STEPS = 6
"""One row is full, one has room at its end, and all but one hold several."""


def layer(way):
    """``(params, carry, run)`` of a random layer, with the state it starts from."""
    both = way == "bidirectional"
    layers = init_lstm_stack(
        jax.random.key(0), D, H, bidirectional=both, dtype=jnp.float64
    )
    zeros = LSTMCell(H).zero_carry((), jnp.float64)
    start = cells.draw((zeros, zeros) if both else zeros, seed=2)
    if both:
        kind = type(layers[0])
        run = lambda p, s, xs, reset_carry=None, **flags: lstm_stack(
            p, [kind(*s)], xs, reset_carry=reset_carry and [kind(*s)], **flags
        )[1]
        return cells.draw(layers, 1), start, run
    run = lambda *args, **flags: lstm(*args, reverse=way == "reverse", **flags)[1]
    return cells.draw(layers[0], 1), start, run


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("way", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("start", ["zeros", "given"])
def test_the_lstm_sees_every_sequence_alone(way, start):
    """Outputs, and gradients by the parameters and by the state they start from."""
    params, state, run = layer(way)
    if start == "zeros":
        state = jax.tree.map(jnp.zeros_like, state)
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, D)) for n in LENGTHS]
    weights = [rng.normal(size=(n, 1)) for n in LENGTHS]
    packed = pack(sequences, STEPS, value=np.nan)
    assert packed.segments.max() > 2
    assert packed.mask.all(axis=0).any()
    assert not packed.mask.all()
    rows = packed.xs.shape[1]

    def together(params, state):
        spread = lambda s: jnp.broadcast_to(s, (rows, *s.shape))
        state = jax.tree.map(spread, state)
        # Starting from zeros is also what happens when nothing is said of a state.
        states = {"reset_carry": state} if start == "given" else {}
        flags = dict(mask=packed.mask, resets=packed.resets)
        hs = run(params, state, jnp.asarray(packed.xs), **flags, **states)
        return (jnp.sin(hs) * pack_like(weights, packed)).sum(), hs

    def apart(params, state):
        hs = [run(params, state, jnp.asarray(xs)) for xs in sequences]
        return sum((jnp.sin(h) * w).sum() for h, w in zip(hs, weights, strict=True)), hs

    def differentiated(f):
        f = jax.value_and_grad(f, argnums=(0, 1), has_aux=True)
        return jax.jit(f, compiler_options=cells.QUICK)(params, state)

    (got_loss, got), got_grads = differentiated(together)
    (want_loss, want), want_grads = differentiated(apart)
    cells.assert_close(unpack(got, packed), want, 1e-12)
    cells.assert_close(got_loss, want_loss, 1e-12)
    cells.assert_close(got_grads[0], want_grads[0], 1e-12)
    if start == "given":
        cells.assert_close(got_grads[1], want_grads[1], 1e-12)
    assert not np.any(np.asarray(got)[~packed.mask])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reverse", [False, True])
def test_last_steps_are_final_states(reverse):
    params, *_ = layer("forward")
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, D)) for n in LENGTHS if n]
    packed = pack(sequences, STEPS)
    flags = dict(mask=packed.mask, resets=packed.resets, reverse=reverse)
    hs = lstm(params, None, jnp.asarray(packed.xs), **flags)[1]
    finals = [lstm(params, None, xs, reverse=reverse)[0].h for xs in sequences]
    got = hs[last_steps(packed, reverse=reverse)]
    cells.assert_close(got, np.stack(finals), 1e-12)
