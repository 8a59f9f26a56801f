"""Dynamic evaluation, against a loop in numpy with gradients taken by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data.text import DataError
from lstm_jax.data.token_rows import training_rows
from lstm_jax.inference import dynamic_nats, gradient_squares, stream_nats
from tests.inference import language_model as lm

V = 4
EPSILON = 1e-3


def loss(params, carry, inputs, targets):
    """Logits are ``m w + b``, with ``m`` a fading memory of the tokens."""

    def remember(m, x):
        m = 0.5 * m + jax.nn.one_hot(x, V, dtype=m.dtype)
        return m, m

    carry, ms = jax.lax.scan(remember, carry, inputs)
    log_p = jax.nn.log_softmax(ms @ params["w"] + params["b"][None, None])
    return carry, -jnp.take_along_axis(log_p, targets[..., None], axis=-1).mean()


def by_hand(w, b, m, inputs, targets):
    """Mean loss of rows ``[T, B]``, its gradients, and the memory after."""
    total, dw, db = 0.0, np.zeros_like(w), np.zeros_like(b)
    m = m.copy()
    for xs, ys in zip(inputs, targets, strict=True):
        for row, (x, y) in enumerate(zip(xs, ys, strict=True)):
            m[row] = 0.5 * m[row] + np.eye(V)[x]
            z = m[row] @ w + b
            p = np.exp(z - z.max())
            p /= p.sum()
            total -= np.log(p[y])
            dw += np.outer(m[row], p - np.eye(V)[y])
            db += p - np.eye(V)[y]
    return total / inputs.size, dw / inputs.size, db / inputs.size, m


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(V, V)), "b": rng.normal(size=V)}


def memory(rows=1, dtype=None):
    return jnp.zeros((rows, V), dtype)


def text(length, seed=1):
    return np.random.default_rng(seed).integers(0, V, length)


def transcription(params, tokens, segment, rate, decay, squares):
    """The paper's loop, a segment at a time."""
    w, b, m, total = params["w"], params["b"], np.zeros((1, V)), 0.0
    if squares is None:
        steps, pulls = {"w": rate, "b": rate}, {"w": decay, "b": decay}
    else:
        roots = {name: np.sqrt(squares[name]) for name in "wb"}
        mean = np.concatenate([roots["w"].ravel(), roots["b"]]).mean()
        steps = {name: rate / (roots[name] + EPSILON) for name in "wb"}
        pulls = {
            name: decay * np.minimum(roots[name] / mean, 1 / decay) for name in "wb"
        }
    for t in range(0, len(tokens) - 1, segment):
        inputs, targets = tokens[:-1][t : t + segment], tokens[1:][t : t + segment]
        mean, dw, db, m = by_hand(w, b, m, inputs[:, None], targets[:, None])
        total += mean * len(inputs)
        w = w - steps["w"] * dw + pulls["w"] * (params["w"] - w)
        b = b - steps["b"] * db + pulls["b"] * (params["b"] - b)
    return total


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("decay", [0.01, 0.7])
@pytest.mark.parametrize("rms", [False, True])
def test_against_numpy(decay, rms):
    params, tokens, segment = drawn(), text(48), 5  # The last segment has 2.
    squares = {n: 0.1 * a**2 for n, a in drawn(seed=5).items()} if rms else None
    if rms:  # The limit of the decay is reached, but not everywhere.
        roots = np.sqrt(np.concatenate([a.ravel() for a in squares.values()]))
        reached = (0.7 * roots / roots.mean() > 1).mean()
        assert 0 < reached < 1
    got = dynamic_nats(
        loss,
        params,
        memory(),
        tokens,
        segment=segment,
        rate=0.05,
        decay=decay,
        squares=squares,
        epsilon=EPSILON,
    )
    want = transcription(params, tokens, segment, 0.05, decay, squares)
    assert got == pytest.approx(want, rel=1e-10)
    still = transcription(params, tokens, segment, 0.0, decay, squares)
    assert abs(want - still) > 1e-2


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rows", [1, 3])
def test_mean_squared_gradients(rows):
    params, segment = drawn(), 4
    tokens = training_rows(text(80), rows, segment) if rows > 1 else text(30)
    got = gradient_squares(loss, params, memory(rows), tokens, segment=segment)
    tokens, m, found = tokens.reshape(len(tokens), -1), np.zeros((rows, V)), []
    for k in range((len(tokens) - 1) // segment):
        piece = tokens[k * segment : (k + 1) * segment + 1]
        _, dw, db, m = by_hand(params["w"], params["b"], m, piece[:-1], piece[1:])
        found.append((dw**2, db**2))
    assert len(found) > 3
    for name, squares in zip("wb", zip(*found, strict=True), strict=True):
        np.testing.assert_allclose(got[name], np.mean(squares, axis=0), rtol=1e-10)


@pytest.mark.parametrize("rms", [False, True])
def test_without_learning_it_is_the_loss_of_the_stream(rms):
    params, tokens = lm.parameters(), lm.stream(84)
    squares = (
        gradient_squares(lm.loss, params, lm.start(), lm.stream(50, 3), segment=20)
        if rms
        else None
    )
    got = dynamic_nats(
        lm.loss,
        params,
        lm.start(),
        tokens,
        segment=20,
        rate=0.0,
        decay=0.1,
        squares=squares,
    )
    want = stream_nats(lm.nats, params, lm.start(), tokens, rows=3, window=20)
    assert got == pytest.approx(want, rel=1e-6)


def test_it_follows_a_stream_that_changes():
    """Training had mostly two symbols, as the stream's first half; the second half has
    two others."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, 200), rng.integers(2, 4, 200)
    trained_on = np.concatenate([first, second[:40]])
    params = {"w": jnp.zeros((V, V)), "b": jnp.array([1.6, 1.6, 0.0, 0.0])}
    found = gradient_squares(loss, params, memory(), trained_on, segment=5)

    def mean(tokens, rate, squares):
        facts = dict(segment=5, rate=rate, decay=0.02, squares=squares)
        nats = dynamic_nats(loss, params, memory(), tokens, **facts)
        return nats / (len(tokens) - 1)

    for squares, rate in ((found, 0.05), (None, 0.5)):
        whole = np.concatenate([first, second])
        assert mean(whole, rate, squares) < mean(whole, 0.0, squares) - 0.3
        assert mean(first, rate, squares) < mean(first, 0.0, squares) + 0.05


def test_nothing_is_known_before_it_is_counted():
    """Of tokens by chance no honest prediction is better than chance."""
    tokens = text(1500)
    params = {"w": jnp.zeros((V, V)), "b": jnp.zeros(V)}
    for segment in (1, 5):
        nats = dynamic_nats(
            loss,
            params,
            memory(),
            tokens,
            segment=segment,
            rate=0.5,
            decay=0.1,
            squares=None,
        )
        assert nats / 1499 > np.log(V) - 0.01


def test_other_rates_need_no_other_program():
    traces = []

    def counted(*args):
        traces.append(1)
        return loss(*args)

    params = jax.tree.map(jnp.float32, drawn())
    for rate in (0.0, 0.1, 0.2):
        dynamic_nats(
            counted,
            params,
            memory(),
            text(21),
            segment=5,
            rate=rate,
            decay=rate,
            squares=None,
        )
    assert len(traces) <= 2  # The loop, and the check of the carry.


TEXT, START = text(20), memory()


def test_errors():
    params = jax.tree.map(jnp.float32, drawn())
    call = lambda tokens=TEXT, carry=START, **options: dynamic_nats(
        loss,
        params,
        carry,
        tokens,
        **dict(segment=5, rate=0.1, decay=0.1, squares=None) | options,
    )
    for name, value, expected in (
        ("rate", -1.0, "0 or more"),
        ("rate", np.nan, "0 or more"),
        ("decay", 1.5, r"in \[0, 1\]"),
        ("epsilon", np.inf, "0 or more"),
    ):
        message = f"{name} is {value!r}, expected a number, {expected}"
        with pytest.raises(ValueError, match=message):
            call(**{name: value})
    with pytest.raises(ValueError, match="segment is 0, expected 1 or more"):
        call(segment=0)
    with pytest.raises(ValueError, match="arrays and shapes of params; make it with"):
        call(squares=params | {"b": jnp.zeros(V + 1)})
    with pytest.raises(ValueError, match=r"squares has the mean root 0\.0, expected"):
        call(squares=jax.tree.map(jnp.zeros_like, params))
    with pytest.raises(ValueError, match="expected a first axis of 1, the number of"):
        call(carry=memory(2))
    with pytest.raises(DataError, match="found 1 token to evaluate on"):
        call(tokens=text(1))
    with pytest.raises(ValueError, match="at least 6 steps for one segment of 5; use"):
        gradient_squares(loss, params, memory(), text(5), segment=5)
    with pytest.raises(TypeError, match="dtype float64, expected integers"):
        gradient_squares(loss, params, memory(), np.ones(9), segment=5)
    with pytest.raises(ValueError, match="expected a first axis of 2, the number of"):
        gradient_squares(loss, params, memory(), np.ones((9, 2), int), segment=5)
