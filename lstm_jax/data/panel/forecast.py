"""Forecasts as a frame, in the types of the data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.data.panel.packages import need
from lstm_jax.data.panel.series import Panel
from lstm_jax.data.panel.zones import to_utc
from lstm_jax.data.text import DataError


def forecast_frame(
    panel: Panel,
    values: Mapping[str, np.ndarray],
    cuts: Sequence[int] | None = None,
    *,
    cutoff: bool = False,
) -> Any:
    """Forecasts of every series, as a frame of the kind the panel came from.

    A row for every id and time: the id, the time, and a column for each of ``values``.
    Ids, times, time zone and index have the types of the data. A panel of a CSV file
    gives a dict of arrays, with times as in the file; Parquet gives a pyarrow table.

    If ids have several targets, and in the wide form, each target has columns of its
    own: the first name of ``values`` is replaced by the target's, so that ``LSTM`` and
    ``LSTM-lo-80`` become ``OT`` and ``OT-lo-80``.

    Args:
        values: arrays ``[N, H]`` by name, one row for each series of the panel. The
            first is the point forecast, the others may be quantiles.
        cuts: how many steps of each series ``[N]`` come before its forecast; ``None``
            is all of them. The series of one id must agree.
        cutoff: whether a column ``cutoff`` has the last time before each forecast.

    Raises:
        DataError: the shapes do not match, a column would appear twice, or cuts are
            outside of the series.

    >>> import pandas as pd
    >>> from lstm_jax.data.panel import panel_from_frame
    >>> frame = pd.DataFrame({"unique_id": 7, "ds": [1, 2, 3], "y": [3.0, 4.0, 5.0]})
    >>> print(forecast_frame(panel_from_frame(frame), {"LSTM": np.array([[6.0, 7.0]])}))
       unique_id  ds  LSTM
    0          7   4   6.0
    1          7   5   7.0
    """
    arrays = _checked(panel, values)
    horizon = next(iter(arrays.values())).shape[1]
    targets = len(panel.columns.targets)
    lasts = _lasts(panel, cuts)
    times = _times(panel, lasts, horizon)
    columns = {}
    if panel.columns.id is not None:
        rows = np.repeat(np.arange(len(panel) // targets), horizon)
        columns[panel.columns.id] = panel.giving.ids[rows]
    columns[panel.columns.time] = _styled(panel, times)
    if cutoff:
        columns["cutoff"] = _styled(panel, np.repeat(lasts, horizon))
    for n, target in enumerate(panel.columns.targets):
        for name, array in arrays.items():
            name = _name(panel, target, name, next(iter(arrays)))
            if name in columns:
                raise DataError(
                    f"the forecast would have the column {name!r} twice; give the "
                    f"values other names than {', '.join(arrays)}."
                )
            columns[name] = array[n::targets].reshape(-1)
    return _framed(panel, columns)


def stacked(frames: Sequence[Any]) -> Any:
    """Frames of one kind below each other, as one frame.

    >>> import pandas as pd
    >>> stacked([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})])["a"].tolist()
    [1, 2]
    """
    nw = need("narwhals")
    found = nw.concat([nw.from_native(frame) for frame in frames]).to_native()
    plain = hasattr(found, "reset_index") and found.index.names == [None]
    return found.reset_index(drop=True) if plain else found


def _checked(panel, values):
    arrays = {name: np.asarray(array) for name, array in values.items()}
    if not arrays:
        raise DataError("values is empty, expected an array [N, H] or more by name.")
    horizon = next(iter(arrays.values())).shape[-1:]
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape != (len(panel), *horizon):
            raise DataError(
                f"values[{name!r}] has shape {array.shape}, expected [N, H] with "
                f"{len(panel)} series and the same H for all names."
            )
    return arrays


def _lasts(panel, cuts):
    """The last time before the forecast of each id."""
    cuts = [len(series) for series in panel] if cuts is None else list(cuts)
    if len(cuts) != len(panel):
        raise DataError(f"there are {len(cuts)} cuts, expected {len(panel)}, one each.")
    targets = len(panel.columns.targets)
    for n, (cut, series) in enumerate(zip(cuts, panel, strict=True)):
        first = cuts[n - n % targets]
        if not 1 <= cut <= len(series) or cut != first:
            raise DataError(
                f"cuts[{n}] is {cut}, expected 1 to {len(series)}, the steps of series "
                f"{series.name!r}, and the same for all targets of an id."
            )
    ends = [s.times[cut - 1] for cut, s in zip(cuts, panel, strict=True)]
    return np.array(ends)[::targets]


def _times(panel, lasts, horizon):
    """The times of all rows. Most series end together, so each end is asked once."""
    found, which = np.unique(lasts, return_inverse=True)
    after = np.array([panel.frequency.after(last, horizon) for last in found])
    return after[which].reshape(-1)


def _styled(panel, times):
    """Times in the type and the zone of the data."""
    style, zone, backend = panel.giving.time, panel.zone, panel.giving.backend
    if style.kind == "text":
        found = style.text(panel.local(times))
    elif zone is not None and not panel.frequency.by_clock:
        found = to_utc(times, zone)
    else:
        found = times
    if backend is None:
        return found
    in_zone = style.kind == "datetime" and zone is not None
    nw = need("narwhals")
    if backend.is_pandas():
        native = need("pandas").Series(found)
        native = native.dt.tz_localize("UTC").dt.tz_convert(zone) if in_zone else native
        return nw.from_native(native.astype(style.dtype), series_only=True)
    found = nw.new_series(panel.columns.time, found, backend=backend)
    if in_zone:
        found = found.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return nw.from_native(found.to_native().cast(style.dtype), series_only=True)


def _name(panel, target, name, first):
    if panel.columns.id is not None and len(panel.columns.targets) == 1:
        return name
    if name == first or name.startswith(f"{first}-"):
        return target + name.removeprefix(first)
    return f"{target}-{name}"


def _framed(panel, columns):
    giving = panel.giving
    if giving.backend is None:
        return columns
    # from_dict of narwhals may lose categories and time zones.
    natives = {
        name: cells if isinstance(cells, np.ndarray) else cells.to_native()
        for name, cells in columns.items()
    }
    if giving.backend.is_polars():
        return need("polars").DataFrame(natives)
    if giving.backend.is_pyarrow():
        return need("pyarrow").table(natives)
    frame = need("pandas").DataFrame(
        {
            name: getattr(cells, "array", cells)  # without its index
            for name, cells in natives.items()
        }
    )
    return frame.set_index(list(giving.index)) if giving.index else frame
