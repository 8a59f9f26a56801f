"""A forecaster for data frames: fit, predict, save and load."""

import contextlib
import dataclasses
import functools
import io
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax import files
from lstm_jax.config import ConfigError
from lstm_jax.data.panel import (
    Panel,
    panel_from_frame,
    stacked,
    with_rows_ahead,
)
from lstm_jax.data.text import DataError
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.load import best_of
from lstm_jax.runs.train import train_run
from lstm_jax.tasks.forecast_columns import columns_asked, conformal_levels
from lstm_jax.tasks.forecast_stream import ForecastStream
from lstm_jax.tasks.forecasting import Forecasting
from lstm_jax.training.run_errors import RunError


class Forecaster:
    """Forecasts the next steps of the time series of a data frame.

    Frames are those of pandas, polars or pyarrow. In the long form they have a row for
    every series and time. In the wide form (``id=None``) every target column is a
    series. Forecasts are frames of the same kind.

    `fit` trains as ``lstm-jax train`` does and leaves the folder of a run, so
    ``lstm-jax predict`` and ``lstm-jax runs`` work on it.

    Args:
        config: the tables ``model``, ``optimizer``, ``train``, ``data`` (splits) and so
            on of the task ``forecasting``; ``lstm-jax config forecasting --schema``
            explains every key. What is left out has its default.
        id: the column of the names of series; ``None`` for the wide form.
        time: the column of times.
        target: the columns to forecast.
        past: columns of numbers that are known up to the forecast.
        future: columns of numbers that are known ahead, such as prices or holidays.
        static: columns that never change within a series.
        frequency: as ``h`` or ``D``; ``None`` tells it from the times.

    Raises:
        ConfigError: a key is unknown or has a wrong value.

    The columns of ``frame`` are ``unique_id``, ``ds`` and ``y``. `predict` returns the
    next 24 steps of every series, or the steps after the end of a newer frame:

    >>> from lstm_jax import Forecaster
    >>> forecaster = Forecaster({"model": {"context": 168, "horizon": 24}})
    >>> forecaster.fit(frame)  # doctest: +SKIP
    >>> forecaster.predict()  # doctest: +SKIP
    >>> forecaster.predict(newer_frame)  # doctest: +SKIP
    >>> forecaster.save("runs/load")  # doctest: +SKIP
    >>> forecaster = Forecaster.load("runs/load")  # doctest: +SKIP
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        id: str | None = "unique_id",
        time: str = "ds",
        target: str | Sequence[str] = "y",
        past: str | Sequence[str] = (),
        future: str | Sequence[str] = (),
        static: str | Sequence[str] = (),
        frequency: str | int | None = None,
    ):
        given = dict(config or {})
        data = given.pop("data", {})
        columns: dict[str, Any] = {"id": id or "", "time": time}
        several = {"target": target, "past": past, "future": future, "static": static}
        for role, names in several.items():
            columns[role] = [names] if isinstance(names, str) else [*names]
        if taken := sorted(data.keys() & {*columns, "path", "frequency"}):
            raise ConfigError(
                f"config has data.{taken[0]}; pass the names of columns and the "
                f"frequency as arguments, and the data to fit()."
            )
        columns["frequency"] = "" if frequency is None else str(frequency)
        values = {"task": "forecasting", **given, "data": {**data, **columns}}
        self.config = read_config(values)
        """The whole config."""
        self._task: Any = None
        self._params: Any = None
        self._fitted: Panel | None = None
        self._frame: Any = None
        self.directory: Path | None = None
        """The folder of the run; ``None`` before `fit`."""

    def fit(
        self,
        frame: Any,
        directory: str | Path | None = None,
        *,
        warm_start: bool = False,
        resume: bool = False,
        verbose: bool = True,
    ) -> "Forecaster":
        """Trains on a frame, and evaluates on its test split.

        Args:
            frame: the series.
            directory: the folder of the run; ``None`` for one that goes with this
                object, unless it is saved.
            warm_start: whether to begin with the weights and the scales that were
                fitted or loaded, for the same series with newer data.
            resume: whether to go on with the run of ``directory``, which was stopped
                and had the same frame and config.
            verbose: whether to print the progress.

        Returns:
            The forecaster itself.

        Raises:
            DataError: the frame cannot be used, or is too short for the splits.
            RunError: the folder already holds a run or cannot be written, there is no
                run to resume or nothing to start from, or training was interrupted.
        """
        if resume and directory is None:
            raise RunError("resume=True goes on with a run; pass its directory.")
        config = self.config
        if warm_start:
            if self.directory is None:
                raise RunError(
                    "warm_start=True begins with weights, and there are none; call fit "
                    "without it first, or load."
                )
            start = dataclasses.replace(config.train, init_from=str(self.directory))
            config = dataclasses.replace(config, train=start)
        self._fit(self._panel(frame), directory, verbose, config, resume)
        self._frame = frame
        return self

    def _fit(self, panel, directory=None, verbose=False, config=None, resume=False):
        given = directory
        if directory is None:
            folder = tempfile.mkdtemp(prefix="lstm-jax-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            directory = Path(folder) / "run"
        make = functools.partial(Forecasting, panel=panel)
        unseen = contextlib.redirect_stdout(io.StringIO())
        with contextlib.nullcontext() if verbose else unseen:
            outcome = train_run(
                config or self.config, directory, resume=resume, make=make
            )
        if not outcome.complete:
            again = "call fit again, with directory=FOLDER if it should be resumable"
            if given is not None:
                again = f"call fit again with directory={str(given)!r} and resume=True"
            raise RunError(
                f"training was stopped by {outcome.stopped_by} at step "
                f"{outcome.step:,}; {again}."
            )
        self._open(directory)
        self._fitted = panel
        return self

    def predict(
        self,
        frame: Any = None,
        horizon: int | None = None,
        *,
        level: float | Sequence[float] | None = None,
        quantiles: float | Sequence[float] | None = None,
        futr_df: Any = None,
        conformal: bool = False,
    ) -> Any:
        """The steps after the end of every series.

        Args:
            frame: series up to now, with the columns of the data that were fitted; with
                an id column also series that were not. With ``future`` columns it ends
                with rows that have them and no target. ``None`` takes the frame of
                `fit`.
            horizon: steps to forecast, at most ``model.horizon``, and any number with
                ``model.kind="recursive"``; ``None``: ``model.horizon``.
            level: prediction intervals in percent: 80 is the interval from the quantile
                0.1 to 0.9.
            quantiles: levels of quantiles, such as 0.1. Models that draw paths have
                any, others those of ``model.head.levels``.
            futr_df: what is known ahead, instead of rows at the end of ``frame``: a
                frame with ids, times and the ``future`` columns.
            conformal: whether to calibrate the intervals of ``level``. Every model has
                them, of any level; ``level=None`` takes ``evaluation.conformal``. The
                model forecasts the last ``evaluation.conformal_windows`` of the frame
                that it was not trained on, and the errors give margins for every step.
                So the frame has this much history after the training split, 19 windows
                at least for 95. A series has its own margins with 100 windows; series
                with fewer share those of all series.

        Returns:
            A frame with the id, the time and the column ``LSTM``; with ``level`` also
            ``LSTM-lo-80`` and ``LSTM-hi-80``; with ``quantiles``, and without both if
            the model has some, ``LSTM-q10`` and so on. In the wide form and with
            several targets they are named after the targets.

        Raises:
            RunError: nothing was fitted or loaded.
            DataError: the frame cannot be used, or there is none; the model cannot
                forecast so many steps or these quantiles; the frame has too little
                history to calibrate on.
        """
        panel = self._up_to_now(frame, futr_df)
        if conformal:
            usual = self.config.evaluation.conformal
            percents = conformal_levels(level, quantiles, usual)
            return self._task.forecast_conformal(
                self._params, panel, percents, "LSTM", horizon=horizon
            )
        columns = columns_asked(level, quantiles, self.config.model.levels)
        return self._task.forecast(
            self._params, panel, "LSTM", horizon=horizon, columns=columns
        )

    def simulate(
        self, frame: Any = None, n_paths: int = 100, *, horizon: int | None = None
    ) -> Any:
        """Paths of the steps after the end of every series, drawn one by one.

        Args:
            frame: as of `predict`.
            n_paths: how many paths to draw of every series.
            horizon: steps of a path; ``None``: ``model.horizon``.

        Returns:
            A frame as of `predict`: ``LSTM`` is the median of the paths, which follow
            as ``LSTM-path-1`` and so on.

        Raises:
            RunError: nothing was fitted or loaded.
            DataError: the frame cannot be used, a number is below 1, or the model draws
                no paths: only ``model.kind="recursive"`` does.
        """
        panel = self._up_to_now(frame)
        if not isinstance(n_paths, int) or n_paths < 1:
            raise DataError(f"n_paths is {n_paths!r}, expected a whole number above 0.")
        return self._task.simulate(self._params, panel, "LSTM", horizon, n_paths)

    def stream(self, frame: Any = None) -> ForecastStream:
        """Forecasts that follow the data: new observations come one step at a time.

        An update takes the same time however long the series is. What comes equals a
        forecast from the context and all steps since, on the scale of the context::

            stream = forecaster.stream(frame)
            stream.update({"north": 21.5, "south": 14.0})   # the next hour
            stream.forecast(horizon=24, level=80)

        Args:
            frame: as of `predict`.

        Raises:
            RunError: nothing was fitted or loaded.
            DataError: the frame cannot be used, or the model cannot go on step by step:
                only ``model.kind="recursive"`` without ``future`` columns can.
        """
        panel = self._up_to_now(frame)
        return self._task.stream(self._params, panel, "LSTM")

    def _up_to_now(self, frame, ahead=None):
        """The series to forecast."""
        if self._task is None:
            raise RunError("the forecaster is not trained; call fit or load first.")
        if frame is None and self._fitted is None:
            raise DataError(
                "a loaded forecaster has no data; pass a frame with the series up to "
                "now."
            )
        if ahead is not None:
            frame = self._frame if frame is None else frame
            return self._panel(with_rows_ahead(frame, ahead, self.config.data.columns))
        return self._fitted if frame is None else self._panel(frame)

    def cross_validation(
        self,
        frame: Any,
        n_windows: int = 1,
        *,
        step_size: int | None = None,
        refit: bool = False,
    ) -> Any:
        """Forecasts of the last windows of a frame, by models that did not see them.

        A model is trained on the steps before the first window, or with ``refit`` anew
        before each. Its own splits are cut from these steps: with
        ``data.test_fraction=0`` its last steps validate and the others train. What this
        forecaster has learned is not used and stays.

        Args:
            frame: as of `fit`.
            n_windows: the number of windows; the last one ends with the data.
            step_size: steps from one window to the next; ``None`` is the horizon.
            refit: whether to train for every window.

        Returns:
            A frame as of `predict`, of all windows in order of time, with the truth
            ``y`` and the last time before each forecast, ``cutoff``. In the wide form
            and with several targets, ``load`` is the forecast and ``load-y`` the truth.

        Raises:
            ValueError: a number is below 1.
            DataError: the frame cannot be used, or is too short.
        """
        horizon = self.config.model.horizon
        step = horizon if step_size is None else step_size
        if n_windows < 1 or step < 1:
            raise ValueError(
                f"n_windows is {n_windows} and step_size {step}, expected 1 or more."
            )
        panel, model, found = self._panel(frame), None, []
        for n in reversed(range(n_windows)):
            left_out = horizon + n * step
            known = panel.without_last(left_out)
            if model is None or refit:
                model = self._new(_from_nothing(self.config))._fit(known)
            ahead = [len(series) - left_out for series in panel]
            truth = [
                series.values[cut : cut + horizon]
                for cut, series in zip(ahead, panel, strict=True)
            ]
            found.append(
                model._task.forecast(
                    model._params, known, "LSTM", truth=np.stack(truth)
                )
            )
        return stacked(found)

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the test split, and those of the baselines.

        With ``evaluation.conformal`` ``coverage_80`` is the percentage of values inside
        the intervals of 80%, and so on.

        Raises:
            RunError: nothing was fitted or loaded, or the run is not finished.
        """
        if self._task is None or self.directory is None:
            raise RunError("the forecaster is not trained; call fit or load first.")
        split = "test" if self.config.data.split.test else "valid"
        path = self.directory / f"result-{split}.json"
        if not path.exists():
            raise RunError(
                f"{path} does not exist: the run is not finished; call fit with "
                f"directory={str(self.directory)!r} and resume=True."
            )
        return files.read_json(path)

    def save(self, directory: str | Path) -> None:
        """Copies the folder of the run. The data of `fit` are not in it.

        Raises:
            RunError: nothing was fitted, the folder exists, or cannot be written.
        """
        if self.directory is None:
            raise RunError("the forecaster is not trained; call fit first.")
        try:
            shutil.copytree(self.directory, directory)
        except OSError as error:
            raise RunError(
                f"cannot save in {directory}: {error.strerror or error}; name a folder "
                f"that does not exist."
            ) from error

    @classmethod
    def load(cls, directory: str | Path) -> "Forecaster":
        """The forecaster of the folder of a run.

        Raises:
            RunError: there is no run, it is of another task, or it has no evaluation.
        """
        run, task, _ = best_of(directory)
        if not isinstance(task, Forecasting):
            raise RunError(
                f"{directory} is a run of the task {task.config.task}; use "
                f"lstm_jax.load_run."
            )
        made = cls._new(_from_nothing(task.config))
        made._open(run.directory)
        return made

    @classmethod
    def _new(cls, config):
        made = cls.__new__(cls)
        made.config, made._fitted, made._task = config, None, None
        made._frame = None
        made._params, made.directory = None, None
        return made

    def _open(self, directory):
        run, self._task, self._params = best_of(directory)
        self.directory = Path(run.directory)

    def _panel(self, frame):
        data = self.config.data
        return panel_from_frame(frame, data.columns, data.step)


def _from_nothing(config):
    """A config that starts from no other run: its weights may have seen anything."""
    train = dataclasses.replace(config.train, init_from=None)
    return dataclasses.replace(config, train=train)
