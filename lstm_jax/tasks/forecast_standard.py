"""Every series less its mean and divided by its standard deviation."""

from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.text import DataError


class Standard(NamedTuple):
    """What standardises series: ``y' = (y - mean) / std``."""

    mean: np.ndarray
    """``[N]``."""
    std: np.ndarray
    """``[N]``; 1 of constant series."""

    def apply(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Series on the scale that the model reads."""
        both = zip(values, self.mean, self.std, strict=True)
        return [(x - mean) / std for x, mean, std in both]

    def none(self) -> "Standard":
        """One that leaves the series as they are."""
        return Standard(np.zeros_like(self.mean), np.ones_like(self.std))

    def undo(self, forecasts: np.ndarray, series: np.ndarray) -> Any:
        """Forecasts ``[W, H, Q]`` of these series, on the scale of the data."""
        mean, std = self.mean[series], self.std[series]
        return forecasts * std[:, None, None] + mean[:, None, None]


def standard_of(values: list[np.ndarray], names: tuple[str, ...]) -> Standard:
    """The mean and the standard deviation of observed values.

    Args:
        values: the series ``[T_n]``, NaN where nothing is observed.
        names: of the series, for errors.

    Raises:
        DataError: a series has no value.
    """
    mean, std = np.zeros(len(values)), np.ones(len(values))
    for n, (x, name) in enumerate(zip(values, names, strict=True)):
        there = x[~np.isnan(x)]
        if not there.size:
            raise DataError(
                f"the series {name} has no value in the training split, expected one "
                f"or more; leave it out, or make the training split longer."
            )
        mean[n] = there.mean()
        std[n] = there.std() if there.min() < there.max() else 1.0
    return Standard(mean, std)
