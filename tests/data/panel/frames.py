"""Frames for the tests of panels."""

import pandas as pd
import polars as pl
import pytest

KINDS = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pl.from_pandas(frame).to_arrow(),
}

OF_EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def long(ds, y=None, unique_id="a", **more):
    """A pandas frame with a row for each of the times."""
    count = len(ds)
    y = [float(n * n) for n in range(count)] if y is None else y
    return pd.DataFrame(
        {"unique_id": unique_id, "ds": ds, "y": y, **more}, index=range(count)
    )


def to_pandas(frame):
    """Back from any kind; a dict is the frame of a CSV file."""
    if isinstance(frame, dict):
        return pd.DataFrame(frame)
    return frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
