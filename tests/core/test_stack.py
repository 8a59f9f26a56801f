"""A stack of layers, in two directions, is the oracle's layers put together by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from tests import cells, reference
from tests.shapes import B, D, H, T

pytestmark = pytest.mark.usefixtures("x64")

FLAGS = cells.make_flags()


def random_stack(**options):
    """Parameters, carries and reset carries of a stack, all random."""
    params = lstm_jax.init_lstm_stack(
        jax.random.key(0), D, H, dtype=jnp.float64, **options
    )
    zeros = lstm_jax.LSTMCell(H).zero_carry((B,), jnp.float64)
    if options.get("bidirectional"):
        zeros = lstm_jax.Bidirectional(zeros, zeros)
    carries = (zeros,) * len(params)
    trees = (params, carries, carries)
    return [cells.draw(tree, seed) for seed, tree in enumerate(trees)]


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "two ways"])
def test_matches_layers_by_hand(bidirectional):
    """Outputs, and the carries of every layer and direction."""
    params, carries, resets = random_stack(num_layers=2, bidirectional=bidirectional)
    xs = cells.make_case(lstm_jax.LSTMCell(H)).xs
    got = jax.jit(
        lambda *args: lstm_jax.lstm_stack(
            *args, mask=FLAGS.mask, resets=FLAGS.resets, reset_carries=resets
        )
    )(params, carries, xs)
    finals = []
    for layer in zip(params, carries, resets, strict=True):
        ways = zip(*layer, strict=True) if bidirectional else [layer]
        ends, outputs = [], []
        for reverse, (weights, carry, reset) in enumerate(ways):
            end, hs = reference.forward(
                reference.lstm_step,
                weights,
                carry,
                xs,
                mask=FLAGS.mask,
                resets=FLAGS.resets,
                reset_carry=reset,
                reverse=bool(reverse),
            )
            ends.append(end)
            outputs.append(hs)
        finals.append(ends)
        xs = np.concatenate(outputs, axis=-1)
    cells.assert_close(got, (finals, xs), cells.tolerance(jnp.float64))


def test_lengths_and_zero_carries():
    """``None`` is zeros everywhere, and every row equals itself alone."""
    params, _, _ = random_stack(num_layers=2, bidirectional=True)
    xs = cells.make_case(lstm_jax.LSTMCell(H)).xs
    run = jax.jit(lambda xs, n: lstm_jax.lstm_stack(params, None, xs, lengths=n))
    carries, hs = run(xs, np.array([2, 0, T]))
    alone, want = lstm_jax.lstm_stack(params, None, xs[:2, 0])
    cells.assert_close(hs[:2, 0], want, 1e-14)
    cells.assert_close(jax.tree.map(lambda x: x[0], carries), alone, 1e-14)
    assert not np.any(hs[2:, 0])
    assert not np.any(hs[:, 1])


def test_any_cell_can_be_stacked():
    """`stack` and `bidirectional` take the function that runs a layer."""
    cell = lstm_jax.RNNCell(H)
    params = lstm_jax.init_stack(
        cell, jax.random.key(0), D, num_layers=2, bidirectional=True, dtype=jnp.float64
    )
    xs = cells.make_case(cell).xs
    run = lambda params, carry, xs, **options: lstm_jax.unroll(
        cell, params, carry, xs, **options
    )
    carries, hs = lstm_jax.stack(run, params, None, xs)
    zeros = [np.zeros((B, H))]
    for layer in params:
        xs = np.concatenate(
            [
                reference.forward(reference.rnn_step, p, zeros, xs, reverse=r)[1]
                for p, r in zip(layer, (False, True), strict=True)
            ],
            axis=-1,
        )
    cells.assert_close(hs, xs, 1e-12)
    assert carries[1].backward.h.shape == (B, H)


def test_errors():
    params, carries, _ = random_stack(num_layers=2)
    xs = jnp.zeros((T, B, D))
    with pytest.raises(ValueError, match=r"carries has 1 entries, expected 2.*None"):
        lstm_jax.lstm_stack(params, carries[:1], xs)
    with pytest.raises(ValueError, match=r"reset_carries has 1 entries, expected 2"):
        lstm_jax.lstm_stack(params, carries, xs, reset_carries=carries[:1])
    with pytest.raises(ValueError, match="num_layers is 0, expected 1 or more"):
        lstm_jax.init_lstm_stack(jax.random.key(0), D, H, num_layers=0)
