"""Time zones: from UTC to the clock on the wall, and back."""

import numpy as np

from lstm_jax.data.panel.packages import need


def to_local(times: np.ndarray, zone: str) -> np.ndarray:
    """Local times of times in UTC, both datetime64[us] ``[T]``.

    >>> to_local(np.array(["2024-07-01T10:00"], "datetime64[us]"), "Europe/Berlin")
    array(['2024-07-01T12:00:00.000000'], dtype='datetime64[us]')
    """
    index = need("pandas").DatetimeIndex(times, tz="UTC").tz_convert(zone)
    return index.tz_localize(None).to_numpy().astype("datetime64[us]")


def to_utc(times: np.ndarray, zone: str) -> np.ndarray:
    """Times in UTC of local times, both datetime64[us] ``[T]``.

    A local time that is skipped becomes the first one after the change. One that
    happens twice is the second.

    >>> to_utc(np.array(["2024-07-01T12:00"], "datetime64[us]"), "Europe/Berlin")
    array(['2024-07-01T10:00:00.000000'], dtype='datetime64[us]')
    """
    index = need("pandas").DatetimeIndex(times)
    second = np.zeros(len(index), bool)
    index = index.tz_localize(zone, ambiguous=second, nonexistent="shift_forward")
    return index.tz_convert(None).to_numpy().astype("datetime64[us]")
