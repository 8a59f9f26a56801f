"""Panels: many regular time series, from data frames and files, for forecasting.

    panel_from_frame    a pandas, polars or pyarrow frame, in the long form (a row for
                        every series and time) or the wide form (a column for every
                        series)
    with_rows_ahead     a frame with what is known ahead
    read_panel          a CSV or Parquet file of the same forms
    all_windows         where forecasts can be made inside a `Split`
    calendar_features   hour of the day, day of the week and so on
    forecast_frame      forecasts as a frame of the user's own kind

Needs ``pip install 'lstm-jax[forecast]'``.
"""

from lstm_jax.data.panel.calendar import calendar_features, calendar_names, usual_lags
from lstm_jax.data.panel.columns import PanelColumns
from lstm_jax.data.panel.files import read_panel
from lstm_jax.data.panel.forecast import forecast_frame, stacked
from lstm_jax.data.panel.frames import panel_from_frame, with_rows_ahead
from lstm_jax.data.panel.frequency import Frequency
from lstm_jax.data.panel.infer import infer_frequency
from lstm_jax.data.panel.series import Panel, Series
from lstm_jax.data.panel.split import Split
from lstm_jax.data.panel.windows import Windows, all_windows

__all__ = [
    "Frequency",
    "Panel",
    "PanelColumns",
    "Series",
    "Split",
    "Windows",
    "all_windows",
    "calendar_features",
    "calendar_names",
    "forecast_frame",
    "infer_frequency",
    "panel_from_frame",
    "read_panel",
    "stacked",
    "usual_lags",
    "with_rows_ahead",
]
