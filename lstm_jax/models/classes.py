"""Checks of labels: one class for every row of logits."""

from typing import Any

import jax.numpy as jnp
from jax.core import Tracer

from lstm_jax._types import Array, Bool, Int


def check_classes(
    name: str, classes: Any, logits_shape: tuple[int, ...]
) -> Int[Array, "*S"]:
    """Checks for integers, one for every row of logits ``[..., C]``.

    Raises:
        TypeError: the classes are not integers.
        ValueError: the classes have another shape.
    """
    classes = jnp.asarray(classes)
    if not jnp.issubdtype(classes.dtype, jnp.integer):
        raise TypeError(
            f"{name} has dtype {classes.dtype}, expected integers, the indices of "
            f"classes."
        )
    if classes.shape != logits_shape[:-1]:
        raise ValueError(
            f"{name} has shape {classes.shape}, expected {logits_shape[:-1]}, one "
            f"class for every row of logits {logits_shape}."
        )
    return classes.astype(jnp.int32)


def classes_that_count(
    name: str,
    classes: Int[Array, "*S"],
    counts: Bool[Array, "*S"],
    count: int,
    advice: str,
) -> Int[Array, "*S"]:
    """The classes, with 0 where they do not count.

    A traced class that counts and is outside ``[0, count)`` becomes ``count``. A lookup
    with ``mode="fill"`` then gives NaN.

    Raises:
        ValueError: a class that counts and is not traced is outside ``[0, count)``.
    """
    classes = jnp.where(counts, classes, jnp.zeros_like(classes))
    wrong = (classes < 0) | (classes >= count)
    if not isinstance(wrong, Tracer) and wrong.any():
        at = tuple(map(int, jnp.argwhere(wrong)[0]))
        raise ValueError(
            f"{name}{list(at)} is {classes[at]}, expected a class in [0, {count}); "
            f"{advice}."
        )
    return jnp.where(wrong, jnp.full_like(classes, count), classes)
