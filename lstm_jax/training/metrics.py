"""Metrics by name, and how to show them.

A metric of a batch is a `Mean`: a sum and a weight. Sums and weights of batches are
added and divided once at the end, so the result is exact even for uneven batches.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, PyTree


class Mean(NamedTuple):
    """A weighted mean. Means can be added.

    >>> first, second = Mean(total=3.0, weight=2.0), Mean(total=5.0, weight=2.0)
    >>> (first + second).value
    2.0
    """

    total: Any
    """The sum of weighted values."""
    weight: Any = 1.0
    """The sum of weights."""

    def __add__(self, other: Any) -> "Mean":
        return Mean(self.total + other.total, self.weight + other.weight)

    @property
    def value(self) -> Any:
        """``total / weight``."""
        return self.total / self.weight


class Aux(NamedTuple):
    """The second result of a loss, after its value."""

    carry: PyTree
    """The recurrent state after the batch."""
    metrics: Mapping[str, Mean] = {}
    """More metrics of the batch, by name. The loss itself is always one. If what
    training lowers is not what evaluation measures, as with class weights, this has the
    measured ``loss``, and the other is called ``objective``."""
    weight: Any = 1.0
    """The weight of the loss among those of other batches."""


Loss = Callable[[PyTree, PyTree, PyTree, Any], tuple[Array, Aux]]
"""``(params, carry, batch, key) -> (loss, Aux(carry, metrics))``. Training minimises
the loss, the mean over a batch."""


def of_step(loss: Any, aux: Aux) -> dict[str, Mean]:
    """All metrics of a training step, the minimised one first.

    >>> [*of_step(0.5, Aux(()))], [*of_step(0.5, Aux((), {"loss": Mean(0.4)}))]
    (['loss'], ['objective', 'loss'])
    """
    name = "objective" if "loss" in aux.metrics else "loss"
    return {name: Mean(loss * aux.weight, aux.weight)} | dict(aux.metrics)


def over_batches(
    measure: Callable[[Any], Mapping[str, Mean]], batches: Iterable[Any]
) -> dict[str, float]:
    """Metrics of a whole split, exact even for uneven batches.

    Args:
        measure: computes the metrics of a batch.
        batches: the batches of the split.

    Raises:
        ValueError: there are no batches.

    >>> over_batches(lambda xs: {"mean": Mean(sum(xs), len(xs))}, [[1, 2, 3], [6]])
    {'mean': 3.0}
    """
    total: dict[str, Mean] = {}
    for batch in batches:
        # Python floats, so that sums over a long split do not lose digits.
        found = jax.tree.map(float, dict(measure(batch)))
        total = {
            name: total[name] + mean if total else mean for name, mean in found.items()
        }
    if not total:
        raise ValueError("there are no batches, expected one or more.")
    return {name: mean.value for name, mean in total.items()}


def number(value: float, decimals: int = 4) -> str:
    """A number with so many decimals; a very large or small one with an exponent.

    >>> number(1.23456), number(7e-05), number(1e304), number(113.746, decimals=2)
    ('1.2346', '7.00e-05', '1.00e+304', '113.75')
    """
    plain = not value or 0.01 <= abs(value) < 1e7 or not np.isfinite(value)
    return f"{value:.{decimals}f}" if plain else f"{value:.2e}"


@dataclasses.dataclass(frozen=True)
class Metric:
    """How to show a metric, and which of two values is better.

    >>> import math
    >>> Metric("bits", of="loss", convert=lambda nats: nats / math.log(2)).say(0.6931)
    '0.9999 bits'
    """

    unit: str = ""
    """The unit after a number; empty if there is none."""
    better: Literal["lower", "higher"] = "lower"
    """Which values are better."""
    label: str = ""
    """The label of its curve; empty means the name of the metric."""
    scale: Literal["linear", "log"] = "linear"
    """The scale of its curve."""
    of: str = ""
    """The metric that this one is computed from; empty if it is measured itself."""
    convert: Callable[[Any], Any] = lambda value: value
    """Converts values of ``of``, one or an array, to values of this metric."""

    def say(self, value: float) -> str:
        """A value with its unit."""
        return f"{number(self.convert(value))} {self.unit}".rstrip()


Metrics = Mapping[str, Metric]
"""The metrics of a task by name. The first one is shown in the progress line."""

PLAIN: Metrics = {"loss": Metric()}


def headline(metrics: Metrics) -> tuple[str, Metric]:
    """The main metric of a run: the name that is measured, and how to show it.

    >>> headline({"perplexity": Metric("perplexity", of="loss"), "loss": Metric()})[0]
    'loss'
    """
    name, metric = next(iter(metrics.items()))
    return metric.of or name, metric


def as_arrays(means: Mapping[str, Mean]) -> dict[str, Array]:
    """Each mean as a float32 array ``[2]`` of total and weight."""
    return {
        name: jnp.stack([jnp.asarray(part, jnp.float32) for part in mean])
        for name, mean in means.items()
    }


def finite(values: Iterable[float]) -> list[float | None]:
    """Numbers for JSON: values that are not finite become ``None``.

    >>> finite([1.5, float("nan")])
    [1.5, None]
    """
    return [float(value) if np.isfinite(value) else None for value in values]


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not ``None``; ``None`` if there are none.

    >>> mean([1.5, None, 2.5]), mean([None])
    (2.0, None)
    """
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
