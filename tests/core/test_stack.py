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
            *args, mask=FLAGS.mask, resets=FLAGS.resets, reset_carry=resets
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
    cell = lstm_jax.RNNCell(H)
    stack = lstm_jax.Stack([cell] * 2, bidirectional=True)
    params = stack.init(jax.random.key(0), D, dtype=jnp.float64)
    xs = cells.make_case(cell).xs
    carries, hs = stack(params, None, xs)
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
    with pytest.raises(ValueError, match=r"reset_carry has 1 entries, expected 2"):
        lstm_jax.lstm_stack(params, carries, xs, reset_carry=carries[:1])
    with pytest.raises(ValueError, match="num_layers is 0, expected an integer, 1"):
        lstm_jax.init_lstm_stack(jax.random.key(0), D, H, num_layers=0)


def facts_of(way):
    """Cells of 4 equal layers and of one above, joined in one way or another."""
    equal, top = lstm_jax.LSTMCell(D), lstm_jax.GRUCell(H)
    merge = {"bidirectional": way in ("sum", "mul", "mean", "none"), "merge": way}
    skips = {"skip": way} if way in ("residual", "dense") else {}
    joined = skips or (merge if merge["bidirectional"] else {})
    return {"cells": [equal] * 4 + ([] if way == "residual" else [top]), **joined}


def by_hand(stack, params, carries, xs, **flags):
    """Layers one after the other through `unroll`, directions and skips in numpy."""
    finals, ways = [], 2 if stack.bidirectional else 1
    xs = np.where(flags["mask"][..., None], xs, 0)  # no skip passes the padding on
    below = [xs] * ways if stack.merge == "none" else [xs]
    for n, (cell, p, c) in enumerate(zip(stack.cells, params, carries, strict=True)):
        p, c = (p, c) if stack.bidirectional else ([p], [c])
        outs = [
            lstm_jax.unroll(cell, p[w], c[w], below[-w], reverse=bool(w), **flags)
            for w in range(ways)
        ]
        end, hs = zip(*outs, strict=True)
        finals.append(end if stack.bidirectional else end[0])
        merged = {
            "concat": lambda hs: [np.concatenate(hs, -1)],
            "sum": lambda hs: [sum(hs)],
            "mean": lambda hs: [sum(hs) / 2],
            "mul": lambda hs: [np.prod(hs, axis=0)],
            "none": list,
        }[stack.merge](hs)
        if stack.skip == "residual":
            merged = [x + y for x, y in zip(below, merged, strict=True)]
        elif stack.skip == "dense" and n < len(stack.cells) - 1:
            both = zip(below, merged, strict=True)
            merged = [np.concatenate(pair, -1) for pair in both]
        below = merged
    return finals, below if stack.merge == "none" else below[0]


WAYS = ["one way", "sum", "mul", "mean", "none", "residual", "dense"]


