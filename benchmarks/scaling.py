"""How the time of forward + gradient grows with steps, rows, units and layers."""

import functools
from pathlib import Path

import numpy as np

from benchmarks import layers
from benchmarks.stacks import Case
from lstm_jax.bench import race
from lstm_jax.bench.workers import crew

NAMES = ("lstm_jax", "lstm_jax scan", "torch")
BASE = dict(B=16, T=64, H=128, layers=1)
AXES = {
    "T": (4, 16, 64, 256, 1024),
    "B": (1, 4, 16, 64, 256),
    "H": (32, 64, 128, 256, 512),
    "layers": (1, 2, 4, 8),
}
"""Sizes that are varied one at a time. Inputs have as many features as
there are units."""


def scaling(args):
    """Interleaved medians at every point, and our time over that of torch."""
    pace = race.Pace(min(args.repeats, 9), budget=1.0, at_least=5)
    points, rows = {}, [("scaling: forward + gradient, ms", *NAMES, "ours / torch")]
    builds = {name: functools.partial(layers.build, name) for name in NAMES}
    with crew(builds) as workers:
        for axis, values in AXES.items():
            for value in values[:2] if args.quick else values:
                found = measure(BASE | {axis: value}, workers, pace)
                points.setdefault(axis, {})[value] = found
                cells = (_cell(found, name) for name in NAMES)
                ratio = found["torch"]["ratio"] if "torch" in found else ""
                rows.append((f"  {axis}={value}", *cells, ratio))
    return dict(base=BASE, points=points), rows


def measure(at, workers, pace):
    shape = (at["B"], at["T"], at["H"], at["H"])
    contenders, _ = race.contend(workers, Case(shape, layers=at["layers"]))
    return race.measure("gradient", contenders, pace)


def _cell(found, name):
    return f"{found[name]['milliseconds']:.2f}" if name in found else ""


def plot(points, path: Path) -> None:
    """A panel for each axis, both logarithmic."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib is missing: no plot")
        return
    figure, panels = plt.subplots(1, len(points), figsize=(14, 4), layout="constrained")
    for panel, (axis, at) in zip(np.atleast_1d(panels), points.items(), strict=True):
        for name in NAMES:
            there = [v for v in at if name in at[v]]
            ms = [at[v][name]["milliseconds"] for v in there]
            panel.loglog(there, ms, marker="o", label=name)
        panel.set_xticks(list(at), list(map(str, at)))
        panel.minorticks_off()
        panel.set_xlabel(axis)
    base = ", ".join(f"{k}={v}" for k, v in BASE.items())
    np.atleast_1d(panels)[0].set_ylabel("ms")
    np.atleast_1d(panels)[0].legend()
    figure.suptitle(f"Forward + gradient, float32; elsewhere {base}")
    figure.savefig(path, dpi=120)
    plt.close(figure)
