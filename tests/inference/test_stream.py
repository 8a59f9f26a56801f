"""One long stream: any number of rows gives what one row gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data.text import DataError
from lstm_jax.inference import stream_loss, stream_nats
from tests.inference import language_model as lm

LENGTH, WINDOW = 301, 20
MODELS = {
    "usual memory": lm.parameters(),
    "long memory": lm.parameters(forget_bias=8.0, scale=0.2),
}


def evaluate(params, tokens, rows, context, window=WINDOW, **options):
    return stream_nats(
        lm.nats,
        params,
        lm.start(),
        tokens,
        rows=rows,
        context=context,
        window=window,
        **options,
    ) / max(len(tokens) - 1, 1)


def in_one_call(params, tokens):
    """The mean over the whole stream, read at once, with no windows and no rows."""
    _, nats = jax.jit(lm.nats)(params, lm.start(), tokens[:-1, None], tokens[1:, None])
    return np.asarray(nats, np.float64).mean()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("context", [0, 50])
def test_rows_do_not_change_the_number(model, context):
    params, tokens = MODELS[model], lm.stream(LENGTH)
    want = in_one_call(params, tokens)
    for rows in (1, 2, 3, 7, 16):
        assert evaluate(params, tokens, rows, context) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("context", [0, 50])
def test_a_first_pass_alone_would_be_wrong(context):
    """What the rows' agreement is for: it fails where it is not asked for."""
    params, tokens = MODELS["long memory"], lm.stream(LENGTH)
    want = in_one_call(params, tokens)
    for rows in (2, 3, 7, 16):
        once = evaluate(params, tokens, rows, context, tolerance=np.inf)
        # Rows no longer than the context are read whole: only later ones are wrong.
        assert abs(once - want) > 1e-4, rows


@pytest.mark.parametrize("length", [2, 3, 9, 17])
def test_streams_shorter_than_the_rows(length):
    params, tokens = MODELS["long memory"], lm.stream(length)
    want = in_one_call(params, tokens)
    for rows in (1, 4, 16):
        assert evaluate(params, tokens, rows, context=5) == pytest.approx(
            want, abs=1e-6
        )


def count_windows(monkeypatch):
    """How many windows are read, of how many rows."""
    calls, window = [], stream_loss._window

    def counted(nats, params, carry, inputs, targets):
        calls.append(inputs.shape)
        return window(nats, params, carry, inputs, targets)

    monkeypatch.setattr(stream_loss, "_window", counted)
    return calls


def test_how_much_is_read(monkeypatch):
    """Once, where the first guess is right; a second pass stops where states meet; a
    model that does not forget is read three times, however many rows there are."""
    calls, tokens, windows = count_windows(monkeypatch), lm.stream(4001), 100
    read = lambda rows, context, model, tokens=tokens: (
        calls.clear(),
        evaluate(MODELS[model], tokens, rows, context),
        len(calls),
    )[-1]
    assert read(1, 0, "usual memory") == 2 * windows
    assert read(2, 500, "usual memory") == windows
    assert windows < read(2, 0, "usual memory") < windows + 20
    short = lm.stream(321)  # 8 rows of 2 windows
    assert read(8, 0, "long memory", short) == 3 * 2


def test_it_is_compiled_once():
    traces = []

    def nats(*args):
        traces.append(1)
        return lm.nats(*args)

    for _ in range(2):
        for length in (601, 590):  # The last window is not full.
            stream_nats(
                nats,
                lm.parameters(),
                lm.start(),
                lm.stream(length),
                rows=3,
                context=20,
                window=WINDOW,
            )
        # The window, the first guess, and the check of the carry, which JAX remembers.
        traced = len(traces)
    assert traced <= 4
    assert len(traces) == traced


def test_states_in_bfloat16():
    """They agree bit for bit, or rows would not."""
    low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), lm.parameters())

    def nats(params, carry, inputs, targets):
        carry, each = lm.nats(params, carry, inputs, targets)
        return carry, each.astype(jnp.float32)

    carry = lm.start(dtype=jnp.bfloat16)._replace(c=lm.start().c)
    one, many = (
        stream_nats(
            nats, low, carry, lm.stream(LENGTH), rows=rows, context=20, window=WINDOW
        )
        for rows in (1, 7)
    )
    assert many == pytest.approx(one, abs=1e-3)


def test_a_model_that_has_diverged_ends():
    broken = lm.parameters() | {"bias": jnp.full(lm.V, jnp.nan)}
    broken["cell"] = broken["cell"]._replace(b=jnp.full(4 * lm.H, jnp.nan))
    assert np.isnan(evaluate(broken, lm.stream(50), 3, 5))


def test_errors():
    params, tokens = lm.parameters(), lm.stream(9)
    with pytest.raises(DataError, match="found 1 token to evaluate on"):
        evaluate(params, tokens[:1], 2, 5)
    with pytest.raises(ValueError, match="context is -1, expected 0 or more"):
        evaluate(params, tokens, 2, -1)
    with pytest.raises(ValueError, match="rows is 0, expected 1 or more"):
        evaluate(params, tokens, 0, 5)
    call = lambda nats, carry: stream_nats(nats, params, carry, tokens, rows=2)
    with pytest.raises(ValueError, match="expected a first axis of 1, the number of"):
        call(lm.nats, lm.start(2))
    wider = lambda params, carry, *_: (carry.astype(jnp.float32), None)
    with pytest.raises(
        ValueError, match=r"leads to float32\[1, 3\], expected the same"
    ):
        call(wider, jnp.zeros((1, 3), jnp.bfloat16))