@pytest.mark.parametrize("stacked", [False, True], ids=["tuple", "stacked"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_join_layers(way, stacked):
    """Also where equal layers run in a loop, and where their arrays come stacked."""
    alone = lstm_jax.Stack(**facts_of(way))
    stack = lstm_jax.Stack(**facts_of(way), stacked=stacked)
    params = cells.draw(alone.init(jax.random.key(0), D, dtype=jnp.float64), 0)
    carries = cells.draw(alone.zero_carry(D, (B,), jnp.float64), 1)
    xs, flags = cells.make_case(lstm_jax.LSTMCell(D)).xs, {"mask": FLAGS.mask}
    entries = lambda layers: stack._entries(layers, stack._groups(D))
    got, hs = jax.jit(lambda *a: stack(*map(entries, a), xs, **flags))(params, carries)
    want, out = by_hand(alone, params, carries, xs, **flags)
    cells.assert_close((got, hs), (entries(want), out), 1e-12)


@pytest.mark.parametrize("stacked", [False, True], ids=["tuple", "stacked"])
def test_a_loop_over_layers_has_the_masks_of_its_layers(monkeypatch, stacked):
    """Every kind of mask, and gradients: the loop and the layers apart agree."""
    cell = lstm_jax.Zoneout(lstm_jax.LSTMCell(D), h=0.2, c=0.4)
    facts = dict(cells=[cell] * 4, input_dropout=0.2, dropout=0.3, output_dropout=0.1)
    stack = lstm_jax.Stack(**facts, weight_drop=0.3, stacked=stacked)
    apart = lstm_jax.Stack(**facts, weight_drop=0.3)
    params = apart.init(jax.random.key(0), D, dtype=jnp.float64)
    entries = lambda layers: stack._entries(layers, stack._groups(D))
    xs = cells.make_case(cell).xs

    def grad(stack, entries):
        run = lambda p: stack(entries(p), None, xs, key=jax.random.key(3))[1]
        return jax.jit(jax.value_and_grad(lambda p: cells.scalar(run(p))))(params)

    monkeypatch.setattr("lstm_jax.core.layers.repeat.LOOP_FROM", 3)
    got = grad(stack, entries)
    monkeypatch.setattr("lstm_jax.core.layers.repeat.LOOP_FROM", 100)
    cells.assert_close(got, grad(apart, tuple), 1e-10)


def test_equal_layers_are_one_loop():
    """The program of 16 layers has no more steps than that of 12, if they come stacked;
    as a tuple it grows by the slices of their arrays alone."""

    def length(n, stacked):
        stack = lstm_jax.Stack([lstm_jax.LSTMCell(D)] * n, stacked=stacked)
        params = stack.init(jax.random.key(0), D)
        run = lambda p: stack(p, None, jnp.ones((T, B, D)))[1].sum()
        return str(jax.make_jaxpr(jax.grad(run))(params)).count(" = ")

    assert length(16, stacked=True) == length(12, stacked=True)
    assert length(16, stacked=False) - length(12, stacked=False) < 4 * 12


def test_a_trained_carry_is_that_of_every_row():
    """Without batch axes it is spread; its gradient sums over rows, and resets."""
    stack = lstm_jax.Stack([lstm_jax.LSTMCell(H)] * 2)
    params = stack.init(jax.random.key(0), D, dtype=jnp.float64)
    one = cells.draw(stack.initial_carry(D, jnp.float64), 1)
    rows = jax.tree.map(lambda c: jnp.broadcast_to(c, (B, H)), one)
    xs = cells.make_case(lstm_jax.LSTMCell(H)).xs

    def loss(carry):
        flags = {"mask": FLAGS.mask, "resets": FLAGS.resets, "reset_carry": carry}
        return cells.scalar(stack(params, carry, xs, **flags))

    value, d = jax.value_and_grad(loss)(one)
    same, d_rows = jax.value_and_grad(loss)(rows)
    total = jax.tree.map(lambda d: d.sum(0), d_rows)
    cells.assert_close((value, d), (same, total), 1e-12)
    narrow = stack(params, one, xs, dtype=jnp.bfloat16)[0][0]
    assert (narrow.h.dtype, narrow.c.dtype) == (jnp.bfloat16, jnp.float32)


def test_facts_that_do_not_fit():
    cell, other = lstm_jax.LSTMCell(H), lstm_jax.LSTMCell(H + 1)
    for facts, message in [
        (dict(cells=[]), "cells is empty, expected one cell per layer"),
        (dict(cells=[cell], merge="contact"), "merge is 'contact', .*mean 'concat'"),
        (dict(cells=[cell], skip="residul"), "skip is 'residul', .*mean 'residual'"),
        (dict(cells=[cell], dropout=1.0), r"dropout is 1.0, expected a number in \[0"),
    ]:
        with pytest.raises(ValueError, match=message):
            lstm_jax.Stack(**facts)
    with pytest.raises(ValueError, match="layer 1 reads 5 features and returns 6"):
        lstm_jax.Stack([cell, other], skip="residual").init(jax.random.key(0), D)
    with pytest.raises(ValueError, match="num_layers is 3, expected 2, the number of"):
        lstm_jax.init_lstm_stack(jax.random.key(0), D, [H, H], num_layers=3)
    stack = lstm_jax.Stack([cell] * 2)
    for given, message in [
        (cell, "cells is LSTMCell.*, expected a list, one per layer"),
        ([5, 5], "a cell is 5, expected a cell such as LSTMCell"),
    ]:
        with pytest.raises(TypeError, match=message):
            lstm_jax.Stack(given)
    with pytest.raises(ValueError, match="cells have 0 and 2 spatial axes"):
        lstm_jax.Stack([cell, lstm_jax.ConvLSTMCell(H)])
    with pytest.raises(ValueError, match=r"hidden_size is 5\.0, expected an integer"):
        lstm_jax.LSTMCell(5.0)
    with pytest.raises(ValueError, match="hidden_size is 0, expected an integer, 1 or"):
        lstm_jax.init_lstm_stack(jax.random.key(0), D, 0)
    params, xs = stack.init(jax.random.key(0), D), jnp.zeros((T, B, D))
    with pytest.raises(TypeError, match="key is int, expected a typed key; make one"):
        stack(params, None, xs, key=1)
    with pytest.raises(ValueError, match=r"xs has shape \(\), expected time-major"):
        stack(params, None, jnp.zeros(()))
    two = lstm_jax.Stack([cell], bidirectional=True)
    with pytest.raises(ValueError, match="reverse is True, expected False for two dir"):
        two(two.init(jax.random.key(0), D), None, xs, reverse=True)
    with pytest.raises(
        ValueError, match="params has 1 entries, expected 2, one per lay"
    ):
        stack(stack.init(jax.random.key(0), D)[:1], None, jnp.zeros((T, B, D)))


def test_a_trained_carry_of_a_normalised_state():
    """A trained carry of an sLSTM begins where c and n have gradients."""
    stack = lstm_jax.Stack([lstm_jax.SLSTMCell(H)])
    params = stack.init(jax.random.key(0), D, dtype=jnp.float64)
    carry, xs = stack.initial_carry(D, jnp.float64), jnp.ones((T, B, D))
    d = jax.grad(lambda carry: (stack(params, carry, xs)[1] ** 2).sum())(carry)
    assert all(np.all(x != 0) for x in (d[0].h, d[0].c, d[0].n))
