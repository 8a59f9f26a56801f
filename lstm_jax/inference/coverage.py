"""The coverage penalty: every word of the source should have been attended to.

    cp = sum over i of log min(sum over t of p_ti, 1)

``p_ti`` is the attention to word ``i`` of the source at step ``t``. Wu et al.,
"Google's Neural Machine Translation System", 2016, eq. 14.
"""

import jax.numpy as jnp

from lstm_jax._types import Array, Float
from lstm_jax.core.arguments import check_floating


def coverage_penalty(attention: Float[Array, "*R S"]) -> Float[Array, "*R"]:
    """The penalty of each row: 0 if all words are covered, else negative.

    Args:
        attention: for each word of the source, the sum of its attention so far. Let the
            sum of padding begin with 1, so that padding is covered.

    Returns:
        The sum over words. A word with a sum of 0 counts as one with the smallest
        normal number, whose logarithm is finite (-87 in float32).

    Raises:
        TypeError: ``attention`` is not floating point.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import coverage_penalty
    >>> seen = jnp.array([[0.5, 1.5, 1.0], [1.0, 1.0, 2.0]])
    >>> coverage_penalty(seen).round(3).tolist()
    [-0.6930000185966492, 0.0]
    """
    attention = check_floating("attention", attention)
    covered = jnp.clip(attention, jnp.finfo(attention.dtype).tiny, 1)
    return jnp.log(covered).sum(axis=-1)
