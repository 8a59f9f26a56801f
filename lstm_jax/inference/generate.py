"""Samples sequences token by token.

    y_t ~ p(y_t | y_1 ... y_{t-1}),  the distribution of `sampling`

The token of sample ``b`` at step ``t`` has its own key, made from ``(key, b, t)``. So
it depends only on this key and on the model's logits.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, Float, Key, PyTree
from lstm_jax.core.arguments import check_one_key, check_size
from lstm_jax.inference.sampling import Sampling, draw
from lstm_jax.inference.stepwise import Step, check_step

_NONE = -1
"""Marks a token that could not be drawn."""


def generate(
    step: Step,
    carry: PyTree,
    logits: Float[Array, "B V"],
    key: Key[Array, ""],
    length: int,
    sampling: Sampling,
    *,
    chunk: int = 16,
) -> Iterator[np.ndarray]:
    """Yields tokens as they are generated, in arrays ``[B, n]``, where ``n`` is
    ``chunk`` or the rest.

    Each chunk is one call of the same compiled program, for any length. The tokens
    depend neither on ``chunk`` nor on the other samples, as long as the model computes
    the same logits. (In a batch of another size, logits may be rounded differently.)

    Args:
        step: the model, ``(carry, tokens [B]) -> (carry, logits [B, V])``. Pass its
            parameters as ``jax.tree_util.Partial(function, params)``.
        carry: the state after the prompt; every array starts with the batch axis.
        logits: the logits of the first token, ``[B, V]``. For several samples of one
            prompt see `spread`.
        key: a typed key, or an old-style key.
        length: number of tokens to generate.
        sampling: how a token is drawn.
        chunk: number of tokens generated at a time.

    Raises:
        TypeError, ValueError: an argument is not as described (raised by the call), or
            logits contain NaN or have no finite maximum (raised later).

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax.inference import Sampling, generate
    >>> table = jnp.array([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [9.0, 0.0, 0.0]])
    >>> step = lambda carry, tokens: (carry, table[tokens])
    >>> coldest = Sampling(temperature=0)
    >>> parts = generate(step, (), table[:2], jax.random.key(0), 5, coldest, chunk=3)
    >>> [part.tolist() for part in parts]
    [[[1, 2, 0], [2, 0, 1]], [[1, 2], [2, 0]]]
    """
    check_size("length", length)
    check_size("chunk", chunk)
    step, carry, logits = check_step(step, carry, logits)
    samples = jnp.arange(len(logits), dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(check_one_key(key), samples)
    # Not itself a generator, so that wrong arguments raise in the call.
    return _chunks(step, carry, logits, keys, length, sampling, chunk)


def _chunks(step, carry, logits, keys, length, sampling, chunk):
    for start in range(0, length, chunk):
        count = min(chunk, length - start)
        span = np.int32(start), np.int32(count)
        carry, logits, made = _make(
            step, carry, logits, keys, *span, capacity=chunk, sampling=sampling
        )
        tokens = np.asarray(made)[:count].T
        _check_drawn(tokens, start)
        yield tokens


@functools.partial(jax.jit, static_argnames=("capacity", "sampling"))
def _make(step, carry, logits, keys, start, count, *, capacity, sampling):
    """Generates ``count`` tokens from step ``start`` on, in an array ``[capacity, B]``.

    ``start`` and ``count`` are traced arguments of one program, not constants. So the
    same instructions generate a sequence, however it is cut.
    """

    def one(i, state):
        carry, logits, made = state
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, start + i)
        tokens = draw(logits, now, sampling)
        sound = jnp.isfinite(logits.max(axis=-1))
        made = made.at[i].set(jnp.where(sound, tokens, _NONE))
        carry, following = step(carry, tokens)
        return carry, following.astype(logits.dtype), made

    made = jnp.full((capacity, len(logits)), _NONE, jnp.int32)
    return jax.lax.fori_loop(0, count, one, (carry, logits, made))


def _check_drawn(tokens, start):
    wrong = np.argwhere(tokens.T == _NONE)
    if len(wrong):
        t, sample = wrong[0]
        raise ValueError(
            f"the logits of sample {sample} at step {start + t} hold NaN or have no "
            f"finite maximum, so no token can be drawn; see whether the parameters of "
            f"the model are finite."
        )


def generate_all(
    step: Step,
    carry: PyTree,
    logits: Float[Array, "B V"],
    key: Key[Array, ""],
    length: int,
    sampling: Sampling,
    *,
    chunk: int = 16,
) -> np.ndarray:
    """All tokens of `generate` in one array, ``[B, length]``; see `generate`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax.inference import Sampling, generate_all, spread
    >>> coin = jnp.array([[0.0, 0.0, -jnp.inf]])
    >>> step = lambda carry, tokens: (carry, spread(coin, len(tokens)))
    >>> logits, key = spread(coin, 2), jax.random.key(0)
    >>> tokens = generate_all(step, (), logits, key, 100, Sampling())
    >>> tokens.shape, np.unique(tokens).tolist()
    ((2, 100), [0, 1])
    """
    parts = generate(step, carry, logits, key, length, sampling, chunk=chunk)
    return np.concatenate(list(parts), axis=1)
