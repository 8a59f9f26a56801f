"""How much faster is an update of a forecast than reading the context again?

    python -m benchmarks.forecast_streaming

One series of hours, and a recursive forecaster of two layers of 128 with a context of
720 steps. Timed is what leads from a new number to the state that forecasts are drawn
from: all of `ForecastStream.update`, against the compiled model on a context that lies
in memory already. Drawing the forecast is the same for both, and not timed. Before
that, a stream of 200 updates is compared with one reading of all steps: the state, and
the forecast of 24 steps.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import lstm_jax
from benchmarks import RESULTS
from lstm_jax.bench import report, timing
from lstm_jax.data.panel import panel_from_frame
from lstm_jax.runs.load import best_of

CONTEXT, UPDATES, STEPS, HORIZON = 720, 200, 1200, 24
CONFIG = {
    "model": {
        "kind": "recursive",
        "context": CONTEXT,
        "horizon": HORIZON,
        "hidden_size": 128,
        "num_layers": 2,
    },
    "train": {"steps": 5, "batch_size": 8},
    "data": {"valid_steps": HORIZON, "test_steps": HORIZON},
}


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast_streaming")
    parser.add_argument("--repeats", type=int, default=201, help="rounds (201)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    frame = noisy_days()
    with tempfile.TemporaryDirectory() as folder:
        forecaster = lstm_jax.Forecaster(CONFIG)
        forecaster.fit(frame[:STEPS], Path(folder) / "run", verbose=False)
        _, task, params = best_of(Path(folder) / "run")
    stream, params = forecaster.stream(frame[:STEPS]), jax.device_put(params)
    program = jax.jit(lambda params, *of: task.model(params).read(*of))
    read = lambda *of: program(params, *of)
    scale = stream.reading.fixed.scale
    before, after = window(task, frame[:STEPS]), window(task, frame)
    for value in frame["y"][STEPS:]:
        stream.update(value)
    whole = read(followed_by(before, after), scale)
    differences = jax.tree.map(difference, stream.reading, whole)
    found = {"difference": max(jax.tree.leaves(differences))}
    print(f"largest difference of the states: {found['difference']:.1e}")
    calls = {
        "context": lambda: jax.block_until_ready(read(before, scale)),
        "update": lambda: (stream.update(5.0), stream.state.block_until_ready()),
    }
    times = timing.interleave(calls, args.repeats)
    found["ratio"] = ratio = timing.paired_ratio(times["context"], times["update"])
    found["microseconds"] = took = {
        name: 1e6 * float(np.median(seconds)) for name, seconds in times.items()
    }
    print(
        f"the context over an update: {ratio} ({took['context']:,.0f} over "
        f"{took['update']:,.0f} microseconds)"
    )
    print("written:", report.save("forecast_streaming", found, args.out))


def noisy_days():
    """Hours of one series, as a frame."""
    y = 5 + np.sin(np.arange(STEPS + UPDATES) * 2 * np.pi / 24)
    y += np.random.default_rng(0).normal(0, 0.1, len(y))
    hours = pd.date_range("2024-01-01", periods=len(y), freq="h")
    return pd.DataFrame({"unique_id": "load", "ds": hours, "y": y})


def window(task, frame):
    """What a forecast after the end of a frame reads."""
    data = task.config.data
    batches, _ = task.ahead(panel_from_frame(frame, data.columns, data.step), 0)
    ((_, batch),) = batches.in_order()
    return batch.window


def followed_by(before, after):
    """The window that begins with one, and ends with another that is later."""
    new = lambda name: np.concatenate(
        [getattr(before, name), getattr(after, name)[-UPDATES:]]
    )
    return before._replace(**{name: new(name) for name in ("y", "observed", "known")})


def difference(a, b):
    """The largest difference, in units of the largest value."""
    a, b = np.asarray(a), np.asarray(b)
    return float(np.abs(a - b).max() / np.abs(b).max()) if a.size else 0.0


if __name__ == "__main__":
    main()
