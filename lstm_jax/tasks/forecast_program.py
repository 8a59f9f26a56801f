"""A forecaster over batches of windows: losses, forecasts and paths, jitted."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from lstm_jax._types import Array, PyTree
from lstm_jax.models.forecast.recursive import Reading, quantiles_of
from lstm_jax.models.forecast.window import Window
from lstm_jax.models.functional import Functional
from lstm_jax.tasks.forecast_batches import ForecastBatches


class Steps(NamedTuple):
    """What was read, and how to read on."""

    state: Array
    """All that a step changes."""
    advance: Callable[[Array, np.ndarray], Array]
    """From a state and a step ``[B, 2 + K]`` to the next state. The step has the
    values, 1 where they are observed, and what is known."""
    reading: Callable[[Array], Reading]
    """A state as the model has it."""


class Asked(NamedTuple):
    """What is to be forecast."""

    horizon: int
    levels: tuple[float, ...]
    """The levels of quantiles, with 0.5 among them; none of a point forecast."""

    def point(self, forecasts: np.ndarray) -> np.ndarray:
        """Forecasts ``[W, H, Q]`` as one number each: the median, or the number."""
        return forecasts[..., self.levels.index(0.5) if self.levels else 0]


class ForecastProgram:
    """A forecaster as functions of its parameters and of batches of windows.

    Results are in the order of the windows and on the scale of the batches.

    Args:
        model: the forecaster.
        seed: of what is drawn.
    """

    def __init__(self, model: Functional, seed: int):
        self._model, self._seed = model, seed

    def evaluate(
        self, params: PyTree, batches: ForecastBatches, asked: Asked
    ) -> tuple[float, np.ndarray]:
        """The mean loss of all observed steps, and the forecasts ``[W, H, Q]``."""
        loss, weight, found = 0.0, 0.0, []
        for real, batch, keys in self._keyed(batches):
            (losses, weights), forecast = self._evaluated(params, batch, keys, asked)
            losses, weights = (np.asarray(p, np.float64) for p in (losses, weights))
            loss, weight = loss + (losses * weights).sum(), weight + weights.sum()
            found.append(np.asarray(forecast)[:, real])
        return float(loss / weight), _by_window(found)

    def forecasts(
        self, params: PyTree, batches: ForecastBatches, asked: Asked
    ) -> np.ndarray:
        """Forecasts ``[W, H, Q]``."""
        return _by_window(
            np.asarray(self._forecast(params, batch, keys, asked))[:, real]
            for real, batch, keys in self._keyed(batches)
        )

    def paths(
        self, params: PyTree, batches: ForecastBatches, horizon: int, count: int
    ) -> np.ndarray:
        """Paths ``[W, H, N]``, of a model that draws them."""
        return _by_window(
            np.asarray(self._paths(params, batch, keys, horizon, count))[:, real]
            for real, batch, keys in self._keyed(batches)
        )

    def read(self, params: PyTree, window: Window) -> Reading:
        """Windows as a model has read them that draws paths."""
        return self._read(params, window)

    def steps_from(self, params: PyTree, reading: Reading) -> Steps:
        """Steps that go on from what was read; see `RecursiveForecaster.advance`.

        What a step changes is one array, and all else is compiled in: to pass many
        arrays takes longer than the step itself.
        """
        changing = reading.carry, reading.y, reading.observed
        state, unpacked = ravel_pytree(changing)

        def whole(state):
            carry, y, observed = unpacked(state)
            return Reading(carry, reading.fixed, y, observed)

        @jax.jit
        def advance(state, step):
            new = step[:, 0], step[:, 1] > 0, step[:, 2:]
            after = self._model(params).advance(whole(state), *new)
            return ravel_pytree((after.carry, after.y, after.observed))[0]

        return Steps(state, advance, whole)

    def forecast_from(
        self,
        params: PyTree,
        reading: Reading,
        known: np.ndarray,
        identities: np.ndarray,
        asked: Asked,
    ) -> np.ndarray:
        """Forecasts ``[B, H, Q]`` after what was read.

        Args:
            params: the parameters.
            reading: what was read.
            known: what is known ahead ``[H, B, K]``.
            identities: a number of each window, which its key belongs to.
            asked: what is forecast.
        """
        keys = self._keys(jax.random.key(self._seed), identities)
        return _by_window([self._forecast_from(params, reading, known, keys, asked)])

    def _keyed(self, batches) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Which rows of each batch are real, the batch, and a key for each row.

        The key of a window belongs to its series and to the steps before it, so that
        what is drawn does not depend on the batch or on other series.
        """
        keys = self._keys(jax.random.key(self._seed), batches.identities)
        for members, batch in batches.in_order():
            yield members >= 0, batch, keys[np.maximum(members, 0)]

    @functools.cached_property
    def _keys(self):
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        return jax.jit(fold)

    @functools.cached_property
    def _evaluated(self):
        # One program, so that a model that says all steps at once runs once.
        def evaluated(params, batch, keys, asked):
            model = self._model(params)
            losses = model.losses(*batch, deterministic=True)
            return losses, model.forecast(batch.window, keys, *asked)

        return jax.jit(evaluated, static_argnames="asked")

    @functools.cached_property
    def _forecast(self):
        def forecast(params, batch, keys, asked):
            return self._model(params).forecast(batch.window, keys, *asked)

        return jax.jit(forecast, static_argnames="asked")

    @functools.cached_property
    def _paths(self):
        def paths(params, batch, keys, horizon, count):
            return self._model(params).paths(batch.window, keys, horizon, count)

        return jax.jit(paths, static_argnames=("horizon", "count"))

    @functools.cached_property
    def _read(self):
        return jax.jit(lambda params, window: self._model(params).read(window))

    @functools.cached_property
    def _forecast_from(self):
        def forecast(params, reading, known, keys, asked):
            model = self._model(params)
            found = model.draw(reading, known, keys, model.config.paths)
            return quantiles_of(found, asked.levels)

        return jax.jit(forecast, static_argnames="asked")


def _by_window(parts):
    """Batches ``[H, B, Q]`` as ``[W, H, Q]`` in float64."""
    return np.concatenate([*parts], axis=1).transpose(1, 0, 2).astype(np.float64)
