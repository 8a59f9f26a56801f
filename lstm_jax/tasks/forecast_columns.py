"""The quantiles of a forecast, and what their columns are called.

>>> quantile_columns(level=[80])
{0.1: '-lo-80', 0.9: '-hi-80'}
>>> quantile_columns(quantiles=[0.1, 0.25])
{0.1: '-q10', 0.25: '-q25'}
"""

from collections.abc import Iterable

from lstm_jax.data.text import DataError


def quantile_columns(
    level: Iterable[float] = (), quantiles: Iterable[float] = ()
) -> dict[float, str]:
    """What is added to the name of a forecast, by the level of the quantile.

    Args:
        level: prediction intervals in percent: 80 lies between the quantiles 0.1 and
            0.9.
        quantiles: levels of single quantiles.

    Raises:
        DataError: a percent is not between 0 and 100, or a level not between 0 and 1.
    """
    found = {}
    for percent in level:
        if not 0 < percent < 100:
            raise DataError(
                f"level has {percent:g}, expected percents between 0 and 100, such as "
                f"80."
            )
        for side, end in (("lo", 50 - percent / 2), ("hi", 50 + percent / 2)):
            found[round(end / 100, 9)] = f"-{side}-{percent:g}"
    for q in quantiles:
        if not 0 < q < 1:
            raise DataError(
                f"quantiles has {q:g}, expected levels between 0 and 1, such as 0.9."
            )
        found.setdefault(q, f"-q{100 * q:g}")
    return found
