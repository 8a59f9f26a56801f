"""Gradients of a long sequence, window by window, for your own training loop."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax._types import Array, Float, PyTree
from lstm_jax.core.arguments import check_size
from lstm_jax.core.precision import accumulation_dtype

WindowLoss = Callable[[PyTree, PyTree, PyTree], tuple[Float[Array, ""], PyTree]]
"""``loss(params, carry, xs)``: the mean loss of a window, and the carry after it."""


def truncated_bptt(
    loss: WindowLoss,
    params: PyTree,
    carry: PyTree,
    xs: PyTree,
    window: int,
    *,
    weights: Float[Array, "T"] | None = None,
) -> tuple[tuple[Float[Array, ""], PyTree], PyTree]:
    """Truncated backpropagation through time: loss, carry and gradients of a sequence.

        L_k, carry_{k+1} = loss(params, stop_gradient(carry_k), xs_k)     k = 0, 1, ...
        w_k  = the steps of window k, or the sum of its weights
        L    = sum_k w_k L_k / sum_k w_k          grads = dL / dparams

    The carry passes to the next window, but its gradient does not. The gradients of the
    windows are added, so the memory is that of one window. Werbos, "Backpropagation
    Through Time: What It Does and How to Do It", 1990.

    For one update per window, call it with one window at a time, and start each call
    from the returned carry. With ``window >= T`` the gradient is the full gradient.

    Args:
        loss: ``loss(params, carry, xs)`` returns the mean loss of a window and the
            carry after it. The last window may have fewer steps.
        params: the parameters to differentiate by, any tree of floating-point arrays.
        carry: the state before the first step. ``None`` is passed on to ``loss``; all
            functions of this library treat it as zeros. With dropout use a
            `lstm_jax.Stream`: its step gives every window its own masks.
        xs: the sequence to cut into windows: a tree of arrays ``[T, ...]``, such as
            ``(xs, targets, mask)``.
        window: steps of a window; the last window has the rest.
        weights: the weight of each step in the mean, ``[T]``, such as
            ``mask.sum(axis=1)`` if ``loss`` is a mean over real steps. A window of
            weight 0 is ignored, even if it is NaN. ``None`` is 1 per step.

    Returns:
        ``((L, carry), grads)``, like ``jax.value_and_grad(..., has_aux=True)``.

    Raises:
        TypeError: ``loss`` does not return a scalar and a carry.
        ValueError: arrays of ``xs`` differ in ``T`` or have no steps, ``window`` is
            less than 1, or ``weights`` has another shape.

    >>> import jax, jax.numpy as jnp
    >>> import optax
    >>> from lstm_jax import init_lstm, lstm, truncated_bptt
    >>> def loss(params, carry, xs):
    ...     xs, targets = xs
    ...     carry, hs = lstm(params, carry, xs)
    ...     return jnp.mean((hs - targets) ** 2), carry
    >>> optimizer = optax.sgd(1e-2)
    >>> @jax.jit
    ... def step(params, opt_state, carry, xs):
    ...     (value, carry), grads = truncated_bptt(loss, params, carry, xs, window=20)
    ...     updates, opt_state = optimizer.update(grads, opt_state)
    ...     return optax.apply_updates(params, updates), opt_state, carry, value
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> opt_state, carry = optimizer.init(params), None
    >>> batch = jnp.ones((50, 2, 3)), jnp.zeros((50, 2, 5))
    >>> for _ in range(2):
    ...     params, opt_state, carry, value = step(params, opt_state, carry, batch)
    >>> carry.h.shape
    (2, 5)
    """
    check_size("window", window)
    steps = _steps_of(xs)
    weights = _checked_weights(weights, steps)
    total = weights.sum()
    gradient = jax.value_and_grad(loss, has_aux=True)

    def one(state, inputs):
        sums, carry = state
        xs, weights = inputs
        carry = lax.stop_gradient(carry)  # the truncation
        (value, carry), grads = gradient(params, carry, xs)
        weight = weights.sum()
        share = jnp.where(weight > 0, weight / total, jnp.zeros_like(weight))

        def add(sum, new):
            new = new.astype(sum.dtype) * share.astype(sum.dtype)
            return sum + jnp.where(share > 0, new, jnp.zeros_like(new))

        return (jax.tree.map(add, sums, (value, grads)), carry), None

    like, after = _check_loss(loss, params, carry, _cut(xs, 0, min(window, steps)))
    zeros = lambda a: jnp.zeros(a.shape, accumulation_dtype(a.dtype))
    state, at = (jax.tree.map(zeros, (like, params)), carry), 0
    if not _alike(carry, after):  # None, or a Stream at its beginning
        at = min(window, steps)
        state, _ = one(state, _cut((xs, weights), 0, at))
    count = (steps - at) // window
    if count:
        end = at + count * window
        fold = lambda a: a.reshape(count, window, *a.shape[1:])
        windows = jax.tree.map(fold, _cut((xs, weights), at, end))
        state, _ = lax.scan(one, state, windows)
        at = end
    if at < steps:
        state, _ = one(state, _cut((xs, weights), at, steps))
    (value, grads), carry = state
    narrow = lambda sum, a: sum.astype(a.dtype)
    grads = jax.tree.map(narrow, grads, params)
    return (value.astype(like.dtype), lax.stop_gradient(carry)), grads


def _cut(xs, start, end):
    return jax.tree.map(lambda a: jnp.asarray(a)[start:end], xs)


def _steps_of(xs):
    shapes = [jnp.shape(a) for a in jax.tree.leaves(xs)]
    steps = {shape[:1] for shape in shapes}
    if len(steps) != 1 or steps & {(), (0,)}:
        raise ValueError(
            f"xs has arrays of the shapes {', '.join(map(str, shapes)) or 'none'}, "
            f"expected one or more arrays [T, ...] with the same T, 1 or more."
        )
    return steps.pop()[0]


def _checked_weights(weights, steps):
    if weights is None:
        return jnp.ones(steps, jnp.float32)
    if jnp.shape(weights) != (steps,):
        raise ValueError(
            f"weights has shape {jnp.shape(weights)}, expected {(steps,)}, one number "
            f"a step; sum a mask [T, B] over its rows."
        )
    return jnp.asarray(weights).astype(jnp.float32)


def _check_loss(loss, params, carry, xs):
    """The shapes of the loss and of the carry after a window."""
    found = jax.eval_shape(loss, params, carry, xs)
    pair = isinstance(found, tuple | list) and len(found) == 2
    if not pair or getattr(found[0], "shape", None) != ():
        raise TypeError(
            f"loss returns {jax.tree.map(jnp.shape, found)}, expected a pair: a "
            f"scalar, the mean loss of the window, and the carry after it."
        )
    return found


def _alike(carry, after):
    """Whether a loop can start from this carry."""
    facts = lambda a: (jnp.shape(a), jax.eval_shape(jnp.asarray, a).dtype)
    one, other = (jax.tree.flatten(tree) for tree in (carry, after))
    weak = any(getattr(a, "weak_type", not hasattr(a, "dtype")) for a in one[0])
    return (
        not weak
        and one[1] == other[1]
        and [*map(facts, one[0])] == [(a.shape, a.dtype) for a in other[0]]
    )
