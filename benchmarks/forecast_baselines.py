"""Do our splits and metrics give the published numbers of simple forecasts?

    python -m benchmarks.forecast_baselines M4_HOURLY_FOLDER ETTh1.csv.gz

M4_HOURLY_FOLDER holds Hourly-train.csv.gz and Hourly-test.csv.gz of the M4 competition.
ETTh1.csv.gz is that of ETDataset. Four questions:

M4      sMAPE, MASE and OWA of the seasonal naive forecast and of Naive2, against the
        competition's table
linear  the MSE on all test windows of ETTh1, look-back 720, of the closed-form linear
        map; what is subtracted and λ are chosen on validation
DLinear the same of a DLinear trained by the paper's recipe, against published numbers.
        They are those after the correction of the test loader, which had dropped the
        last batch. Seeds differ: at horizon 336, three give 0.451, 0.468 and 0.490
GIFT    MASE and weighted quantile loss of the seasonal naive forecast, in the protocol
        of GIFT-Eval's ett1/H/short

The published GIFT-Eval numbers are of other data: its hourly ETT1 has the sums of four
quarter-hours of ETTm1, and ETTh1 has one value an hour. Its mean absolute error is 3.76
times ours. What can be compared is how much the quantiles gain over the median: the
ratio of the weighted quantile loss and the normalised deviation (``WQL / ND``).
"""

import argparse
import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS
from lstm_jax.bench import report
from lstm_jax.data.baselines import (
    fit_linear,
    naive2,
    seasonal_naive,
    seasonal_naive_quantiles,
    windows,
)
from lstm_jax.data.standardise import Standardisation
from lstm_jax.scores.forecast import (
    mase,
    mse,
    owa,
    seasonal_scale,
    smape,
    weighted_quantile_loss,
)

DAY = 24
TRAIN, VALID, TEST = 8640, 8640 + 2880, 8640 + 5760
"""The ends of the splits of ETTh1, in rows."""
LOOKBACK, HORIZONS = 720, (96, 192, 336, 720)
LEVELS = [n / 10 for n in range(1, 10)]

DLINEAR = {
    96: (0.381, 0.384),
    192: (0.419, 0.443),
    336: (0.454, 0.446),
    720: (0.499, 0.504),
}
"""Published test MSE of DLinear by horizon, from two sources."""
PUBLISHED = {
    "M4 seasonal naive sMAPE": 13.912,
    "M4 seasonal naive MASE": 1.193,
    "M4 seasonal naive OWA": 0.627,
    "M4 Naive2 sMAPE": 18.383,
    "M4 Naive2 MASE": 2.395,
    "GIFT MASE": 0.977318,
    "GIFT WQL": 0.240368,
    "GIFT ND": 0.271747,
    "GIFT WQL / ND": 0.240368 / 0.271747,
}


def m4_hourly(folder: Path) -> dict[str, float]:
    """The competition's metrics, a mean over series of their means over the horizon."""
    train, test = (
        [
            np.array([float(value) for value in row[1:] if value])
            for row in read_rows(folder / f"Hourly-{name}.csv.gz")
        ]
        for name in ("train", "test")
    )
    truth, scale = np.array(test), seasonal_scale(train, DAY)
    found: dict[str, float] = {}
    for name, forecast in (("seasonal naive", seasonal_naive), ("Naive2", naive2)):
        f = np.array([forecast(x, DAY, truth.shape[1]) for x in train])
        found[f"M4 {name} sMAPE"] = smape(truth, f)
        found[f"M4 {name} MASE"] = mase(truth, f, scale)
    metrics = [
        found[f"M4 {name} {metric}"]
        for name in ("seasonal naive", "Naive2")
        for metric in ("sMAPE", "MASE")
    ]
    return found | {"M4 seasonal naive OWA": owa(*metrics)}


def linear(series: np.ndarray, horizon: int) -> dict[str, Any]:
    """The best linear map of the training split; see `fit_linear`."""
    train, valid = series[:TRAIN], series[TRAIN - LOOKBACK : VALID]
    fits = [
        fit_linear(train, valid, LOOKBACK, horizon, centre=centre)
        for centre in ("last", "none")
    ]
    best = min(fits, key=lambda fit: fit.valid_mse[fit.strength])
    return {
        "test_mse": test_mse(series, horizon, best),
        "windows": TEST - VALID - horizon + 1,
        "centre": best.centre,
        "strength": best.strength,
        "by_centre": {fit.centre: test_mse(series, horizon, fit) for fit in fits},
    }


def test_mse(series: np.ndarray, horizon: int, forecast: Any) -> float:
    """Over all test windows and channels; look-backs reach into validation."""
    x, y = windows(series[VALID - LOOKBACK : TEST], LOOKBACK, horizon)
    return mse(y.reshape(-1, horizon), forecast(x).reshape(-1, horizon))


