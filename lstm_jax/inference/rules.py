"""What the sequences of a search may say, or sampled sequences that end.

    token t is prefix[t]      for t < prefix_lengths
    token t is end            for t = max_lengths - 1
    token t is not end        for t < min_lengths - 1
    y_i ... y_{i+n-1} = y_j ... y_{j+n-1}   only for i = j

A rule above goes before the rules below. A rule takes away sequences. It does not
change the score of a sequence that it leaves: a forced token counts with the
log-probability that the model gives it, and the probabilities of the other tokens are
not scaled up.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lstm_jax._types import Array, Bool, Float, Int, Lengths

MOST = 2**30
"""No sequence is as long as this."""


class Rules(NamedTuple):
    """The rules of each sentence."""

    min_lengths: Int[Array, "B"] | np.ndarray
    max_lengths: Int[Array, "B"] | np.ndarray
    """More than the tokens of a search: no maximum."""
    prefix: Int[Array, "B P"]
    prefix_lengths: Int[Array, "B"]

    def forced(self, t, end) -> tuple[Bool[Array, "B"], Int[Array, "B"]]:
        """Whether only one token is allowed at step ``t``, and which."""
        place = jnp.minimum(t, self.prefix.shape[1] - 1)
        given = t < self.prefix_lengths
        token = jnp.where(given, self.prefix[:, place], end)
        return given | (t + 1 >= self.max_lengths), token

    def too_early(self, t) -> Bool[Array, "B"]:
        """Whether a sequence may not end at step ``t``."""
        return t + 1 < self.min_lengths


def make_rules(
    shape: tuple[int, int, int],
    min_lengths: Lengths,
    max_lengths: Lengths | None,
    prefix: Int[Array, "B P"] | np.ndarray | list | None,
    prefix_lengths: Lengths | None,
) -> Rules:
    """The rules of a batch, from the arguments of `beam_search_batch`.

    Args:
        shape: the number of sentences, the most tokens of a sequence, and the size of
            the vocabulary.
        min_lengths, max_lengths, prefix, prefix_lengths: see `beam_search_batch`.

    Raises:
        TypeError, ValueError: an argument is not as described there.
    """
    sentences, length, _ = shape
    max_lengths = length + 1 if max_lengths is None else max_lengths
    return Rules(
        _per_sentence("min_lengths", min_lengths, sentences),
        _per_sentence("max_lengths", max_lengths, sentences),
        *_prefix(prefix, prefix_lengths, *shape),
    )


def check_end(end: int, vocabulary: int) -> None:
    """Raises a ValueError unless ``end`` is a token."""
    number = isinstance(end, int | np.integer) and not isinstance(end, bool)
    if not number or not 0 <= end < vocabulary:
        raise ValueError(f"end is {end!r}, expected a token in [0, {vocabulary}).")


def _per_sentence(name, lengths, sentences):
    """One length of each sentence, int32. Traced values are clipped at 0."""
    known = not isinstance(lengths, Tracer)
    if known:
        lengths = np.asarray(lengths)
        if lengths.size and lengths.dtype.kind in "iu" and lengths.min() < 0:
            raise ValueError(f"{name} holds {lengths.min()}, expected 0 or more.")
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{name} has dtype {lengths.dtype}, expected integers.")
    if lengths.shape not in ((), (sentences,)):
        raise ValueError(
            f"{name} has shape {lengths.shape}, expected one number or "
            f"({sentences},), one for each sentence."
        )
    # Clip before the cast: the cast would turn 2**32 into 0.
    np_or_jnp = np if known else jnp
    lengths = np_or_jnp.clip(lengths, 0, MOST).astype(np.int32)
    return np_or_jnp.broadcast_to(lengths, (sentences,))


def _prefix(prefix, prefix_lengths, sentences, length, vocabulary):
    """The prefix, with at least one column, and its lengths."""
    if prefix is None:
        if prefix_lengths is not None:
            raise ValueError("prefix_lengths is given without prefix; give both.")
        prefix = np.zeros((sentences, 0), np.int32)
    known = not isinstance(prefix, Tracer)
    prefix = np.asarray(prefix) if known else prefix
    if not jnp.issubdtype(prefix.dtype, jnp.integer):
        raise TypeError(f"prefix has dtype {prefix.dtype}, expected integers.")
    if prefix.ndim != 2 or len(prefix) != sentences or prefix.shape[1] > length:
        raise ValueError(
            f"prefix has shape {prefix.shape}, expected ({sentences}, P), one row for "
            f"each sentence and P at most length, {length}."
        )
    columns = prefix.shape[1]
    given = columns if prefix_lengths is None else prefix_lengths
    lengths = _per_sentence("prefix_lengths", given, sentences)
    if isinstance(lengths, np.ndarray):
        if (most := lengths.max(initial=0)) > columns:
            raise ValueError(
                f"prefix_lengths holds {most}, expected at most {columns}, the columns "
                f"of prefix."
            )
        if isinstance(prefix, np.ndarray):
            used = prefix[np.arange(columns) < lengths[:, None]]
            if used.size and not 0 <= used.min() <= used.max() < vocabulary:
                raise ValueError(
                    f"prefix holds tokens from {used.min()} to {used.max()}, expected "
                    f"tokens in [0, {vocabulary})."
                )
    prefix = jnp.pad(jnp.asarray(prefix, jnp.int32), ((0, 0), (0, columns == 0)))
    return prefix, jnp.minimum(lengths, columns)


def without_repeats(
    logits: Float[Array, "R V"], tokens: Int[Array, "R L"], t: Int[Array, ""], n: int
) -> Float[Array, "R V"]:
    """``-inf`` for every token that would repeat an n-gram of its row.

    Args:
        logits: the logits of token ``t``.
        tokens: each row so far. Only the first ``t`` tokens count.
        t: the step.
        n: tokens of an n-gram.
    """
    rows, length = tokens.shape
    windows = length - n + 1
    if windows < 1:
        return logits
    last = jax.lax.dynamic_slice_in_dim(tokens, t - (n - 1), n - 1, axis=1)
    repeated = jnp.broadcast_to(
        jnp.arange(windows, dtype=jnp.int32) + (n - 1) < t, (rows, windows)
    )
    for k in range(n - 1):
        repeated &= tokens[:, k : k + windows] == last[:, k, None]
    nothing = logits.shape[1]
    ends = jnp.where(repeated, tokens[:, n - 1 :], nothing)
    row = jnp.arange(rows, dtype=jnp.int32)[:, None]
    return logits.at[row, ends].set(-jnp.inf, mode="drop")
