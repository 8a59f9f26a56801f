"""Where time series come from, and how they are cut into splits."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from lstm_jax.config import PathText, config

Fraction = Annotated[float, Field(ge=0, lt=1)]


@config
class ForecastDataConfig:
    """The file, its columns, and which steps train, validate and test."""

    path: PathText = ""
    """A CSV or Parquet file."""
    id: str = ""
    """The column that says which series a row belongs to; empty: every target is one
    series, with a row a step."""
    time: str = "ds"
    """The column of the times: dates, ISO texts or whole numbers."""
    target: tuple[str, ...] = ("y",)
    """The columns to forecast."""
    frequency: str = ""
    """An alias of pandas, such as `h`, `15min`, `D`, `W-SUN` or `MS`, or a whole number;
    empty: told from the times."""
    valid_fraction: Fraction = 0.1
    """Fraction of the steps of every series to validate on, where `valid_steps` is 0."""
    test_fraction: Fraction = 0.2
    """Fraction of the steps of every series to test on, its last ones, where
    `test_steps` is 0. 0 of both: the results are those of validation."""
    train_steps: NonNegativeInt = 0
    """Steps of every series to train on; 0: all before those of `valid` and `test`.
    Steps after those of `test` are left out."""
    valid_steps: NonNegativeInt = 0
    """Steps of every series to validate on."""
    test_steps: NonNegativeInt = 0
    """Steps of every series to test on."""
    season: NonNegativeInt = 0
    """Steps of a season, for the seasonal baseline and MASE; 0: the usual one of the
    frequency, such as 24 of hours."""

    def __post_init__(self):
        columns = (*((self.id,) if self.id else ()), self.time, *self.target)
        if not self.target or "" in columns or len({*columns}) < len(columns):
            raise ValueError(
                f"id, time and target name the columns {columns}; name every column "
                f"once, and at least one target"
            )
