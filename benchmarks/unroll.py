"""How fast is one LSTM layer, beside those of other libraries?

    python -m benchmarks.unroll [--quick] [--shapes 0,2] [--peers haiku,torch]
    python -m benchmarks.unroll --plot benchmarks/results/unroll-cpu.json

What is measured, and how, stands in ``lstm_jax/bench/one_layer.py``; ``lstm-jax bench``
is a short version. Needs the ``bench`` extra; a library that is not installed is
reported as missing.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks import RESULTS
from lstm_jax.bench import report
from lstm_jax.bench.one_layer import (
    LIBRARIES,
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
    if args.plot:
        return plot(args.plot)
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
    plot(path)


STYLES = {
    "lstm_jax scan": ("D", "#0b57a4"),
    "lstm_jax native": ("d", "#6db3ff"),
    "linen LSTMCell": ("^", "#15803d"),
    "linen Optimized": ("v", "#62a87c"),
    "nnx LSTMCell": (">", "#7e22ce"),
    "nnx Optimized": ("<", "#b98ae0"),
    "equinox": ("P", "#be185d"),
    "haiku": ("X", "#92650a"),
    "keras": ("*", "#0f766e"),
    "torch": ("s", "#c2410c"),
    "torch.compile": ("p", "#e08a5f"),
    "onnxruntime": ("o", "#111111"),
}
"""A marker and a color for everyone, so that no two look alike."""


def plot(path: Path) -> None:
    """Draws the results in a JSON file beside it: a dot for each library and shape."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is missing: no plot")
        return
    results = json.loads(path.read_text(encoding="utf-8"))
    rows, where = results["rows"], results["environment"]
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    figure = Figure(figsize=(12, 1.5 + 0.55 * len(shapes)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, mode in zip(panels, MODES, strict=True):
        of = {tuple(row["shape"]): row for row in rows if row["mode"] == mode}
        for name, style in STYLES.items():
            _dots(panel, [of.get(shape) for shape in shapes], name, style)
        panel.axvline(1, color="0.3", lw=1)
        panel.set_xscale("log")
        ticks = [t for t in (0.25, 0.5, 1, 2, 4, 8, 16) if _inside(panel, t)]
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.grid(axis="x", alpha=0.25)
        panel.set_xlabel(f"time / time of {OURS}: right of 1 is slower")
        panel.set_title("forward" if mode == "forward" else "forward and gradient")
        for n in range(1, len(shapes)):
            panel.axhline(n - 0.5, color="0.9", lw=0.8)
    labels = ["B={} T={} D={} H={}".format(*shape) for shape in shapes]
    panels[0].set_yticks(range(len(shapes)), labels)
    panels[0].set_ylim(len(shapes) - 0.5, -0.5)
    handles = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6)
    device = where["cpu"] if where["backend"] == "cpu" else where["device"]
    version = where["versions"]["jax"]
    figure.suptitle(f"One LSTM layer, float32, {device}, JAX {version}; 95% intervals")
    figure.savefig(path.with_suffix(".png"), dpi=120)


def _inside(panel, value):
    low, high = panel.get_xlim()
    return low <= value <= high


def _dots(panel, rows, name, style):
    """One library: a dot at each shape where it was measured."""
    at = [n for n, row in enumerate(rows) if row and name in row["contenders"]]
    if not at:
        return
    ratios = [rows[n]["contenders"][name]["ratio"] for n in at]
    # The inverse of our ratio, whose interval turns around with it.
    ends = [(r["median"], r["high"], r["low"]) for r in ratios]
    middle, low, high = 1 / np.array(ends).T
    place = list(STYLES).index(name) / (len(STYLES) - 1) - 0.5
    marker, color = style
    panel.errorbar(
        middle,
        np.array(at) + 0.7 * place,
        xerr=(middle - low, high - middle),
        fmt=marker,
        ms=4.5,
        color=color,
        elinewidth=0.7,
        label=name,
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
    add("--plot", type=Path, metavar="FILE.json", help="only draw earlier results")
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
