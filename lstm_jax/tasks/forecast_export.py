"""A forecaster for export: from values to forecasts, both on the scale of the data."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax._types import Array, PyTree
from lstm_jax.core.trees import by_path
from lstm_jax.models.forecast.recursive import RecursiveConfig
from lstm_jax.models.forecast.window import Window
from lstm_jax.nn import Recurrent
from lstm_jax.programs.pieces import Layers
from lstm_jax.programs.program import Spec
from lstm_jax.tasks.forecast_standard import AsTheyAre, Logarithm
from lstm_jax.training.run_errors import RunError


@dataclasses.dataclass(frozen=True, eq=False)
class ForecastFunction:
    """A trained forecaster as a function of arrays by name.

        y          [C, B] float32, the last values of each series; NaN where missing
        series     [B] int32, the number of each series in the order of training, 0 to
                   N - 1; -1 of a new one, which gets the scale of its ``C`` values
        known      [C + H, B, K], calendar and covariates known ahead, if the model
                   reads them
        past       [C, B, P] and static [B, S] likewise
        forecasts  [H, B, Q] float32: the number, or the quantiles in increasing order

    Nothing is checked: ``y`` has to be above 0 with ``data.logarithm``.

    With ``batch_first`` [B, C], [B, C + H, K] and so on. The scale of the series is
    inside. Covariates are to be standardised, and the calendar computed, as in
    `lstm_jax.tasks.forecast_features`.

    Raises:
        RunError: its inputs are asked for, and the model draws paths.
    """

    task: Any
    params: PyTree
    batch_first: bool = False

    def _check(self):
        if isinstance(self.task.config.model, RecursiveConfig):
            raise RunError(
                "a model of kind recursive draws paths, which cannot be exported; use "
                'model.kind="direct", or save its layers with --format safetensors.'
            )

    @functools.cached_property
    def pieces(self) -> tuple[Layers, ...]:
        """The recurrent layers."""
        layers = self._recurrent(self.task.model(self.params))
        return tuple(Layers(one.stack, one.params) for one in layers)

    def _recurrent(self, model):
        return [m for _, m in nnx.iter_modules(model) if isinstance(m, Recurrent)]

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """The inputs, in order."""
        self._check()
        config, sizes = self.task.config.model, self.task.data.sizes
        steps, every = config.history, config.history + config.horizon
        found = [
            Spec("y", "float32", self._turned(steps, "B")),
            Spec("series", "int32", ("B",)),
        ]
        if sizes.known:
            known = *self._turned(every, "B"), sizes.known
            found.append(Spec("known", "float32", known))
        if sizes.past:
            found.append(
                Spec("past", "float32", (*self._turned(steps, "B"), sizes.past))
            )
        if sizes.static:
            found.append(Spec("static", "float32", ("B", sizes.static)))
        return tuple(found)

    @property
    def outputs(self) -> tuple[Spec, ...]:
        """The one output."""
        config = self.task.config.model
        shape = *self._turned(config.horizon, "B"), max(1, len(config.levels))
        return (Spec("forecasts", "float32", shape),)

    def _turned(self, steps, rows):
        return (rows, steps) if self.batch_first else (steps, rows)

    @property
    def weights(self) -> dict[str, Array]:
        """Every weight by its path."""
        return by_path(self.params)

    def with_weights(self, weights: Mapping[str, Array]) -> "ForecastFunction":
        """The same function with all weights replaced."""
        leaves = [weights[name] for name in self.weights]
        params = jax.tree.unflatten(jax.tree.structure(self.params), leaves)
        return dataclasses.replace(self, params=params)

    def __call__(
        self, inputs: Mapping[str, Array], *, implementation: str | None = None
    ) -> dict[str, Array]:
        """The forecasts, in float32."""
        config, model = self.task.config.model, self.task.model(self.params)
        for layers in self._recurrent(model):
            layers.implementation = implementation
        turn = lambda name: (
            jnp.swapaxes(inputs[name], 0, 1) if self.batch_first else inputs[name]
        )
        y, series = turn("y"), inputs["series"]
        observed = ~jnp.isnan(y)
        y = jnp.where(observed, y, jnp.ones_like(y))
        read, undo = self._scaled(y, observed, series)
        extra = {name: turn(name) for name in ("known", "past") if name in inputs}
        window = Window(read, observed, series, static=inputs.get("static"), **extra)
        keys = jax.random.split(jax.random.key(0), 1)  # nothing is drawn
        found = undo(model.forecast(window, keys, config.horizon, config.levels))
        return {"forecasts": jnp.swapaxes(found, 0, 1) if self.batch_first else found}

    def _scaled(self, y, observed, series):
        """Values as the model reads them, and the way back."""
        read_by = self.task.data.read_by
        if isinstance(read_by, Logarithm):
            return jnp.log(y), jnp.exp
        if isinstance(read_by, AsTheyAre):
            return y, lambda forecasts: forecasts
        mean, std = (
            jnp.asarray(np.asarray(a), jnp.float32)[jnp.maximum(series, 0)]
            for a in (read_by.mean, read_by.std)
        )
        own = _scale_of(y, observed)
        known = series >= 0
        mean = jnp.where(known, mean, own[0])[None]
        std = jnp.where(known, std, own[1])[None]
        return (y - mean) / std, lambda f: f * std[..., None] + mean[..., None]


def _scale_of(y, observed):
    """The mean and the standard deviation of the observed values of every row, as
    `lstm_jax.tasks.forecast_standard.standard_of` takes them of a new series: however
    small its spread is."""
    count = jnp.maximum(observed.sum(axis=0), 1).astype(y.dtype)
    mean = jnp.where(observed, y, jnp.zeros_like(y)).sum(axis=0) / count
    off = jnp.where(observed, y - mean[None], jnp.zeros_like(y))
    std = jnp.sqrt((off**2).sum(axis=0) / count)
    return mean, jnp.where(std > 0, std, jnp.ones_like(std))
