"""Features of mean 0 and standard deviation 1.

    x' = (x - mean) / std        feature by feature, over all steps of all sequences

A constant feature becomes 0.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.data.text import DataError

LOST = 1e-5
"""Of the size of a feature: a smaller spread loses most of its digits in float32."""


@dataclasses.dataclass(frozen=True)
class Standardisation:
    """The mean and the standard deviation of every feature.

    Equal ones hash equal. The values are plain numbers, so that a model can hold them
    beside its parameters and no optimiser changes them.

    >>> import numpy as np
    >>> found = Standardisation.fit([np.array([[1.0, 5.0]]), np.array([[3.0, 5.0]])])
    >>> found
    Standardisation(mean=(2.0, 5.0), std=(1.0, 1.0))
    >>> found.apply(np.array([[3.0, 5.0]]))
    array([[1., 0.]])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            object.__setattr__(self, name, values)
        if len(self.mean) != len(self.std) or not self.mean:
            raise DataError(
                f"mean has {len(self.mean)} values and std {len(self.std)}, expected "
                f"one of each per feature."
            )
        if not np.isfinite((self.mean, self.std)).all() or min(self.std) <= 0:
            raise DataError(
                f"mean={self.mean} and std={self.std}, expected finite numbers and "
                f"std above 0."
            )

    @classmethod
    def fit(
        cls, sequences: Sequence[np.ndarray], names: Sequence[str] = ()
    ) -> "Standardisation":
        """Of the features of sequences ``[T_i, D]``; fit it on the training split.

        The standard deviation of a constant feature is taken as 1.

        Args:
            names: of the features, for errors.

        Raises:
            DataError: there is no step, or a feature varies too little beside its size
                for float32.
        """
        count = sum(len(x) for x in sequences)
        if not count:
            raise DataError("the sequences have no step, expected one or more.")
        some = [x for x in sequences if len(x)]
        total = lambda f: np.sum([f(x.astype(np.float64)) for x in some], axis=0)
        mean = total(lambda x: x.sum(axis=0)) / count
        std = np.sqrt(total(lambda x: ((x - mean) ** 2).sum(axis=0)) / count)
        low = np.min([x.min(axis=0) for x in some], axis=0)
        constant = low == np.max([x.max(axis=0) for x in some], axis=0)
        lost = ~constant & (std < LOST * np.abs(mean))
        if lost.any():
            at = int(lost.argmax())
            name = names[at] if len(names) else f"number {at}"
            raise DataError(
                f"feature {name} has mean {mean[at]:g} and standard deviation "
                f"{std[at]:g}, too little beside the mean for 32-bit numbers; subtract "
                f"{mean[at]:.0f} from it in your data."
            )
        return cls(tuple(mean.tolist()), tuple(np.where(constant, 1.0, std).tolist()))

    @property
    def features(self) -> int:
        """``D``."""
        return len(self.mean)

    def apply(self, xs: Any) -> Any:
        """``(xs - mean) / std`` for numpy arrays ``[..., D]``."""
        return (xs - np.array(self.mean)) / np.array(self.std)

    def facts(self) -> dict[str, list[float]]:
        """Its numbers, ready for JSON; `restore` reads them."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def restore(cls, facts: Mapping[str, Any]) -> "Standardisation":
        """The standardisation that returned these `facts`, directly or through JSON.

        Raises:
            DataError: they are not those of a standardisation.
        """
        try:
            return cls(tuple(facts["mean"]), tuple(facts["std"]))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"the facts of a standardisation are {dict(facts)}, expected mean and "
                f"std, a list of numbers each."
            ) from error
