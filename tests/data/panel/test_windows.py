"""Windows of a split: every one that is allowed, and no other."""

import numpy as np
import pandas as pd
import pytest

from lstm_jax.data.panel import PanelColumns, Split, all_windows, panel_from_frame
from lstm_jax.data.text import DataError
from tests.data.panel.frames import long

PARTS = ("train", "valid", "test")


def panel_of(*lengths, missing=()):
    frames = [long(range(n), unique_id=f"s{n}") for n in lengths]
    frame = pd.concat(frames).reset_index(drop=True)
    frame.loc[[*missing], "y"] = None
    return panel_from_frame(frame)


def slow(panel, split, part, context, horizon, least):
    """Every window, from the definition."""
    for n, series in enumerate(panel):
        first, last = split.bounds(len(series))[part]
        there = ~np.isnan(series.values)
        start = there.argmax()
        for cut in range(first, last - horizon + 1):
            if cut - start >= least and there[max(0, cut - context) : cut].any():
                yield n, cut


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("least", [1, 3, 5])
@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize("missing", [(), (0, 1, 2, 3), range(30, 42)])
@pytest.mark.parametrize("split", [Split(valid=6, test=5), Split(0.6, 0.2, 0.2)])
def test_against_the_definition(part, least, horizon, missing, split):
    panel = panel_of(40, 12, 30, missing=missing)
    found = all_windows(panel, split, part, 5, horizon, least)
    want = [*slow(panel, split, part, 5, horizon, least)]
    assert [*zip(found.series.tolist(), found.cuts.tolist(), strict=True)] == want
    assert len(found) == len(want)


def test_the_standard_protocol():
    """Informer's splits of ETTh1: 12, 4 and 4 months, of which it has 20 and more."""
    hours = pd.date_range("2016-07-01", periods=17420, freq="h")
    names = tuple("abcdefg")
    frame = pd.DataFrame({"date": hours} | {name: np.arange(17420.0) for name in names})
    panel = panel_from_frame(frame, PanelColumns(None, "date", names))
    split = Split(train=8640, valid=2880, test=2880)
    counts = [len(all_windows(panel, split, part, 720, 96)) for part in PARTS]
    assert counts == [7 * (8640 - 720 - 96 + 1), 7 * 2785, 7 * 2785]
    last = all_windows(panel, split, "test", 720, 96)
    assert (last.cuts.min(), last.cuts.max()) == (11520, 14400 - 96)


def test_short_series_have_no_windows():
    assert len(all_windows(panel_of(7), Split(valid=0, test=3), "test", 2, 4)) == 0
    assert len(all_windows(panel_of(7), Split(valid=0, test=3), "valid", 2, 1)) == 0


@pytest.mark.parametrize(
    ("split", "bounds"),
    [
        (Split(3, 2, 1), [(0, 3), (3, 5), (5, 6)]),
        (Split(valid=2, test=3), [(0, 5), (5, 7), (7, 10)]),
        (Split(0.7, 0.1, 0.2), [(0, 7), (7, 8), (8, 10)]),
        (Split(0.8, 0, 0.2), [(0, 8), (8, 8), (8, 10)]),
        (Split(), [(0, 10), (10, 10), (10, 10)]),
    ],
)
def test_bounds(split, bounds):
    assert [*split.bounds(10).items()] == [*zip(PARTS, bounds, strict=True)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Split(-1), "numbers of 0 or more"),
        (lambda: Split(True), "numbers of 0 or more"),
        (lambda: Split(float("nan"), 0.5, 0.5), "numbers of 0 or more"),
        (lambda: Split(0.5, 0.2, 0.2), "fractions that sum to 1"),
        (lambda: Split(0.5, 3, 0.5), "expected three fractions, or whole numbers"),
        (lambda: Split(valid=0.5, test=0.5), "expected three fractions"),
        (lambda: Split(5, 3, 3).bounds(10, "a"), "'a' has 10 steps, but the split n"),
        (lambda: Split(valid=9, test=3).bounds(10, "a"), "the split needs 12"),
        (lambda: windows(context=0), "context is 0, expected 1 or more"),
        (lambda: windows(horizon=0), "horizon is 0, expected 1 or more"),
        (lambda: windows(min_context=6), "min_context is 6, expected 1 to 5"),
        (lambda: windows(part="dev"), "'dev'; it must be train, valid or test"),
    ],
)
def test_what_is_refused(make, said):
    with pytest.raises(DataError, match=said):
        make()


def windows(part="test", context=5, horizon=2, min_context=None):
    split = Split(valid=3, test=3)
    return all_windows(panel_of(20), split, part, context, horizon, min_context)
