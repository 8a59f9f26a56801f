"""Forecasts that follow the data: one new observation at a time, in constant time.

The state of the layers stands for everything that was read, so an update is one step of
the layers, however long the series is. It begins as `Forecasting.forecast` does, from
the last steps of the data, and then equals a forecast from these and all steps that
came since, on the scale of the former.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.data.panel import Panel, calendar_features, forecast_frame
from lstm_jax.data.text import DataError
from lstm_jax.models.forecast.recursive import Reading, RecursiveConfig
from lstm_jax.tasks.forecast_batches import identities
from lstm_jax.tasks.forecast_columns import columns_asked, named
from lstm_jax.tasks.forecast_data import names_of

CHUNK = 1024
"""Steps whose times and calendar are worked out together: one by one they would take
longer than the layers."""


class ForecastStream:
    """Forecasts of every series of a panel, and of what comes after it.

    Args:
        task: a task ``forecasting``, such as ``load_run(folder).task``.
        params: its parameters.
        panel: series up to now.
        name: of the column of forecasts.

    Raises:
        DataError: the data cannot be used, they have columns that are known ahead, or
            the model cannot go on step by step: only ``model.kind="recursive"`` can.
    """

    def __init__(self, task: Any, params: PyTree, panel: Panel, name: str):
        config = task.config
        if not isinstance(config.model, RecursiveConfig):
            raise DataError(
                f"a model of kind {config.model.kind} reads all of its context for "
                f'each forecast; train one with model.kind="recursive", or call '
                f"predict with the longer data."
            )
        if panel.columns.future:
            raise DataError(
                f"data.future is {[*panel.columns.future]}, and a stream has only "
                f"values and the calendar; train without it, or call predict with the "
                f"longer data."
            )
        self._task, self._panel, self._name = task, panel, name
        self._params = params = jax.device_put(params)
        self._names = names_of(panel)
        self._lengths = np.array([len(series) for series in panel])
        batches, self._read_by = task.ahead(panel, 0, rows=len(panel))
        ((_, batch),) = batches.in_order()
        program = task.jitted
        self._steps = program.steps_from(params, program.read(params, batch.window))
        self.state = self._steps.state
        """All that an update changes, as one array."""
        self._ahead = _Ahead(panel, config.data.calendar)
        self.updates = 0
        """Steps that came since the stream began."""

    def update(self, values: float | Sequence[float] | Mapping[str, float]) -> None:
        """Reads the next step of every series.

        Args:
            values: a number for each series, in their order or by their names, on the
                scale of the data; NaN where nothing is observed. One number where there
                is one series.

        Raises:
            DataError: there are not as many numbers as series, a name is unknown or
                missing, or a number cannot be read, such as an infinite one.
        """
        new = self._in_order(values)
        rows = [*new[:, None]]
        self._task.data.check_values(self._names, rows)
        known, scaled = self._ahead.known(1)[0], self._read_by.apply(rows)
        step = np.empty((len(rows), 2 + known.shape[-1]), np.float32)
        step[:, :1], step[:, 2:] = scaled, known
        step[:, 1] = ~np.isnan(new)
        self.state = self._steps.advance(self.state, step)
        self._ahead.advance()
        self.updates += 1

    @property
    def reading(self) -> Reading:
        """What was read, as the layers have it."""
        return self._steps.reading(self.state)

    def forecast(
        self,
        horizon: int | None = None,
        *,
        level: float | Sequence[float] | None = None,
        quantiles: float | Sequence[float] | None = None,
    ) -> Any:
        """The steps after the last one that was read, of every series.

        The arguments and the frame are those of `lstm_jax.Forecaster.predict`.

        Raises:
            DataError: the model cannot forecast these quantiles, or the horizon is no
                whole number above 0.
        """
        task = self._task
        columns = columns_asked(level, quantiles, task.config.model.levels)
        asked = task.checked(horizon, columns.values())
        found = task.jitted.forecast_from(
            self._params,
            self.reading,
            self._ahead.known(asked.horizon),
            identities(self._names, self._lengths + self.updates),
            asked,
        )
        natural = self._read_by.undo(found, np.arange(len(self._panel)))
        values = named(self._name, natural, asked, columns)
        return forecast_frame(self._ahead.panel, values)

    def _in_order(self, values):
        """The numbers in the order of the series, float64 ``[N]``."""
        if hasattr(values, "to_dict"):  # of pandas, with names
            values = values.to_dict()
        if isinstance(values, Mapping):
            if values.keys() != {*self._names}:
                odd = sorted(values.keys() ^ {*self._names}, key=str)
                raise DataError(
                    f"the values are those of other series, such as {odd[0]!r}; give "
                    f"one for each of {len(self._names):,} series, NaN where nothing "
                    f"is observed."
                )
            values = [values[name] for name in self._names]
        try:
            found = np.atleast_1d(np.asarray(values, np.float64))
        except (TypeError, ValueError) as error:
            raise DataError(f"the values are {values!r}, expected numbers.") from error
        if found.shape != self._lengths.shape:
            raise DataError(
                f"there are {found.size:,} values of the shape {found.shape}, expected "
                f"one for each of {len(self._names):,} series."
            )
        if np.isinf(found).any():
            at = int(np.isinf(found).argmax())
            raise DataError(
                f"the series {self._names[at]} has the value {found[at]}, expected a "
                f"finite number, or NaN where nothing is observed."
            )
        return found


class _Ahead:
    """The times to come and their calendar, worked out some steps at a time."""

    def __init__(self, panel, calendar):
        self._calendar = calendar
        self._base, self._at = panel.moved(0), 0
        self._known = self._worked_out(CHUNK)

    def _worked_out(self, steps):
        """The calendar ``[L, N, K]`` of the steps after the base."""
        panel = self._base
        if not self._calendar:
            return np.zeros((steps, len(panel), 0), np.float32)
        lasts = np.array([series.times[-1] for series in panel])
        ends, which = np.unique(lasts, return_inverse=True)
        found = [
            calendar_features(
                panel.local(panel.frequency.after(end, steps)), panel.frequency
            )
            for end in ends
        ]
        return np.stack(found, axis=1)[:, which]

    def advance(self):
        """Goes on by a step."""
        self._at += 1

    def known(self, steps):
        """The calendar ``[steps, N, K]`` of the next steps."""
        if self._at + steps > len(self._known):
            self._base, self._at = self.panel, 0
            self._known = self._worked_out(max(CHUNK, 2 * steps))
        return self._known[self._at : self._at + steps]

    @property
    def panel(self):
        """The panel with the last time alone."""
        return self._base.moved(self._at)
