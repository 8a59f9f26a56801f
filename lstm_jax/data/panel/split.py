"""Where training ends in each series, and validation and test begin."""

import dataclasses
import math

from lstm_jax.data.panel.rows import called
from lstm_jax.data.text import DataError, ends


@dataclasses.dataclass(frozen=True)
class Split:
    """Train, valid and test follow each other in every series.

    - Steps from the start: ``Split(train=8640, valid=2880, test=2880)``; what comes
      after is not used.
    - The last steps: ``Split(valid=24, test=48)``; all steps before are for training.
    - Fractions: ``Split(0.7, 0.1, 0.2)``, which sum to 1.

    Raises:
        DataError: numbers are negative, steps and fractions are mixed, or fractions do
            not sum to 1.

    >>> Split(valid=2, test=3).bounds(10)
    {'train': (0, 5), 'valid': (5, 7), 'test': (7, 10)}
    >>> Split(0.5, 0.25, 0.25).bounds(8)["test"]
    (6, 8)
    """

    train: int | float | None = None
    valid: int | float = 0
    test: int | float = 0

    def __post_init__(self):
        sizes = [s for s in (self.train, self.valid, self.test) if s is not None]
        given = f"train={self.train}, valid={self.valid} and test={self.test}"
        whole = [isinstance(s, int) or not s for s in sizes]
        if any(isinstance(s, bool) or not s >= 0 or math.isinf(s) for s in sizes):
            raise DataError(f"the split is {given}, expected numbers of 0 or more.")
        if not all(whole):
            if any(isinstance(s, int) and s for s in sizes) or self.train is None:
                raise DataError(
                    f"the split is {given}, expected three fractions, or whole numbers "
                    f"of steps."
                )
            if not math.isclose(math.fsum(sizes), 1, abs_tol=1e-6):
                raise DataError(
                    f"the split is {given}, expected fractions that sum to 1."
                )

    def bounds(self, steps: int, name: str = "") -> dict[str, tuple[int, int]]:
        """The first step of each split, and the first after it.

        Args:
            steps: of the series.
            name: of the series, for errors.

        Raises:
            DataError: the series is too short.
        """
        sizes = [self.train, self.valid, self.test]
        if any(isinstance(size, float) and size for size in sizes):
            cuts = [0, *ends(steps, [float(size or 0) for size in sizes])]
        else:
            train = steps - self.valid - self.test if self.train is None else self.train
            cuts = [int(c) for c in (0, train, train + self.valid)]
            cuts.append(int(cuts[-1] + self.test))
            if train < 0 or cuts[-1] > steps:
                need = self.valid + self.test + (self.train or 0)
                raise DataError(
                    f"{called(name)} has {steps:,} steps, but the split needs "
                    f"{need:,}; set a smaller split, or leave the series out."
                )
        return {
            part: (cuts[n], cuts[n + 1])
            for n, part in enumerate(("train", "valid", "test"))
        }
