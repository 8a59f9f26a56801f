"""Forecasting: the next steps of time series, as numbers or quantiles."""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field

from lstm_jax._types import PyTree
from lstm_jax.config import Count, config
from lstm_jax.data.panel import Panel, Windows, forecast_frame
from lstm_jax.models.forecast.direct import DirectConfig
from lstm_jax.models.functional import Functional
from lstm_jax.scores import forecast as scores
from lstm_jax.tasks.abilities import Predictions
from lstm_jax.tasks.forecast_batches import ForecastBatches
from lstm_jax.tasks.forecast_config import ForecastDataConfig
from lstm_jax.tasks.forecast_data import ForecastData, ForecastMetadata
from lstm_jax.tasks.forecast_measures import baseline, point_metrics, sentence
from lstm_jax.training.batches import HostBatches
from lstm_jax.training.metrics import Aux, Metric, Metrics
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.run_folder import RunConfig
from lstm_jax.training.trainer import TrainConfig


@config
class ForecastEvaluationConfig:
    """How a split is evaluated."""

    batch_size: Count = 1024
    """Windows at a time; the metrics do not depend on it."""


@config
class ForecastingConfig:
    """A forecaster, from files to checkpoint."""

    task: Literal["forecasting"] = "forecasting"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    data: ForecastDataConfig = ForecastDataConfig()
    model: DirectConfig = DirectConfig()
    optimizer: OptimizerConfig = Adam()
    train: TrainConfig = TrainConfig()
    evaluation: ForecastEvaluationConfig = ForecastEvaluationConfig()
    run: RunConfig = RunConfig()


POINTS: Metrics = {
    "loss": Metric(),
    "mse": Metric(label="MSE, standardised"),
    "mae": Metric(label="MAE, standardised"),
    "mase": Metric(label="MASE"),
    "smape": Metric("%", label="sMAPE"),
}
QUANTILES: Metrics = {"wql": Metric(label="weighted quantile loss")}


