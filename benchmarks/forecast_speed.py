"""How fast is a DeepAR of ours beside that of gluonts, in training and in forecasting?

    pip install gluonts[torch] torch==2.13.0
    python -m benchmarks.forecast_speed

1,000 series of 200 hours; two layers of 40, batches of 32, a context of 48, Student's
t, the last value and that a day before, calendar features. Two figures:

train    sequences per second of 24 steps ahead, after the first 20 batches, with
         everything a training does: batches, checkpoints and the progress
predict  seconds for 100 paths of 48 steps of all series, from a data frame to a frame,
         the second call; batches of 32 (their default) and of 256, the faster one

Each library runs in processes of its own, and they take turns. The normalised deviation
of both on the last 24 hours says that both have learned.
"""

import argparse
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import RESULTS
from lstm_jax.bench import report, timing

SERIES, STEPS, CONTEXT, HORIZON, AHEAD, PATHS = 1000, 200, 48, 24, 48, 100
LAYERS, UNITS, BATCH, SKIPPED = 2, 40, 32, 20


def series() -> pd.DataFrame:
    """Days of 1,000 series with levels, phases and noise of their own."""
    rng, t = np.random.default_rng(0), np.arange(STEPS)
    level, phase = rng.gamma(3, 10, (SERIES, 1)), rng.uniform(0, 6, (SERIES, 1))
    y = level * (1 + 0.5 * np.sin(2 * np.pi * t / 24 + phase))
    y += 0.1 * level * rng.normal(size=y.shape)
    hours = pd.date_range("2024-01-01", periods=STEPS, freq="h")
    ids = np.repeat([f"s{n}" for n in range(SERIES)], STEPS)
    columns = {"unique_id": ids, "ds": np.tile(hours, SERIES), "y": y.ravel()}
    return pd.DataFrame(columns)


def deviation(forecast, truth) -> float:
    """The sum of the absolute errors over that of the values."""
    return float(np.abs(forecast - truth).sum() / np.abs(truth).sum())


def ours(batches: int) -> dict[str, float]:
    """The figures of this library."""
    import lstm_jax

    frame = series()
    config = {
        "model": {
            "kind": "recursive",
            "context": CONTEXT,
            "horizon": HORIZON,
            "lags": [24],
            "hidden_size": UNITS,
            "num_layers": LAYERS,
            "paths": PATHS,
        },
        "optimizer": {"learning_rate": 1e-3},
        "train": {
            "steps": batches,
            "batch_size": BATCH,
            "evaluate_every": batches,
            "checkpoint_every": batches,
        },
        "data": {"valid_steps": HORIZON, "test_steps": 0},
    }
    before = frame[frame["ds"] < frame["ds"].iloc[STEPS - HORIZON]]
    with tempfile.TemporaryDirectory() as folder:
        forecaster = lstm_jax.Forecaster(config)
        forecaster.fit(before, Path(folder) / "run", verbose=False)
        text = (Path(folder) / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    at = {line["step"]: line["seconds"] for line in lines if "loss" in line}
    took = at[batches] - at[SKIPPED]
    found = forecaster.predict(before)["LSTM"].to_numpy()
    truth = frame["y"].to_numpy().reshape(SERIES, STEPS)[:, -HORIZON:]
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        forecaster.predict(before, horizon=AHEAD)
        seconds.append(time.perf_counter() - start)
    return {
        "sequences_per_second": BATCH * (batches - SKIPPED) / took,
        "predict_seconds": seconds[1],
        "first_predict_seconds": seconds[0],
        "deviation": deviation(found.reshape(SERIES, HORIZON), truth),
    }


def gluonts(batches: int) -> dict[str, float]:
    """The figures of gluonts."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import lightning.pytorch as lightning
    from gluonts.dataset.pandas import PandasDataset
    from gluonts.torch import DeepAREstimator

    class Clock(lightning.Callback):
        def __init__(self):
            self.at = []

        def on_train_batch_end(self, *args, **kwargs):
            self.at.append(time.perf_counter())

    frame = series()
    before = frame[frame["ds"] < frame["ds"].iloc[STEPS - HORIZON]]
    dataset = lambda: PandasDataset.from_long_dataframe(
        before, item_id="unique_id", timestamp="ds", target="y", freq="h"
    )

    def trained(horizon, count):
        clock = Clock()
        estimator = DeepAREstimator(
            freq="h",
            prediction_length=horizon,
            context_length=CONTEXT,
            num_layers=LAYERS,
            hidden_size=UNITS,
            lags_seq=[1, 24],
            batch_size=BATCH,
            num_parallel_samples=PATHS,
            num_batches_per_epoch=count,
            trainer_kwargs={
                "max_epochs": 1,
                "callbacks": [clock],
                "enable_progress_bar": False,
                "logger": False,
                "accelerator": "cpu",
            },
        )
        return estimator.train(dataset()), clock.at

    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        predictor, at = trained(HORIZON, batches)
        by_name = {f.item_id: f.quantile(0.5) for f in predictor.predict(dataset())}
        found = np.stack([by_name[f"s{n}"] for n in range(SERIES)])
        longer, _ = trained(AHEAD, 20)
        truth = frame["y"].to_numpy().reshape(SERIES, STEPS)[:, -HORIZON:]
        seconds = {}
        for rows in (BATCH, 256):
            longer.batch_size = rows
            for _ in range(2):
                start = time.perf_counter()
                for forecast in longer.predict(dataset()):
                    forecast.quantile(0.5)
                seconds[rows] = time.perf_counter() - start
    return {
        "sequences_per_second": BATCH
        * (batches - SKIPPED)
        / (at[-1] - at[SKIPPED - 1]),
        "predict_seconds": min(seconds.values()),
        "deviation": deviation(found, truth),
    }


def _inside(folder):
    """Lightning writes its checkpoints where it is."""

    return contextlib.chdir(folder)


SIDES = {"ours": ours, "gluonts": gluonts}


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast_speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(SIDES[args.one](args.batches)))
        return
    found = {name: [] for name in SIDES}
    for _ in range(args.rounds):
        for name in SIDES:
            command = [sys.executable, "-m", "benchmarks.forecast_speed", "--one", name]
            command += ["--batches", str(args.batches)]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(out.stdout.splitlines()[-1]))
            print(name, found[name][-1], flush=True)
    of = lambda name, key: np.array([round_[key] for round_ in found[name]])
    ratios = {
        "train": timing.paired_ratio(
            of("ours", "sequences_per_second"), of("gluonts", "sequences_per_second")
        ),
        "predict": timing.paired_ratio(
            of("gluonts", "predict_seconds"), of("ours", "predict_seconds")
        ),
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio} times as fast")
    results = {"ratios": ratios, "rounds": found}
    print("written:", report.save("forecast_speed", results, args.out))


if __name__ == "__main__":
    main()
