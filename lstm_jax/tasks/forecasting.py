"""Forecasting: the next steps of time series, as numbers or quantiles."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax._types import PyTree
from lstm_jax.data.panel import Panel, Windows, forecast_frame
from lstm_jax.data.text import DataError
from lstm_jax.models.forecast.heads import Quantiles
from lstm_jax.models.forecast.recursive import RecursiveConfig
from lstm_jax.models.functional import Functional
from lstm_jax.scores import forecast as scores
from lstm_jax.tasks.abilities import Backtest, Example, Predictions
from lstm_jax.tasks.forecast_backtest import backtest
from lstm_jax.tasks.forecast_batches import ForecastBatches
from lstm_jax.tasks.forecast_columns import (
    as_predictions,
    columns_asked,
    named,
    quantile_columns,
)
from lstm_jax.tasks.forecast_config import ForecastingConfig
from lstm_jax.tasks.forecast_conformal import Conformal
from lstm_jax.tasks.forecast_data import ForecastData, ForecastMetadata, names_of
from lstm_jax.tasks.forecast_export import ForecastFunction
from lstm_jax.tasks.forecast_measures import (
    baseline,
    baselines,
    point_metrics,
    sentence,
)
from lstm_jax.tasks.forecast_program import Asked, ForecastProgram
from lstm_jax.tasks.forecast_standard import ReadBy
from lstm_jax.tasks.forecast_stream import ForecastStream
from lstm_jax.training.batches import HostBatches
from lstm_jax.training.metrics import Aux, Metric, Metrics

POINTS: Metrics = {
    "loss": Metric(),
    "mse": Metric(label="MSE, standardised"),
    "mae": Metric(label="MAE, standardised"),
    "mase": Metric(label="MASE"),
    "smape": Metric("%", label="sMAPE"),
}
OWA: Metrics = {"owa": Metric(label="OWA")}
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
        self.data = data = ForecastData(config.data, config.model, metadata, panel)
        self.items_per_step = config.train.batch_size
        self.model = Functional(lambda key: data.model.build(data.sizes, nnx.Rngs(key)))
        self._of_naive2: dict[str, tuple[float, float]] = {}
        self.jitted = ForecastProgram(self.model, config.seed)
        self.conformal = Conformal(self)

    @property
    def metrics(self) -> Metrics:
        found = {**POINTS, **QUANTILES} if self.config.model.levels else POINTS
        return {**found, **OWA} if self.config.evaluation.owa else found

    # Training

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    def batches(self) -> HostBatches:
        config, data = self.config, self.data
        data.check_series()
        # What cannot be evaluated is said before training.
        for split in data.splits[1:]:
            self._evaluated(split)
            if config.evaluation.owa:
                self._naive2(split)
        self.conformal.check(config.evaluation.conformal)
        rows = config.train.batch_size
        source = data.batches(data.windows("train"), rows, config.seed)
        return HostBatches(source, config.train.block)

    def loss(self, params, carry, batch, key):
        """The mean loss of all observed steps that the model learns from."""
        losses, weights = self.model(params).losses(
            *batch, key=key, deterministic=False
        )
        weight = weights.sum()
        # A batch of missing values alone has the loss 0.
        mean = (losses * weights).sum() / jnp.where(weight > 0, weight, 1)
        return mean, Aux(carry, {}, weight)

    # Evaluation

    @property
    def final_split(self) -> str:
        return self.data.final_split

    @property
    def asked(self) -> Asked:
        """What is forecast unless the user asks for something else."""
        return Asked(self.data.horizon, self.config.model.levels)

    def evaluate(self, params, split):
        """The loss, and the metrics of a split; see `measure`."""
        data, windows = self.data, self._evaluated(split)
        batches = data.batches(windows, self.config.evaluation.batch_size)
        loss, forecasts = self.jitted.evaluate(params, batches, self.asked)
        natural = data.read_by.undo(forecasts, windows.series)
        metrics = {"loss": loss, **self.measure(windows, split, natural)}
        if self.config.evaluation.owa:
            metrics["owa"] = float("nan")
            if np.isfinite([metrics["smape"], metrics["mase"]]).all():
                figures = metrics["smape"], metrics["mase"], *self._naive2(split)
                metrics["owa"] = scores.owa(*figures)
        percents = self.config.evaluation.conformal
        if percents and split == "test":
            metrics |= self.conformal.coverage(params, windows, percents)
        return metrics

    def _evaluated(self, split):
        """The windows of a split that are evaluated."""
        data, step = self.data, self.config.evaluation.step
        windows = data.windows(split)
        ends = np.array([end for _, end in data.bounds(split)]) - data.horizon
        there = (ends[windows.series] - windows.cuts) % step == 0
        kept = Windows(windows.series[there], windows.cuts[there])
        if not len(kept) or np.isnan(data.truth(kept)).all():
            raise DataError(
                f"the windows of the split {split} that are evaluation.step={step} "
                f"steps apart have no observed value to forecast; set another step, or "
                f"1 for all windows."
            )
        return kept

    def _naive2(self, split):
        """sMAPE and MASE of Naive2."""
        if split not in self._of_naive2:  # it takes longer than an evaluation
            data, windows = self.data, self._evaluated(split)
            forecast = baseline(data, windows, baselines(data)["naive2"])
            found = point_metrics(data, windows, split, forecast)
            figures = found["smape"], found["mase"]
            if not (np.isfinite(figures).all() and min(figures) > 0):
                raise DataError(
                    f"Naive2 has sMAPE {figures[0]:g} and MASE {figures[1]:g} on the "
                    f"split {split}, and OWA divides by both; leave evaluation.owa out."
                )
            self._of_naive2[split] = figures
        return self._of_naive2[split]

    def forecasts(self, params: PyTree, windows: Windows) -> np.ndarray:
        """Forecasts of windows of the data ``[W, H, Q]``, on the scale of the data."""
        batches = self.data.batches(windows, self.config.evaluation.batch_size)
        found = self.jitted.forecasts(params, batches, self.asked)
        return self.data.read_by.undo(found, windows.series)

    def measure(
        self, windows: Windows, split: str, forecasts: np.ndarray
    ) -> dict[str, float]:
        """The metrics of forecasts ``[W, H, Q]`` on the scale of the data.

        For those of points see `lstm_jax.tasks.forecast_measures`.
        """
        data, levels = self.data, self.config.model.levels
        truth = data.truth(windows)
        found = point_metrics(data, windows, split, self.asked.point(forecasts))
        if levels:
            found["wql"] = float("nan")  # a ratio to the sum of the truth
            if np.nansum(np.abs(truth)) > 0:
                found["wql"] = scores.weighted_quantile_loss(truth, forecasts, levels)
        return found

    def sentence(self, metrics):
        said = sentence(metrics)
        if "wql" in metrics:
            said += f", weighted quantile loss {metrics['wql']:.4f}"
        if "owa" in metrics:
            said += f", OWA {metrics['owa']:.3f}"
        for percent in self.config.evaluation.conformal:
            if (name := f"coverage_{percent:g}") in metrics:
                said += f", {percent:g}% intervals cover {metrics[name]:.1f}%"
        return said

    def baselines(self, split, every=False):
        del every
        data, windows = self.data, self._evaluated(split)
        for name, forecast in baselines(data).items():
            if name == "naive2" and not self.config.evaluation.owa:
                continue
            made = baseline(data, windows, forecast)
            found = point_metrics(data, windows, split, made)
            named = {f"{name}_{metric}": value for metric, value in found.items()}
            yield f"{name.replace('_', ' ')}: {sentence(found)}", named

    # Metadata

    def describe(self):
        return self.data.describe() | {"parameters": self.model.size}

    def summary(self, metadata):
        return self.data.summary(metadata)

    def check_same_data(self, metadata, directory):
        self.data.check_same(metadata, directory)

    # Abilities

    def example(self) -> Example:
        """The last window of the first series of the valid split."""
        data, windows = self.data, self._evaluated("valid")
        (last, *_) = np.flatnonzero(windows.series == windows.series[0])[-1:]
        one = Windows(windows.series[last:][:1], windows.cuts[last:][:1])
        ((_, batch),) = data.batches(one, 1).in_order()
        steps = np.arange(len(batch.window.y) + len(batch.truth)) - len(batch.window.y)
        return Example(
            f"a window of the series {data.names[int(one.series[0])]}",
            lambda model: model.losses(*batch, deterministic=True),
            [f"step {step:+d} from the forecast" for step in steps.tolist()],
        )

    def program(
        self,
        params: PyTree,
        *,
        batch_first: bool = False,
        lengths: bool = False,
        carry: bool = False,
    ) -> ForecastFunction:
        """The trained forecaster as a function of arrays; without lengths and a carry.

        Raises:
            RunError: the model draws paths.
        """
        del lengths, carry
        return ForecastFunction(self, params, batch_first)

    def backtest(self, params, count, step=None) -> Backtest:
        """Forecasts of the last windows of the final split."""
        return backtest(self, params, count, step)

    def predict(self, params, path) -> Predictions:
        """The steps after the end of every series of a file."""
        return self.predict_ahead(params, path)

    def predict_ahead(
        self,
        params: PyTree,
        path: str | Path,
        horizon: int | None = None,
        columns: Mapping[str, float] | None = None,
        conformal: Sequence[float] = (),
    ) -> Predictions:
        """The steps after the end of every series of a file; see `forecast`, and for
        ``conformal`` `forecast_conformal`."""
        panel = self.config.data.read(str(path))
        if conformal:
            found = self.forecast_conformal(params, panel, conformal, horizon=horizon)
        else:
            found = self.forecast(params, panel, horizon=horizon, columns=columns)
        return as_predictions(found)

    def forecast(
        self,
        params: PyTree,
        panel: Panel,
        name: str = "forecast",
        *,
        horizon: int | None = None,
        columns: Mapping[str, float] | None = None,
        truth: np.ndarray | None = None,
    ) -> Any:
        """The steps after the end of every series, as a frame of the panel's kind.

        Args:
            params: the parameters.
            panel: series up to now.
            name: of the column of forecasts; quantiles follow as ``name-q10``.
            horizon: steps to forecast; ``None``: those that the model was trained on.
            columns: quantiles: what is added to ``name``, and the level of each;
                ``None``: those of the model, as ``-q10``.
            truth: what came then ``[N, H]``, if it is known. The frame has it as ``y``,
                and the last time before the forecasts as ``cutoff``.

        Raises:
            DataError: the data cannot be used, or the model cannot forecast so many
                steps or these quantiles.
        """
        if columns is None:
            columns = columns_asked(None, None, self.config.model.levels)
        asked = self.checked(horizon, columns.values())
        batches, standard = self.ahead(panel, asked.horizon)
        found = self.jitted.forecasts(params, batches, asked)
        natural = standard.undo(found, np.arange(len(panel)))
        values = named(name, natural, asked, columns)
        if truth is not None:
            values["y"] = truth
        return forecast_frame(panel, values, cutoff=truth is not None)

    def forecast_conformal(
        self,
        params: PyTree,
        panel: Panel,
        percents: Sequence[float],
        name: str = "forecast",
        *,
        horizon: int | None = None,
    ) -> Any:
        """The steps after the end of every series with conformal intervals, as a frame
        of the panel's kind; see `lstm_jax.tasks.forecast_conformal`.

        Args:
            params: the parameters.
            panel: series up to now, with enough history to calibrate on.
            percents: of the intervals.
            name: of the column of forecasts; the ends follow as ``name-lo-80`` and
                ``name-hi-80``.
            horizon: steps to forecast; ``None``: those that the model was trained on.

        Raises:
            DataError: the data cannot be used or are too short to calibrate on, or the
                model cannot forecast so many steps.
        """
        conformal = self.conformal
        asked = conformal.asked(percents, horizon)
        batches, read_by = self.ahead(panel, asked.horizon)
        found = conformal.intervals(
            params,
            panel,
            batches.windows,
            percents,
            asked,
            lambda some: self.ahead(panel, asked.horizon, windows=some)[0],
            read_by,
        )
        endings = ["", *quantile_columns(percents)]
        values = {name + e: found[..., n] for n, e in enumerate(endings)}
        return forecast_frame(panel, values)

    def simulate(
        self, params: PyTree, panel: Panel, name: str, horizon: int | None, count: int
    ) -> Any:
        """Paths of the steps after the end of every series, as a frame: the median of
        the paths, and a column for each.

        Raises:
            DataError: the model draws no paths, the data cannot be used, or the horizon
                is no whole number above 0.
        """
        if not isinstance(self.config.model, RecursiveConfig):
            raise DataError(
                f"a model of kind {self.config.model.kind} draws no paths; train one "
                f'with model.kind="recursive".'
            )
        steps = self.checked(horizon, ()).horizon
        batches, standard = self.ahead(panel, steps)
        found = self.jitted.paths(params, batches, steps, count)
        natural = standard.undo(found, np.arange(len(panel)))
        columns = {name: np.median(natural, axis=-1)}
        for n in range(count):
            columns[f"{name}-path-{n + 1}"] = natural[..., n]
        return forecast_frame(panel, columns)

    def stream(self, params: PyTree, panel: Panel, name: str) -> ForecastStream:
        """Forecasts that follow new observations step by step.

        Raises:
            DataError: as `ForecastStream`.
        """
        return ForecastStream(self, params, panel, name)

    def checked(self, horizon: int | None, levels: Iterable[float]) -> Asked:
        """What the user asks for, if the model can forecast it.

        Raises:
            DataError: it cannot.
        """
        model = self.config.model
        steps = model.horizon if horizon is None else horizon
        drawn = isinstance(model, RecursiveConfig)
        if not isinstance(steps, int) or steps < 1:
            raise DataError(f"horizon is {steps!r}, expected a whole number above 0.")
        if steps > model.horizon and not drawn:
            raise DataError(
                f"horizon is {steps}, expected {model.horizon} at most, the steps that "
                f"the model was trained to forecast; train with model.horizon={steps}, "
                f'or with model.kind="recursive".'
            )
        own = model.head.levels if isinstance(model.head, Quantiles) else ()
        for level in levels:
            if level not in model.levels and not drawn:
                there = ", ".join(f"{q:g}" for q in model.levels) or "none"
                raise DataError(
                    f"the model has no quantile of the level {level:g}, only {there}; "
                    f"train with model.head.levels that have it, or with "
                    f'model.kind="recursive".'
                )
            if drawn and own and not own[0] <= level <= own[-1]:
                raise DataError(
                    f"the model draws paths between its quantiles {own[0]:g} and "
                    f"{own[-1]:g}, and {level:g} lies outside; train with "
                    f"model.head.levels that reach it."
                )
        median = (0.5,) if model.levels else ()
        return Asked(steps, tuple(sorted({*levels, *median})))

    def ahead(
        self,
        panel: Panel,
        horizon: int,
        rows: int | None = None,
        windows: Windows | None = None,
    ) -> tuple[ForecastBatches, ReadBy]:
        """The windows at the end of every series, or others, in batches of so many
        rows, and what brings the series to the scale that the model reads.

        Raises:
            DataError: the data cannot be used.
        """
        data, rows = self.data, rows or self.config.evaluation.batch_size
        standard, known = data.of(panel)
        if windows is None:
            ends = np.array([len(series) for series in panel])
            windows = Windows(np.arange(len(panel)), ends)
        batches = ForecastBatches(
            standard.apply([series.values for series in panel]),
            data.features_of(panel, horizon, ahead=True),
            windows,
            known,
            names_of(panel),
            data.model.history,
            horizon,
            rows,
        )
        return batches, standard