class DLinear:
    """Two linear maps, of the moving average and of the rest, and Adam for them."""

    def __init__(self, horizon: int, rng: np.random.Generator):
        bound, shape = LOOKBACK**-0.5, (2 * LOOKBACK, horizon)
        self.w = rng.uniform(-bound, bound, shape).astype(np.float32)
        # Two biases that only ever add up; both learn, as in the paper's code.
        self.b = rng.uniform(-bound, bound, (2, horizon)).astype(np.float32)
        self.moments = [np.zeros_like(p) for p in (self.w, self.w, self.b, self.b)]
        self.step = 0

    def features(self, x: np.ndarray) -> np.ndarray:
        """The rest and the moving average of 25, ``[..., 2L]``; ends are repeated."""
        ends = [(0, 0)] * (x.ndim - 1) + [(13, 12)]
        sums = np.pad(x, ends, mode="edge").astype(np.float64).cumsum(axis=-1)
        trend = ((sums[..., 25:] - sums[..., :-25]) / 25).astype(np.float32)
        return np.concatenate([x - trend, trend], axis=-1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.features(x.astype(np.float32)) @ self.w + self.b.sum(axis=0)

    def update(self, x: np.ndarray, y: np.ndarray, rate: float) -> None:
        z = self.features(x)
        error = (z @ self.w + self.b.sum(axis=0) - y) * np.float32(2 / y.size)
        self.step += 1
        bias = error.sum(axis=0)
        self._adam(self.w, z.T @ error, *self.moments[:2], rate)
        self._adam(self.b, np.stack([bias, bias]), *self.moments[2:], rate)

    def _adam(self, p, gradient, m, v, rate) -> None:
        m += np.float32(0.1) * (gradient - m)
        v += np.float32(0.001) * (gradient**2 - v)
        size = np.sqrt(v / np.float32(1 - 0.999**self.step)) + np.float32(1e-8)
        p -= np.float32(rate / (1 - 0.9**self.step)) * m / size


def dlinear(series: np.ndarray, horizon: int, rate: float, seed: int) -> float:
    """Its test MSE: Adam, batches of 32 windows of all channels, the rate halved every
    epoch, at most 10 epochs, patience 3 on validation."""
    rng = np.random.default_rng(seed)
    model = DLinear(horizon, rng)
    flat = series.astype(np.float32)
    x, y = windows(flat[:TRAIN], LOOKBACK, horizon)
    past, future = windows(flat[TRAIN - LOOKBACK : VALID], LOOKBACK, horizon)
    truth = future.reshape(-1, horizon)
    lowest, best, since = np.inf, (model.w, model.b), 0
    for epoch in range(10):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - 31, 32):
            rows = order[start : start + 32]
            one, two = (part[rows].astype(np.float32) for part in (x, y))
            one, two = one.reshape(-1, LOOKBACK), two.reshape(-1, horizon)
            model.update(one, two, rate / 2**epoch)
        error, since = mse(truth, model(past).reshape(-1, horizon)), since + 1
        if error < lowest:
            lowest, best, since = error, (model.w.copy(), model.b.copy()), 0
        if since == 3:
            break
    model.w, model.b = best
    return test_mse(series, horizon, model)


def gift_eval(series: np.ndarray) -> dict[str, float]:
    """The protocol of ett1/H/short: each channel is a series, the last 20 windows of
    48 hours, one after another. MASE is a mean over windows, with the scale of all
    hours before the window. The weighted quantile loss is a ratio of sums over all
    windows. Quantiles are normal around the forecast."""
    H, count = 48, 20
    truth, point, quantiles, histories = [], [], [], []
    for n in range(count, 0, -1):
        end = len(series) - n * H
        past = series[:end].T
        truth += [*series[end : end + H].T]
        point += [*seasonal_naive(past, DAY, H)]
        quantiles += [*seasonal_naive_quantiles(past, DAY, H, LEVELS)]
        histories += [*past]
    y, f = np.array(truth), np.array(point)
    wql = weighted_quantile_loss(y, np.array(quantiles), LEVELS)
    nd = weighted_quantile_loss(y, f[..., None], [0.5])
    scale = seasonal_scale(histories, DAY)
    return {
        "GIFT MASE": mase(y, f, scale, average="points"),
        "GIFT WQL": wql,
        "GIFT ND": nd,
        "GIFT WQL / ND": wql / nd,
    }


def read_rows(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        return [*csv.reader(file)][1:]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("m4", type=Path)
    parser.add_argument("etth1", type=Path)
    parser.add_argument("--rate", type=float, default=5e-3, help="of DLinear's Adam")
    parser.add_argument("--seeds", type=int, default=1, help="of DLinear")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    raw = np.array([[float(x) for x in row[1:]] for row in read_rows(args.etth1)])
    series = Standardisation.fit([raw[:TRAIN]]).apply(raw)
    naive = m4_hourly(args.m4) | gift_eval(raw)
    rows: list[tuple[Any, ...]] = [("metric", "ours", "published", "difference")]
    for name, ours in naive.items():
        theirs = PUBLISHED[name]
        rows += [(name, f"{ours:.4f}", f"{theirs:.4f}", f"{ours / theirs - 1:+.1%}")]
    maps: dict[int, Any] = {}
    for horizon in HORIZONS:
        found = linear(series, horizon)
        seeds = range(args.seeds)
        trained = [dlinear(series, horizon, args.rate, seed) for seed in seeds]
        theirs = DLINEAR[horizon]
        maps[horizon] = found | {"dlinear_mse": trained, "published": theirs}
        ours_by_name = {"linear": found["test_mse"]}
        ours_by_name |= {f"DLinear {n}": x for n, x in enumerate(trained)}
        for name, ours in ours_by_name.items():
            gap = f"{ours / theirs[0] - 1:+.1%} / {ours / theirs[1] - 1:+.1%}"
            told = f"{theirs[0]:.3f} / {theirs[1]:.3f}"
            rows += [(f"ETTh1 {name} MSE at {horizon}", f"{ours:.4f}", told, gap)]
            print(rows[-1], flush=True)
    print(report.table(rows))
    results = {"naive": naive, "published": PUBLISHED, "etth1": maps}
    print("written:", report.save("forecast_baselines", results, args.out))


if __name__ == "__main__":
    main()
