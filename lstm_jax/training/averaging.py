"""Averages of the parameters, which are evaluated instead of the parameters.

ema        a_t = d a_{t-1} + (1 - d) p_t          Polyak & Juditsky 1992, exponential
nt_asgd    the mean of p_t since validation stopped falling; before that, p_t itself
           (Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language
           Models", ICLR 2018)
"""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field, PositiveInt

from lstm_jax._types import Array, Int, PyTree
from lstm_jax.config import config


@config
class Ema:
    """An exponential average."""

    kind: Literal["ema"] = "ema"
    """The kind of average that is evaluated and saved; unset: none."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """The fraction of the average that an update keeps. It is lower for the first
    updates, so that the first parameters are forgotten."""


@config
class NtAsgd:
    """The mean of the parameters since validation stopped improving."""

    kind: Literal["nt_asgd"] = "nt_asgd"
    """The kind of average that is evaluated and saved; unset: none."""
    after: PositiveInt = 5
    """The average starts when the monitored value is worse than the best value of more
    than this many evaluations ago."""


AverageConfig = Annotated[Ema | NtAsgd, Field(discriminator="kind")]


class Average(NamedTuple):
    """An average, and the number of updates in it."""

    params: PyTree
    taken: Int[Array, ""]


class Averaging(NamedTuple):
    """A pair of pure functions, like an Optax transformation.

    ``update(average, params, active, step)`` adds the parameters after ``step`` steps.
    ``active`` comes from validation.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[[PyTree, PyTree, Array, Array], PyTree]


no_averaging = Averaging(lambda params: (), lambda average, *_: average)


def make_averaging(average: Ema | NtAsgd | None, every: int = 1) -> Averaging:
    """The averaging of a config; ``None`` means no averaging.

    The decay of `Ema` is ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates.

    Args:
        average: the config.
        every: steps between two updates of the parameters.
    """
    match average:
        case None:
            return no_averaging
        case Ema(decay=decay):
            share = lambda count, active: (
                1 - jnp.minimum(decay, (1 + count) / (10 + count))
            )
        case NtAsgd():
            share = lambda count, active: jnp.where(active, 1 / (count + 1), 1.0)
    always = isinstance(average, Ema)

    def init(params):
        # Copy: the state is donated, so it must not contain an array twice.
        return Average(jax.tree.map(jnp.copy, params), jnp.zeros((), jnp.int32))

    def update(average, params, active, step):
        count = average.taken.astype(jnp.float32)
        new = share(count, active)
        # Not a + new * (p - a): for new = 1 it would not give exactly p.
        move = lambda a, p: ((1 - new) * a + new * p).astype(a.dtype)
        more = (active | always).astype(jnp.int32)
        after = Average(
            jax.tree.map(move, average.params, params), average.taken + more
        )
        due = step % every == 0
        return jax.tree.map(lambda a, b: jnp.where(due, a, b), after, average)

    return Averaging(init, update)
