"""How fast is one LSTM layer, beside those of other libraries?

    python -m benchmarks.unroll [--quick] [--shapes 0,2] [--peers haiku,torch]

What is measured, and how, stands in ``lstm_jax/bench/one_layer.py``; ``lstm-jax bench``
is a short version. Needs the ``bench`` extra; a library that is not installed is
reported as missing.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from benchmarks import RESULTS
from lstm_jax.bench import machine, report
from lstm_jax.bench.one_layer import (
    LIBRARIES,
    LIMIT,
    MODES,
    OURS,
    means_of,
    rows_of,
    show,
    summary,
)
from lstm_jax.bench.race import Pace
from lstm_jax.bench.shapes import PEER_SHAPES
from lstm_jax.bench.workers import BenchError


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    rows, missing = [], {}
    shapes = [PEER_SHAPES[index] for index in args.shapes]
    try:
        for row, absent in rows_of(shapes, args.peers, Pace(args.repeats, args.budget)):
            rows.append(row)
            missing |= absent
            print(show(row), end="\n\n", flush=True)
    except BenchError as error:
        raise SystemExit(f"benchmarks.unroll: {error}") from None
    means = {mode: means_of(rows, mode) for mode in MODES}
    print(summary(rows, means))
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    results = {"rows": rows, "geometric_means": means, "missing": missing}
    path = report.save("unroll", results, args.out)
    print("written:", path)
    plot(rows, path.with_suffix(".png"))


def plot(rows, path: Path) -> None:
    """Bars of their time over ours, a panel for each mode."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib is missing: no plot")
        return
    names = list(dict.fromkeys(n for row in rows for n in row["contenders"]))
    names = [name for name in names if name not in (OURS, LIMIT)]
    figure, panels = plt.subplots(2, 1, figsize=(14, 8), layout="constrained")
    for panel, mode in zip(panels, MODES, strict=True):
        selected = [row for row in rows if row["mode"] == mode]
        for k, name in enumerate(names):
            _bars(panel, selected, name, (k + 0.5) / len(names) - 0.5)
        panel.axhline(1, color="black", linewidth=1)
        # By the bars: one interval of a noisy machine would flatten all of them.
        panel.set_ylim(0, 1.25 * max(bar.get_height() for bar in panel.patches))
        labels = ["B{} T{}\nD{} H{}".format(*row["shape"]) for row in selected]
        panel.set_xticks(range(len(selected)), labels)
        panel.set_title("forward" if mode == "forward" else "forward + gradient")
        panel.set_ylabel(f"time / time of {OURS}")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(names),
    )
    where = machine.environment()
    device = where["cpu"] if where["backend"] == "cpu" else where["device"]
    figure.suptitle(f"One LSTM layer, float32, {device}, jax {jax.__version__}")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(panel, rows, name, offset):
    at = [k for k, row in enumerate(rows) if name in row["contenders"]]
    if not at:
        return
    ratios = [rows[k]["contenders"][name]["ratio"] for k in at]
    # The inverse of our ratio, whose interval turns around with it.
    middle, low, high = 1 / np.array([(r.median, r.high, r.low) for r in ratios]).T
    panel.bar(
        np.array(at) + 0.85 * offset,
        middle,
        width=0.1,
        yerr=(middle - low, high - middle),
        label=name,
        error_kw=dict(linewidth=0.8),
    )


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unroll")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds of the shapes 0 and 2")
    add("--repeats", type=int, help="rounds at each shape (31)")
    add("--budget", type=float, default=120.0, help="seconds after which 15 suffice")
    add("--shapes", type=_split, help=f"indices into {PEER_SHAPES}")
    add("--peers", type=_split, default=LIBRARIES, help=f"of {', '.join(LIBRARIES)}")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.repeats = args.repeats or (5 if args.quick else 31)
    everything = [0, 2] if args.quick else range(len(PEER_SHAPES))
    args.shapes = [int(index) for index in args.shapes or everything]
    if unknown := set(args.peers) - set(LIBRARIES):
        parser.error(f"unknown peers {sorted(unknown)}; there are {LIBRARIES}")
    if not all(0 <= index < len(PEER_SHAPES) for index in args.shapes):
        parser.error(f"--shapes are indices from 0 to {len(PEER_SHAPES) - 1}")
    return args


def _split(text):
    return text.split(",")


if __name__ == "__main__":
    main()
