"""Train, valid and test: files of their own, or cut at random from one."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from lstm_jax.config import PathText, config
from lstm_jax.data.text import DataError

Fraction = Annotated[float, Field(ge=0, lt=1)]


@config
class SplitsConfig:
    """Which files or folders hold train, valid and test."""

    path: PathText = ""
    """One file or folder, cut into train, valid and test at random; or set `train` and
    `valid`."""
    train: PathText = ""
    """The training split, where it has a file of its own."""
    valid: PathText = ""
    """The validation split; empty to cut it from `train`."""
    test: PathText = ""
    """The test split; empty where there is none."""
    valid_fraction: Fraction = 0.1
    """Fraction of the examples to validate on, where `valid` is not set."""
    test_fraction: Fraction = 0.1
    """Fraction of `path` to test on; 0: the results are those of validation."""
    split_seed: NonNegativeInt = 0
    """Seed of the random split."""

    def __post_init__(self):
        if self.path and (self.train or self.valid or self.test):
            raise ValueError(
                f"path={self.path!r} is cut into splits, so train, valid and test are "
                f"not read; set path, or the others"
            )


def check_leave_some(valid: float, test: float) -> None:
    """Raises DataError where these fractions leave nothing to train on."""
    if valid + test >= 1:
        raise DataError(
            f"data.valid_fraction={valid:g} and data.test_fraction={test:g} add up to "
            f"{valid + test:g}, which leaves nothing to train on, expected less than "
            f"1; lower one of them."
        )
