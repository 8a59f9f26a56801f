"""Where a chart is drawn: scales, ticks, and the paths of its lines and bands."""

import dataclasses
import math
from typing import Any

import numpy as np

from lstm_jax.report.elements import Chart

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 54, 8, 8, 36
MOST_POINTS = 300
"""A line with more points is drawn by means of neighbours."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values of an axis to positions in the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: Any) -> np.ndarray:
        """Positions of values; NaN of what has none."""
        values = np.asarray(values, float)
        if self.log:
            values = np.log10(np.where(values > 0, values, np.nan))
        part = (values - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of a few round values."""
        step = _round_step((self.high - self.low) / 5)
        if self.log:
            step = max(1.0, math.ceil(step))
        first = math.ceil(self.low / step - 1e-9) * step
        count = int((self.high - first) / step + 1e-9) + 1
        values = [first + n * step for n in range(count)]
        to = self.end - self.start
        place = lambda v: self.start + (v - self.low) / (self.high - self.low) * to
        said = (lambda v: _power(v)) if self.log else (lambda v: label(v, step))
        return [(round(place(v), 2), said(v)) for v in values]


def _round_step(least):
    """The smallest of 1, 2, 2.5, 5 times a power of 10 that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(
        m * power for m in (1, 2, 2.5, 5, 10) if m * power >= least * (1 - 1e-9)
    )


def label(value: float, step: float = 0.0) -> str:
    """A number as it stands at a tick or in a tooltip, with up to seven digits.

    >>> label(2500.0, 500), label(0.30000000000000004, 0.1), label(1.5e-7)
    ('2,500', '0.3', '1.5e-07')
    >>> label(1000.5, 0.5), label(123456.03), label(2_000_000.0), label(0.0)
    ('1,000.5', '123,456', '2,000,000', '0')
    """
    if not math.isfinite(value):
        return str(value)
    if step:
        digits = max(0, 1 - math.floor(math.log10(step)))
        value = round(value, digits) + 0.0
    size = abs(value)
    if size and not 1e-4 <= size < 1e12:
        return f"{value:.4g}"
    digits = max(0, 6 - (math.floor(math.log10(size)) if size else 0))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _power(exponent):
    return f"1e{exponent:.0f}" if abs(exponent) > 3 else f"{10.0**exponent:g}"


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A chart with all of its positions, for the template and the script."""

    chart: Chart
    x: Scale
    y: Scale
    paths: list[str]
    areas: list[str]
    points: list[list[tuple[float, float]]]

    @property
    def data(self) -> dict[str, Any]:
        """What the script shows when one points at the chart."""
        lines = [
            {
                "name": line.name,
                "px": _rounded(self.x(line.xs)),
                "py": _rounded(self.y(line.ys)),
                "x": [label(x) for x in np.asarray(line.xs, float).tolist()],
                "y": [label(y) for y in np.asarray(line.ys, float).tolist()],
            }
            for line in self.chart.lines
        ]
        return {"x": self.chart.x, "lines": lines}

    @property
    def numbers(self) -> list[list[str]]:
        """A few numbers of every line, for those who do not see the picture."""
        rows = []
        for line in self.chart.lines:
            ys = np.asarray(line.ys, float)
            real = ys[np.isfinite(ys)]
            ends = (real[0], real[-1], real.min(), real.max()) if len(real) else ()
            rows.append([line.name, *(label(float(v)) for v in ends)])
        return rows


def _rounded(values):
    return [round(v, 1) if math.isfinite(v) else None for v in values.tolist()]


def drawing(chart: Chart) -> Drawing | None:
    """The positions of a chart; ``None`` if it has no number to show."""
    chart = dataclasses.replace(chart, lines=[*map(_thinned, chart.lines)])
    xs = [np.asarray(one.xs, float) for one in (*chart.lines, *chart.bands)]
    ys = [np.asarray(line.ys, float) for line in chart.lines]
    ys += [np.asarray(a, float) for band in chart.bands for a in (band.low, band.high)]
    shown = np.concatenate([*ys, []])
    shown = shown[np.isfinite(shown) & ((shown > 0) | (not chart.log))]
    if not len(shown):
        return None
    across = np.concatenate(xs)
    x = Scale(*_room(across.min(), across.max(), 0.0), LEFT, WIDTH - RIGHT)
    low, high = shown.min(), shown.max()
    if chart.log:
        low, high = math.log10(low), math.log10(high)
        if high - low < 1:
            low, high = math.floor(low), math.ceil(high)
    y = Scale(*_room(low, high, 0.04), HEIGHT - BOTTOM, TOP, chart.log)
    return Drawing(
        chart,
        x,
        y,
        [_path(x(line.xs), y(line.ys)) for line in chart.lines],
        [_area(x(b.xs), y(b.low), y(b.high)) for b in chart.bands],
        [_marks(x(one.xs), y(one.ys)) if one.points else [] for one in chart.lines],
    )


def _room(low, high, margin):
    if low == high:
        spread = abs(low) / 2 or 1.0
        return low - spread, high + spread
    return low - margin * (high - low), high + margin * (high - low)


def _thinned(line):
    """Means of neighbours where a line has many points."""
    size = -(-len(line.xs) // MOST_POINTS)
    if size == 1 or not len(line.xs):
        return line
    xs, ys = (np.asarray(a, float) for a in (line.xs, line.ys))
    starts = np.arange(0, len(xs), size)
    sizes = np.diff(np.append(starts, len(xs)))
    mean = lambda a: np.add.reduceat(a, starts) / sizes
    name = f"{line.name} (means of {size})"
    return dataclasses.replace(line, name=name, xs=mean(xs), ys=mean(ys))


def _path(xs, ys):
    """The ``d`` of an SVG path; it starts anew after a gap."""
    parts, pen = [], "M"
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
        if math.isnan(y):
            pen = "M"
            continue
        parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(parts)


def _area(xs, low, high):
    there = np.isfinite(low) & np.isfinite(high)
    xs, low, high = xs[there], low[there], high[there]
    if not len(xs):
        return ""
    around = [*zip(xs, high, strict=True), *zip(xs[::-1], low[::-1], strict=True)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in around) + "Z"


def _marks(xs, ys):
    pairs = zip(xs.tolist(), ys.tolist(), strict=True)
    return [(round(x, 1), round(y, 1)) for x, y in pairs if not math.isnan(y)]
