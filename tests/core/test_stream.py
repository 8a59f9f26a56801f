"""A sequence fed in any pieces is the sequence in one call, masks included."""

import jax
import jax.numpy as jnp
import pytest

import lstm_jax
from lstm_jax import Stack, Stream, Zoneout, feed
from tests import cells
from tests.shapes import D, H, T

CELL = Zoneout(lstm_jax.LSTMCell(H), h=0.2, c=0.4)
STACK = Stack([CELL] * 3, input_dropout=0.2, dropout=0.3, weight_drop=0.2)
KEY = jax.random.key(2)


@pytest.mark.parametrize("cuts", [(0, 2, 2, 5), tuple(range(T))])
@pytest.mark.parametrize("key", [None, KEY], ids=["evaluation", "masks"])
def test_any_split_is_the_whole(cuts, key, x64):
    params = STACK.init(jax.random.key(0), D, dtype=jnp.float64)
    xs, flags = cells.make_case(CELL).xs, cells.make_flags()
    call = dict(mask=flags.mask, resets=flags.resets)
    carries, want = STACK(params, None, xs, key=key, **call)
    run = jax.jit(lambda s, xs, **flags: feed(STACK, params, s, xs, key=key, **flags))
    stream, got = Stream(), []
    for a, b in zip((0, *cuts), (*cuts, T), strict=True):
        part = {name: flag[a:b] for name, flag in call.items()}
        stream, hs = run(stream, xs[a:b], **part)
        got.append(hs)
    assert int(stream.step) == T
    cells.assert_close((stream.carries, jnp.concatenate(got)), (carries, want), 1e-13)


def test_two_directions_do_not_stream():
    stack = Stack([lstm_jax.LSTMCell(H)], bidirectional=True)
    with pytest.raises(ValueError, match="stack is bidirectional, expected one direct"):
        feed(stack, stack.init(jax.random.key(0), D), Stream(), jnp.ones((T, D)))
    params = STACK.init(jax.random.key(0), D)
    with pytest.raises(TypeError, match="reverse"):
        feed(STACK, params, Stream(), jnp.ones((T, D)), reverse=True)
