"""Dynamic evaluation: a model that keeps learning from the stream it is evaluated on.

The stream comes in segments. Each segment is first predicted and counted, with the
parameters learned from the segments before it. Then the parameters ``w`` take a step
down the gradient ``g`` of the segment, and a step back towards the trained parameters
``w_0``:

    R = sqrt(MS)                                MS = mean over training segments of g^2
    w <- w - rate g / (R + epsilon) + decay min(R / mean(R), 1 / decay) (w_0 - w)

Parameters with usually large gradients take smaller steps and return faster. The limit
``1 / decay`` keeps ``w`` from overshooting ``w_0``. Without ``MS`` it is gradient
descent:

    w <- w - rate g + decay (w_0 - w)

Krause, Kahembwe, Murray & Renals, "Dynamic Evaluation of Neural Sequence Models", ICML
2018. ``g`` is the gradient of the mean loss of a segment. As in the authors' code,
``MS`` uses the trained parameters and segments with the batch size of training.
``mean(R)`` is over all parameters. The authors' code averages the means of the arrays,
so its values of ``decay`` differ from ours by a factor.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float, Int, PyTree
from lstm_jax.data.checks import check_count
from lstm_jax.data.token_rows import check_stream
from lstm_jax.inference.stream_loss import check_carry

Loss = Callable[
    [PyTree, PyTree, Int[Array, "T B"], Int[Array, "T B"]],
    tuple[PyTree, Float[Array, ""]],
]
"""A pure function of ``(params, carry, inputs, targets)`` that returns the new carry
and the mean ``-log p(target)``."""


def gradient_squares(
    loss: Loss, params: PyTree, carry: PyTree, tokens: np.ndarray, *, segment: int
) -> PyTree:
    """``MS``, the mean squared gradient of segments, for `dynamic_nats`.

    Args:
        loss: the model, compiled once for each function.
        params: its parameters; they do not change here.
        carry: the initial state; every leaf is ``[B, ...]``.
        tokens: integers ``[N, B]``, rows as in training
            (``lstm_jax.data.token_rows``), or ``[N]``, one stream. Steps at the end
            that do not fill a segment are left out.
        segment: steps in a segment, as in `dynamic_nats`.

    Raises:
        TypeError: ``tokens`` are not integers, or ``segment`` is not a whole number.
        ValueError: ``tokens`` do not fill one segment, or ``loss`` returns a carry of
            another structure than it was given.

    >>> import jax.numpy as jnp, numpy as np
    >>> from lstm_jax.inference import gradient_squares
    >>> loss = lambda w, carry, inputs, targets: (carry, w * targets.mean())
    >>> tokens = np.array([0, 0, 0, 2, 4])  # gradients of segments are 0 and 3
    >>> squares = gradient_squares(loss, 1.0, jnp.zeros((1, 1)), tokens, segment=2)
    >>> print(squares)
    4.5
    """
    tokens = np.asarray(tokens)
    if tokens.ndim not in (1, 2) or tokens.dtype.kind not in "iu":
        raise TypeError(
            f"tokens has shape {tokens.shape} and dtype {tokens.dtype}, expected "
            f"integers [N, B], or [N] for one stream; encode the text first."
        )
    segment = check_count("segment", segment)
    rows = tokens.reshape(len(tokens), -1)
    count = (len(rows) - 1) // segment
    if count < 1 or not rows.size:
        raise ValueError(
            f"tokens has shape {tokens.shape}, expected at least {segment + 1} steps "
            f"for one segment of {segment}; use more text or a smaller segment."
        )
    cut = lambda a: a.reshape(count, segment, -1)
    whole = count * segment
    pieces = cut(rows[:whole]), cut(rows[1 : whole + 1])
    check_carry(loss, params, carry, rows.shape[1])
    return _mean_squares(loss, _inexact(params), carry, *pieces)


def dynamic_nats(
    loss: Loss,
    params: PyTree,
    carry: PyTree,
    tokens: np.ndarray,
    *,
    segment: int,
    rate: float,
    decay: float,
    squares: PyTree | None,
    epsilon: float = 2e-5,
) -> float:
    """``sum_t -log p(tokens[t] | tokens[:t])``, while the parameters keep learning.

    Divide by ``len(tokens) - 1`` for the mean. Every segment is counted before the
    parameters learn from it, so no token helps to predict itself. The carry passes from
    segment to segment without a gradient.

    Args:
        loss: the model. It is compiled once for each function and length of ``tokens``.
        params: its parameters, ``w_0``.
        carry: the initial state of one row; every leaf is ``[1, ...]``.
        tokens: integers ``[N]``.
        segment: steps in a segment (5 in the authors' code, for words). The last may be
            shorter.
        rate: learning rate; 0 is static evaluation. With longer segments there are
            fewer steps, so increase ``rate`` and ``decay`` in proportion.
        decay: fraction of the way back to ``w_0`` in a step, in ``[0, 1]``.
        squares: the result of `gradient_squares` on the training data; ``None`` for
            plain gradient descent.
        epsilon: see above; the default is from the authors' code. A parameter whose
            gradient was 0 throughout training has the learning rate ``rate / epsilon``.

    Raises:
        DataError: there are fewer than two tokens.
        TypeError: ``tokens`` are not integers ``[N]``, or ``segment`` is not a whole
            number.
        ValueError: ``rate``, ``decay`` or ``epsilon`` is out of range, ``squares`` does
            not match ``params`` or is zero everywhere, or ``loss`` returns a carry of
            another structure than it was given.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> from lstm_jax.inference import dynamic_nats
    >>> def loss(w, carry, inputs, targets):  # p(1) = sigmoid(w), whatever was before
    ...     return carry, jax.nn.softplus(jnp.where(targets == 1, -w, w)).mean()
    >>> stream, start = np.ones(9, int), jnp.zeros((1, 1))
    >>> static, dynamic = (
    ...     dynamic_nats(loss, 0.0, start, stream, segment=2, rate=rate, decay=0.0,
    ...                  squares=None)
    ...     for rate in (0.0, 1.0))
    >>> print(f"{static:.3f} {dynamic:.3f}")
    5.545 3.570
    """
    segment = check_count("segment", segment)
    for name, value, most in (("rate", rate, np.inf), ("decay", decay, 1.0)):
        _check_number(name, value, most)
    _check_number("epsilon", epsilon, np.inf)
    tokens = check_stream(tokens)
    inputs, targets = tokens[:-1, None], tokens[1:, None]
    check_carry(loss, params, carry)
    params = _inexact(params)
    rates, pulls = _rates(params, rate, decay, squares, epsilon)
    whole = len(inputs) - len(inputs) % segment
    total = 0.0
    if whole:
        cut = lambda a: a[:whole].reshape(-1, segment, 1)
        (params, carry), means = _learn(
            loss, params, carry, rates, pulls, cut(inputs), cut(targets)
        )
        total += segment * float(np.asarray(means, np.float64).sum())
    if rest := len(inputs) - whole:
        _, mean = _loss(loss, params, carry, inputs[whole:], targets[whole:])
        total += rest * float(mean)
    return total


def _check_number(name, value, most):
    if not 0 <= value <= most or value == np.inf:
        limits = "0 or more" if most == np.inf else f"in [0, {most:g}]"
        raise ValueError(f"{name} is {value!r}, expected a number, {limits}.")


def _inexact(params):
    return jax.tree.map(jnp.asarray, params)


def _rates(params, rate, decay, squares, epsilon):
    """The factors of the gradients and of the way back: trees like ``params``."""
    if squares is None:
        every = lambda value: jax.tree.map(
            lambda p: jnp.asarray(value, p.dtype), params
        )
        return every(rate), every(decay)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (params, squares)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "squares does not have the arrays and shapes of params; make it with "
            "gradient_squares of the same model."
        )
    roots = jax.tree.map(jnp.sqrt, squares)
    leaves = jax.tree.leaves(roots)
    mean = sum(float(jnp.sum(r)) for r in leaves) / sum(r.size for r in leaves)
    if not mean > 0:
        raise ValueError(
            f"squares has the mean root {mean}, expected more than 0; take it from "
            f"segments that the model has something to learn from."
        )
    rates = jax.tree.map(lambda r: rate / (r + epsilon), roots)
    return rates, jax.tree.map(lambda r: jnp.minimum(decay * r / mean, 1), roots)


@functools.partial(jax.jit, static_argnums=0)
def _mean_squares(loss, params, carry, inputs, targets):
    def one(state, piece):
        carry, sums = state
        (carry, _), g = _loss_and_gradient(loss, params, carry, *piece)
        return (carry, jax.tree.map(lambda s, g: s + g * g, sums, g)), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    (_, sums), _ = jax.lax.scan(one, (carry, zeros), (inputs, targets))
    return jax.tree.map(lambda s: s / len(inputs), sums)


@functools.partial(jax.jit, static_argnums=0)
def _learn(loss, params, carry, rates, pulls, inputs, targets):
    def one(state, piece):
        now, carry = state
        (carry, mean), g = _loss_and_gradient(loss, now, carry, *piece)
        step = lambda w, g, w_0, rate, pull: w - rate * g + pull * (w_0 - w)
        return (jax.tree.map(step, now, g, params, rates, pulls), carry), mean

    return jax.lax.scan(one, (params, carry), (inputs, targets))


@functools.partial(jax.jit, static_argnums=0)
def _loss(loss, params, carry, inputs, targets):
    return loss(params, carry, inputs, targets)


def _loss_and_gradient(loss, params, carry, inputs, targets):
    def of(params):
        after, mean = loss(params, carry, inputs, targets)
        return mean, after

    (mean, carry), g = jax.value_and_grad(of, has_aux=True)(params)
    return (carry, mean), g
