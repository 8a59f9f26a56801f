"""All windows of a split: where a forecast can be made and compared."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lstm_jax.data.panel.series import Panel
from lstm_jax.data.panel.split import Split
from lstm_jax.data.text import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """``W`` windows; each has a context before its cut and a horizon from it on."""

    series: np.ndarray
    """The number of the series in the panel, int64 ``[W]``."""
    cuts: np.ndarray
    """The first step of the horizon, int64 ``[W]``."""

    def __len__(self):
        return len(self.cuts)


def all_windows(
    panel: Panel,
    split: Split,
    part: str,
    context: int,
    horizon: int,
    min_context: int | None = None,
) -> Windows:
    """Every window whose horizon lies inside a split, series by series; none is left
    out to fill a batch.

    The context may reach back into the split before, as is usual, and never forward.
    Missing values in front of the first value of a series are no context.

    Args:
        part: ``train``, ``valid`` or ``test``.
        context: the steps before a cut that a model reads.
        horizon: the steps from a cut on that are forecast.
        min_context: the steps there must be from the first value of a series to a cut;
            ``None`` is ``context``. With fewer, the context is shorter. At least one
            value of the context is never missing.

    Raises:
        DataError: a number is not positive, ``min_context`` is above ``context``, the
            part is unknown, or a series is shorter than its split.

    >>> import pandas as pd
    >>> from lstm_jax.data.panel import panel_from_frame
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(10), "y": range(10)})
    >>> panel, split = panel_from_frame(frame), Split(valid=2, test=3)
    >>> [all_windows(panel, split, part, context=2, horizon=2).cuts.tolist()
    ...  for part in ("train", "valid", "test")]
    [[2, 3], [5], [7, 8]]
    """
    least = context if min_context is None else min_context
    _check(context, horizon, least, part)
    bounds = [split.bounds(len(series), series.name)[part] for series in panel]
    return windows_between(panel, bounds, context, horizon, least)


def windows_between(
    panel: Panel,
    bounds: Sequence[tuple[int, int]],
    context: int,
    horizon: int,
    least: int,
) -> Windows:
    """Every window whose horizon lies between two steps of its series.

    Args:
        panel: the series.
        bounds: the first step of every series, and the first after the last.
        context, horizon: as in `all_windows`.
        least: ``min_context`` of `all_windows`.
    """
    firsts, counts = [], []
    for series, (first, last) in zip(panel, bounds, strict=True):
        there = ~np.isnan(series.values[:last])
        start = int(there.argmax()) if there.any() else last
        first = max(first, start + least)
        firsts.append(first)
        counts.append(max(0, last - horizon + 1 - first))
    which = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    cuts = np.repeat(np.array(firsts, np.int64), counts) + within
    fine = np.concatenate(
        [
            _has_value(panel.series[n].values, f, c, context)
            for n, (f, c) in enumerate(zip(firsts, counts, strict=True))
        ]
    )
    return Windows(which[fine], cuts[fine])


def _has_value(values, first, count, context):
    """Whether the contexts of so many cuts, from the first one on, have a value."""
    seen = np.cumsum(np.concatenate([[0], ~np.isnan(values[: first + count])]))
    cuts = np.arange(first, first + count)
    return seen[cuts] > seen[np.maximum(cuts - context, 0)]


def _check(context, horizon, least, part):
    for name, value in (("context", context), ("horizon", horizon)):
        if value < 1:
            raise DataError(f"{name} is {value}, expected 1 or more.")
    if not 1 <= least <= context:
        raise DataError(
            f"min_context is {least}, expected 1 to {context}, the steps of context."
        )
    if part not in ("train", "valid", "test"):
        raise DataError(f"the part is {part!r}; it must be train, valid or test.")
