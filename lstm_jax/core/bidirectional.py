"""Two directions over one sequence."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from lstm_jax._types import Array, Float


class Bidirectional(NamedTuple):
    """One value for each direction: of parameters, of carries."""

    forward: Any
    backward: Any


def bidirectional(
    run: Callable[..., tuple[Any, Array]],
    params: Bidirectional,
    carry: Bidirectional | None,
    xs: Float[Array, "T *B D"],
    *,
    reset_carry: Bidirectional | None = None,
    **sequence: Any,
) -> tuple[Bidirectional, Float[Array, "T *B _"]]:
    """Runs a layer in both directions and concatenates their outputs.

    ``run(params, carry, xs, reset_carry=, reverse=, **sequence)`` is one layer in one
    direction, such as `lstm_jax.lstm`. Outputs of both directions are aligned with the
    inputs. Schuster & Paliwal, "Bidirectional Recurrent Neural Networks", 1997.
    """
    carry = carry or Bidirectional(None, None)
    reset_carry = reset_carry or Bidirectional(None, None)
    carries, outputs = zip(
        *(
            run(p, c, xs, reset_carry=r, reverse=reverse, **sequence)
            for p, c, r, reverse in zip(
                params, carry, reset_carry, (False, True), strict=True
            )
        ),
        strict=True,
    )
    return Bidirectional(*carries), jnp.concatenate(outputs, axis=-1)
