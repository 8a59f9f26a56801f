"""Forecasting: the next steps of time series, as numbers or quantiles."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field, Tag

from lstm_jax._types import PyTree
from lstm_jax.config import Count, config, kind_or
from lstm_jax.data.panel import Panel, Windows, forecast_frame
from lstm_jax.data.text import DataError
from lstm_jax.models.forecast.direct import DirectConfig
from lstm_jax.models.forecast.encoder_decoder import EncoderDecoderConfig
from lstm_jax.models.forecast.recursive import RecursiveConfig
from lstm_jax.models.functional import Functional
from lstm_jax.scores import forecast as scores
from lstm_jax.tasks.abilities import Predictions
from lstm_jax.tasks.forecast_batches import ForecastBatches
from lstm_jax.tasks.forecast_columns import quantile_columns
from lstm_jax.tasks.forecast_config import ForecastDataConfig
from lstm_jax.tasks.forecast_data import ForecastData, ForecastMetadata, Standard
from lstm_jax.tasks.forecast_measures import baseline, point_metrics, sentence
from lstm_jax.training.batches import HostBatches
from lstm_jax.training.metrics import Aux, Metric, Metrics
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.run_folder import RunConfig
from lstm_jax.training.trainer import TrainConfig

Model = Annotated[
    Annotated[DirectConfig, Tag("direct")]
    | Annotated[RecursiveConfig, Tag("recursive")]
    | Annotated[EncoderDecoderConfig, Tag("encoder_decoder")],
    kind_or("direct"),
]
"""The kinds of models."""


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
    model: Model = DirectConfig()
    optimizer: OptimizerConfig = Adam()
    train: TrainConfig = TrainConfig()
    evaluation: ForecastEvaluationConfig = ForecastEvaluationConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self):
        if self.model.counts and self.data.standardise:
            raise ValueError(
                f"data.standardise is true and the head {self.model.head.kind} "
                f"forecasts counts; set data.standardise=false"
            )
        kinds = {"known": "future", "past": "past", "static": "static"}
        for kind, key in kinds.items():
            if getattr(self.data, key) and kind not in self.model.reads:
                raise ValueError(
                    f"data.{key} names columns, which model.kind={self.model.kind!r} "
                    f'does not read; set model.kind="encoder_decoder", or leave '
                    f"data.{key} out"
                )


POINTS: Metrics = {
    "loss": Metric(),
    "mse": Metric(label="MSE, standardised"),
    "mae": Metric(label="MAE, standardised"),
    "mase": Metric(label="MASE"),
    "smape": Metric("%", label="sMAPE"),
}
QUANTILES: Metrics = {"wql": Metric(label="weighted quantile loss")}


class Asked(NamedTuple):
    """What is to be forecast."""

    horizon: int
    levels: tuple[float, ...]
    """The levels of quantiles, with 0.5 among them; none of a point forecast."""


class Ahead(NamedTuple):
    """The windows at the end of every series of a panel."""

    batches: Iterator[Any]
    standard: Standard
    series: np.ndarray


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
        self.data = data = ForecastData(config.data, config.model, metadata, panel)
        self.items_per_step = config.train.batch_size
        self.model = Functional(lambda key: data.model.build(data.sizes, nnx.Rngs(key)))

    @property
    def metrics(self) -> Metrics:
        return {**POINTS, **QUANTILES} if self.config.model.levels else POINTS

    # Training

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    def batches(self) -> HostBatches:
        config, data = self.config, self.data
        data.check_series()
        known = np.arange(len(data.names))
        source = ForecastBatches(
            data.values,
            data.features,
            data.windows("train"),
            known,
            data.model.history,
            data.horizon,
            config.train.batch_size,
            config.seed,
        )
        return HostBatches(source, config.train.block)

    def loss(self, params, carry, batch, key):
        """The mean loss of all observed steps that the model learns from."""
        losses, weights = self.model(params).losses(
            *batch, key=key, deterministic=False
        )
        weight = weights.sum()
        # A batch of missing values alone has the loss 0.
        mean = (losses * weights).sum() / jnp.maximum(weight, 1)
        return mean, Aux(carry, {}, weight)

    # Evaluation

    @property
    def final_split(self) -> str:
        return self.data.final_split

    def evaluate(self, params, split):
        """The loss, and the metrics of a split; see `measure`."""
        data, windows = self.data, self.data.windows(split)
        known = np.arange(len(data.names))
        asked = Asked(data.horizon, self.config.model.levels)
        batches = self._in_order(data.values, data.features, windows, known)
        loss, weight, forecasts = 0.0, 0.0, []
        for real, batch, key in batches:
            found = self._losses(params, batch)
            losses, weights = (np.asarray(part, np.float64) for part in found)
            loss, weight = loss + (losses * weights).sum(), weight + weights.sum()
            forecast = self._forecast(params, batch, key, asked)
            forecasts.append(np.asarray(forecast)[:, real])
        natural = self._natural(forecasts, data.read_by, windows.series)
        return {"loss": float(loss / weight), **self.measure(windows, natural)}

    def measure(self, windows: Windows, forecasts: np.ndarray) -> dict[str, float]:
        """The metrics of forecasts ``[W, H, Q]`` on the scale of the data.

        For those of points see `lstm_jax.tasks.forecast_measures`.
        """
        data, levels = self.data, self.config.model.levels
        truth = data.truth(windows)
        found = point_metrics(data, windows, _point(forecasts, levels))
        if levels:
            found["wql"] = float("nan")  # a ratio to the sum of the truth
            if np.nansum(np.abs(truth)) > 0:
                found["wql"] = scores.weighted_quantile_loss(truth, forecasts, levels)
        return found

    def _in_order(self, values, features, windows, known, horizon=None):
        """Which rows of each batch are real, the batch, and its key."""
        batches = ForecastBatches(
            values,
            features,
            windows,
            known,
            self.data.model.history,
            horizon or self.data.horizon,
            self.config.evaluation.batch_size,
        )
        key = jax.random.key(self.config.seed)
        for n, (members, batch) in enumerate(batches.in_order()):
            yield members >= 0, batch, jax.random.fold_in(key, n)

    def _natural(self, forecasts, standard, series):
        """Forecasts of batches ``[H, B, Q]`` as ``[W, H, Q]`` on the scale of the
        data."""
        whole = np.concatenate(forecasts, axis=1).transpose(1, 0, 2)
        return standard.undo(whole.astype(np.float64), series)

    @functools.cached_property
    def _losses(self):
        def losses(params, batch):
            return self.model(params).losses(*batch, deterministic=True)

        return jax.jit(losses)

    @functools.cached_property
    def _forecast(self):
        def forecast(params, batch, key, asked):
            return self.model(params).forecast(batch.window, key, *asked)

        return jax.jit(forecast, static_argnames="asked")

    @functools.cached_property
    def _paths(self):
        def paths(params, batch, key, horizon, count):
            return self.model(params).paths(batch.window, key, horizon, count)

        return jax.jit(paths, static_argnames=("horizon", "count"))

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
        return self.predict_ahead(params, path)

    def predict_ahead(
        self,
        params: PyTree,
        path: str | Path,
        horizon: int | None = None,
        columns: Mapping[float, str] | None = None,
    ) -> Predictions:
        """The steps after the end of every series of a file; see `forecast`."""
        panel = self.config.data.read(str(path))
        found = self.forecast(params, panel, horizon=horizon, columns=columns)
        found = found if isinstance(found, dict) else found.to_pydict()
        cells = (np.asarray(column).tolist() for column in found.values())
        return Predictions([*found], [list(row) for row in zip(*cells, strict=True)])

    def forecast(
        self,
        params: PyTree,
        panel: Panel,
        name: str = "forecast",
        *,
        horizon: int | None = None,
        columns: Mapping[float, str] | None = None,
        truth: np.ndarray | None = None,
    ) -> Any:
        """The steps after the end of every series, as a frame of the panel's kind.

        Args:
            params: the parameters.
            panel: series up to now.
            name: of the column of forecasts; quantiles follow as ``name-q10``.
            horizon: steps to forecast; ``None``: those that the model was trained on.
            columns: the levels of the quantiles, and what is added to ``name`` for
                each; ``None``: those of the model, as ``-q10``.
            truth: what came then ``[N, H]``, if it is known. The frame has it as ``y``,
                and the last time before the forecasts as ``cutoff``.

        Raises:
            DataError: the data cannot be used, or the model cannot forecast so many
                steps or these quantiles.
        """
        if columns is None:
            columns = quantile_columns(quantiles=self.config.model.levels)
        asked = self._asked(horizon, columns)
        ahead = self._ahead(panel, asked.horizon)
        found = [
            np.asarray(self._forecast(params, batch, key, asked))[:, real]
            for real, batch, key in ahead.batches
        ]
        natural = self._natural(found, ahead.standard, ahead.series)
        values = {name: _point(natural, asked.levels)}
        for n, level in enumerate(asked.levels):
            if level in columns:
                values[name + columns[level]] = natural[..., n]
        if truth is not None:
            values["y"] = truth
        return forecast_frame(panel, values, cutoff=truth is not None)

    def simulate(
        self, params: PyTree, panel: Panel, name: str, horizon: int, count: int
    ) -> Any:
        """Paths of the steps after the end of every series, as a frame: the median of
        the paths, and a column for each.

        Raises:
            DataError: the model draws no paths, or the data cannot be used.
        """
        if not isinstance(self.config.model, RecursiveConfig):
            raise DataError(
                f"a model of kind {self.config.model.kind} draws no paths; train one "
                f'with model.kind="recursive".'
            )
        ahead = self._ahead(panel, horizon)
        found = [
            np.asarray(self._paths(params, batch, key, horizon, count))[:, real]
            for real, batch, key in ahead.batches
        ]
        natural = self._natural(found, ahead.standard, ahead.series)
        columns = {name: np.median(natural, axis=-1)}
        for n in range(count):
            columns[f"{name}-path-{n + 1}"] = natural[..., n]
        return forecast_frame(panel, columns)

    def _asked(self, horizon, levels):
        """What to forecast, checked."""
        model = self.config.model
        steps = model.horizon if horizon is None else horizon
        drawn = isinstance(model, RecursiveConfig)
        if steps < 1 or (steps > model.horizon and not drawn):
            raise DataError(
                f"horizon is {steps}, expected 1 to {model.horizon}, the steps that "
                f"the model was trained to forecast; train with model.horizon={steps}, "
                f'or with model.kind="recursive".'
            )
        for level in levels:
            if level not in model.levels and not drawn:
                there = ", ".join(f"{q:g}" for q in model.levels) or "none"
                raise DataError(
                    f"the model has no quantile of the level {level:g}, only {there}; "
                    f"train with model.head.levels that have it, or with "
                    f'model.kind="recursive".'
                )
        median = (0.5,) if model.levels else ()
        return Asked(steps, tuple(sorted({*levels, *median})))

    def _ahead(self, panel, horizon):
        """Batches of the windows at the end of every series."""
        standard, known = self.data.of(panel)
        values = standard.apply([series.values for series in panel])
        ends = np.array([len(series) for series in panel])
        which = np.arange(len(panel))
        features = self.data.features_of(panel, horizon, ahead=True)
        windows = Windows(which, ends)
        batches = self._in_order(values, features, windows, known, horizon)
        return Ahead(batches, standard, which)


def _point(forecasts, levels):
    """The forecast as one number ``[W, H]``: the median, where there are quantiles."""
    return forecasts[..., levels.index(0.5) if levels else 0]
