"""A model that reads one token at a time, as a pure function.

    step(carry, tokens [B]) -> (carry, logits [B, V])

The carry is any pytree whose arrays start with the batch axis. The logits predict the
next token. Pass parameters as ``jax.tree_util.Partial(function, params)``. Then they
are arguments of the compiled program, and new parameters need no new program.
Parameters that a plain function closes over become constants of the program.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial, keystr

from lstm_jax._types import Array, Float, Int, PyTree
from lstm_jax.core.arguments import check_floating, check_size
from lstm_jax.core.precision import accumulation_dtype

Step = Callable[[PyTree, Int[Array, "B"]], tuple[PyTree, Float[Array, "B V"]]]
"""``(carry, tokens) -> (carry, logits)``, with int32 tokens."""


def spread(tree: PyTree, count: int) -> PyTree:
    """Repeats the arrays of one sequence, ``[1, ...]``, for ``count`` sequences.

    Raises:
        ValueError: an array's first axis is not 1.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import spread
    >>> carry, logits = spread((jnp.ones((1, 5)), jnp.ones((1, 9))), 4)
    >>> carry.shape, logits.shape
    ((4, 5), (4, 9))
    """
    check_size("count", count)
    check_batch("tree", tree, 1)
    return jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), tree)


def check_batch(name, tree, batch):
    """Raises an error if the first axis of an array is not ``batch``."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if jnp.shape(leaf)[:1] != (batch,):
            raise ValueError(
                f"{name}{keystr(path)} has shape {jnp.shape(leaf)}, expected "
                f"({batch}, ...): the batch is the first axis of every array."
            )


def check_step(step, carry, logits, width=1):
    """Checks ``(step, carry, logits)`` and prepares them for a loop. The step becomes
    an argument of a program, and its logits get the accumulation dtype. The step takes
    ``width`` rows for each of those given.
    """
    if not callable(step):
        raise TypeError(
            f"step is {type(step).__name__}, expected a function "
            f"(carry, tokens) -> (carry, logits)."
        )
    logits = check_floating("logits", logits)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(
            f"logits has shape {logits.shape}, expected [B, V], neither of them 0; "
            f"use logits[None] for one sequence."
        )
    check_batch("carry", carry, len(logits))
    carry = jax.tree.map(jnp.asarray, carry)
    _check_result(step, *_rows((carry, logits), width * len(logits)))
    step = step if isinstance(step, Partial) else Partial(step)
    return step, carry, logits.astype(accumulation_dtype(logits.dtype))


def _rows(tree, rows):
    """The shapes and dtypes of ``tree`` with another number of rows."""
    widen = lambda a: jax.ShapeDtypeStruct((rows, *a.shape[1:]), a.dtype)
    return jax.tree.map(widen, tree)


def _check_result(step, carry, logits):
    """Raises an error if a loop cannot continue with the results of a step."""
    tokens = jax.ShapeDtypeStruct(logits.shape[:1], jnp.int32)
    result = jax.eval_shape(step, carry, tokens)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"step returns {type(result).__name__}, expected (carry, logits)."
        )
    after, following = result
    fits = getattr(following, "shape", None) == logits.shape
    if not fits or not jnp.issubdtype(following.dtype, jnp.floating):
        raise ValueError(
            f"step returns logits of {_told(following)}, but those given are of "
            f"{_told(logits)}; both are of the token that follows, [B, V]."
        )
    if _facts(after) != _facts(carry):
        raise ValueError(
            f"step turns a carry of {_told(carry)} into one of {_told(after)}, "
            f"expected the same structure, shapes and dtypes."
        )


def _facts(tree):
    """The structure, shapes and dtypes that a loop must keep."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _told(tree):
    return str(jax.tree.map(lambda a: f"{a.dtype.name}{list(a.shape)}", tree))
