"""What the sequences of a beam search may say.

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

from lstm_jax._types import Array, Bool, Float, Int


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
