"""The scale that a model reads series on."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from lstm_jax.data.text import DataError


class ReadBy(Protocol):
    """What brings series to the scale that a model reads, and forecasts back."""

    def apply(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Series ``[T_n]`` on the scale that the model reads."""
        ...

    def undo(self, forecasts: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Forecasts ``[W, H, Q]`` of these series, on the scale of the data."""
        ...

    def units(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """What one unit of the scale that the model reads is on that of the data, at
        every value ``[T_n]``: ``dy / dy'``."""
        ...

    def error_unit(self, series: np.ndarray) -> np.ndarray:
        """What errors of these series are divided by ``[W]``, on the scale that the
        model reads, so that series can be compared."""
        ...


class AsTheyAre:
    """Series as they are.

    Args:
        std: the standard deviation of every series ``[N]``; only errors are divided by
            it.
    """

    def __init__(self, std: np.ndarray):
        self._std = std

    def apply(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """The series."""
        return values

    def undo(self, forecasts: np.ndarray, series: np.ndarray) -> np.ndarray:
        """The forecasts."""
        del series
        return np.asarray(forecasts, np.float64)

    def units(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """1."""
        return [np.ones_like(x) for x in values]

    def error_unit(self, series: np.ndarray) -> np.ndarray:
        """The standard deviation."""
        return self._std[series]


class Logarithm:
    """Series as logarithms: ``y' = log y``. An error is then relative to ``y``, and a
    quantile of ``y'`` is that of ``y``."""

    def apply(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Logarithms of series of numbers above 0."""
        return [np.log(x) for x in values]

    def undo(self, forecasts: np.ndarray, series: np.ndarray) -> np.ndarray:
        """``exp y'``."""
        del series
        return np.exp(np.asarray(forecasts, np.float64))

    def units(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """``y``."""
        return values

    def error_unit(self, series: np.ndarray) -> np.ndarray:
        """1: errors of logarithms are relative already."""
        return np.ones(len(series))


class Standard(NamedTuple):
    """Every series less its mean and divided by its standard deviation:
    ``y' = (y - mean) / std``."""

    mean: np.ndarray
    """``[N]``."""
    std: np.ndarray
    """``[N]``; 1 of constant series."""

    def apply(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Series on the scale that the model reads."""
        both = zip(values, self.mean, self.std, strict=True)
        return [(x - mean) / std for x, mean, std in both]

    def undo(self, forecasts: np.ndarray, series: np.ndarray) -> Any:
        """Forecasts ``[W, H, Q]`` of these series, on the scale of the data."""
        mean, std = self.mean[series], self.std[series]
        return forecasts * std[:, None, None] + mean[:, None, None]

    def units(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """The standard deviation."""
        both = zip(values, self.std, strict=True)
        return [np.full_like(x, std) for x, std in both]

    def error_unit(self, series: np.ndarray) -> np.ndarray:
        """1: the series are standardised already."""
        return np.ones(len(series))


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