class Forecasting:
    """Time series and a forecaster: a `lstm_jax.training.task.Task`.

    Args:
        config: see `ForecastingConfig`.
        metadata: the metadata of a run that exists. Its series and their scales are
            used.
        panel: the series, where they come from a data frame.
    """

    items = "windows"
    moved = frozenset({"data.path"})
    metadata_type = ForecastMetadata

    def __init__(
        self,
        config: ForecastingConfig,
        metadata: Mapping[str, Any] | None = None,
        panel: Panel | None = None,
    ):
        self.config = config
        model = config.model
        sizes = model.context, model.horizon
        self.data = ForecastData(config.data, *sizes, metadata, panel)
        self.items_per_step = config.train.batch_size
        series = len(self.data.names)
        self.model = Functional(lambda key: model.build(series, nnx.Rngs(key)))

    @property
    def metrics(self) -> Metrics:
        return {**POINTS, **QUANTILES} if self.config.model.head.levels else POINTS

    # Training

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    def batches(self) -> HostBatches:
        config, data = self.config, self.data
        data.check_series()
        known = np.arange(len(data.names))
        source = self._batches(
            data.values,
            data.windows("train"),
            known,
            config.train.batch_size,
            config.seed,
        )
        return HostBatches(source, config.train.block)

    def _batches(self, values, windows, known, batch_size, seed=0):
        model = self.config.model
        return ForecastBatches(
            values, windows, known, model.context, model.horizon, batch_size, seed
        )

    def loss(self, params, carry, batch, key):
        """The mean loss of the head over all observed steps ahead."""
        forecast = self.model(params)(
            batch.y,
            batch.observed,
            series=batch.series,
            key=key,
            deterministic=False,
        )
        weight = batch.weights.sum()
        errors = self.config.model.head.errors(forecast, batch.truth)
        # A batch of missing values alone has the loss 0.
        mean = (errors * batch.weights).sum() / jnp.maximum(weight, 1)
        return mean, Aux(carry, {}, weight)

    # Evaluation

    @property
    def final_split(self) -> str:
        return self.data.final_split

    def evaluate(self, params, split):
        """The loss, and the metrics of a split; see `measure`."""
        windows = self.data.windows(split)
        known = np.arange(len(self.data.names))
        forecasts = self._forecast(params, self.data.values, windows, known)
        return self.measure(windows, forecasts)

    def measure(self, windows: Windows, forecasts: Any) -> dict[str, float]:
        """The metrics of standardised forecasts ``[W, H, Q]``.

        The loss is that of standardised series, the weighted quantile loss is on the
        scale of the data. For the others see `lstm_jax.tasks.forecast_measures`.
        """
        head, data = self.config.model.head, self.data
        truth = data.truth(windows)
        mean, std = (part[windows.series, None] for part in data.standard)
        there = ~np.isnan(truth)
        filled = np.where(there, (truth - mean) / std, 0).astype(np.float32)
        errors = head.errors(jnp.asarray(forecasts), jnp.asarray(filled))
        found = {"loss": float(np.asarray(errors, np.float64)[there].mean())}
        natural = data.standard.undo(forecasts, windows.series)
        found |= point_metrics(data, windows, np.asarray(head.point(natural)))
        if levels := head.levels:
            found["wql"] = float("nan")  # a ratio to the sum of the truth
            if np.nansum(np.abs(truth)) > 0:
                found["wql"] = scores.weighted_quantile_loss(truth, natural, levels)
        return found

    def _forecast(self, params, values, windows, known) -> Any:
        """Standardised forecasts ``[W, H, Q]``, in the order of the windows."""
        rows = self.config.evaluation.batch_size
        batches = self._batches(values, windows, known, rows)
        model = self.config.model
        shape = len(windows), model.horizon, model.head.size
        found = np.empty(shape, np.float32)
        for members, batch in batches.in_order():
            forecast = np.asarray(self._forward(params, batch))
            real = members >= 0
            found[members[real]] = forecast.transpose(1, 0, 2)[real]
        return found

    @functools.cached_property
    def _forward(self):
        def forward(params, batch):
            model, head = self.model(params), self.config.model.head
            forecast = model(batch.y, batch.observed, series=batch.series)
            return head.ordered(forecast)

        return jax.jit(forward)

    def sentence(self, metrics):
        said = sentence(metrics)
        if "wql" in metrics:
            said += f", weighted quantile loss {metrics['wql']:.4f}"
        return said

    def baselines(self, split, every=False):
        del every
        data, windows = self.data, self.data.windows(split)
        for name, season in (("naive", 1), ("seasonal naive", data.season)):
            found = point_metrics(data, windows, baseline(data, windows, season))
            prefix = name.replace(" ", "_")
            named = {f"{prefix}_{metric}": value for metric, value in found.items()}
            yield f"{name}: {sentence(found)}", named

    # Metadata

    def describe(self):
        return self.data.describe() | {"parameters": self.model.size}

    def summary(self, metadata):
        return self.data.summary(metadata)

    def check_same_data(self, metadata, directory):
        self.data.check_same(metadata, directory)

    # Abilities

    def predict(self, params, path) -> Predictions:
        """The steps after the end of every series of a file."""
        found = self.forecast(params, self.config.data.read(str(path)))
        columns = found if isinstance(found, dict) else found.to_pydict()
        cells = (np.asarray(column).tolist() for column in columns.values())
        return Predictions([*columns], [list(row) for row in zip(*cells, strict=True)])

    def forecast(
        self,
        params: PyTree,
        panel: Panel,
        name: str = "forecast",
        truth: np.ndarray | None = None,
    ) -> Any:
        """The steps after the end of every series, as a frame of the panel's kind.

        Args:
            params: the parameters.
            panel: series up to now.
            name: of the column of forecasts; quantiles follow as ``name-q10``.
            truth: what came then ``[N, H]``, if it is known. The frame has it as ``y``,
                and the last time before the forecasts as ``cutoff``.
        """
        standard, known = self.data.of(panel)
        values = standard.apply([series.values for series in panel])
        ends = np.array([len(series) for series in panel])
        which = np.arange(len(panel))
        forecasts = self._forecast(params, values, Windows(which, ends), known)
        natural = standard.undo(forecasts.astype(np.float64), which)
        head = self.config.model.head
        columns = {name: np.asarray(head.point(natural))}
        for n, level in enumerate(head.levels):
            columns[f"{name}-q{100 * level:g}"] = natural[..., n]
        if truth is not None:
            columns["y"] = truth
        return forecast_frame(panel, columns, cutoff=truth is not None)
