"""How fast is one LSTM layer, beside those of Flax, Equinox, Haiku and PyTorch?

    python -m benchmarks.unroll [--quick] [--shapes 0,2] [--peers haiku,torch]

Forward, and forward with the gradient with respect to all parameters and the inputs, in
float32. Every peer is given the same weights and must reproduce our outputs and
gradients before it is timed. Compilation is timed apart. Needs the ``bench`` extra; a
library that is not installed is reported as missing.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peers, report, timing
from lstm_jax import LSTMParams, init_lstm
from tests.shapes import PEER_SHAPES

OURS = "lstm_jax"
TORCH = "torch"
MODES = ("forward", "gradient")


class Contender(NamedTuple):
    """A library's LSTM at one shape, ready to run; both calls wait for the result."""

    calls: dict[str, Callable[[], Any]]
    to_ours: Callable[[Any], tuple[LSTMParams, Any]]
    compile_seconds: dict[str, float | None]
    device: str


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    # A cache on disk would make compile times those of reading it.
    jax.config.update("jax_enable_compilation_cache", False)
    rows, missing = [], set()
    for index in args.shapes:
        contenders, absent = contend(PEER_SHAPES[index], args.peers)
        missing |= absent
        for mode in MODES:
            row = measure(PEER_SHAPES[index], mode, contenders, args)
            rows.append(row)
            print(show(row), end="\n\n", flush=True)
    means = {mode: mean_to_best(rows, mode) for mode in MODES}
    print(summary(rows, means))
    print("missing:", ", ".join(sorted(missing)) or "none")
    results = {"rows": rows, "geometric_mean_to_best": means}
    path = report.save("unroll", results | {"missing": sorted(missing)}, args.out)
    print("written:", path)
    plot(rows, path.with_suffix(".png"))


def contend(shape, names) -> tuple[dict[str, Contender], set[str]]:
    """Everyone at this shape, compiled and found correct, and who is not installed."""
    params, xs = example(shape)
    contenders = {OURS: _jax_contender(peers.ours, params, xs)}
    missing = set()
    for name in names:
        try:
            if name == TORCH:
                contenders[name] = _torch_contender(params, xs)
            else:
                builder = peers.JAX_PEERS[name]
                contenders[name] = _jax_contender(builder, params, xs)
        except ImportError:
            missing.add(name)
    check(contenders)
    return contenders, missing


def example(shape) -> tuple[LSTMParams, jax.Array]:
    """Weights with biases other than 0, so that a misplaced one shows."""
    B, T, D, H = shape
    k_params, k_bias, k_xs = jax.random.split(jax.random.key(0), 3)
    params = init_lstm(k_params, D, H)
    params = params._replace(b=params.b + 0.5 * jax.random.normal(k_bias, (4 * H,)))
    return params, jax.random.normal(k_xs, (T, B, D))


def _jax_contender(builder, params, xs):
    peer = builder(params)

    def loss(p, xs):
        return jnp.sum(jnp.square(peer.apply(p, xs)))

    functions = dict(forward=peer.apply, gradient=jax.grad(loss, argnums=(0, 1)))
    calls, compile_seconds = {}, {}
    for mode in MODES:
        f, seconds = timing.compile_ahead(functions[mode], peer.params, xs)
        call = functools.partial(f, peer.params, xs)
        calls[mode] = lambda call=call: jax.block_until_ready(call())
        compile_seconds[mode] = seconds
    to_ours = lambda grads: (peer.to_ours(grads[0]), grads[1])
    return Contender(calls, to_ours, compile_seconds, jax.default_backend())


def _torch_contender(params, xs):
    lstm = peers.Torch(params, xs)
    calls = dict(forward=lstm.forward, gradient=lstm.gradient)
    return Contender(calls, lstm.to_ours, dict.fromkeys(MODES), lstm.device)


def check(contenders: dict[str, Contender]) -> None:
    """Outputs and gradients are ours; whoever computes something else is not timed."""
    # GPUs may multiply in TF32, which keeps 10 bits, and sum thousands of steps of it.
    tolerance = 1e-3 if jax.default_backend() == "cpu" else 3e-2
    expected = _values(contenders[OURS])
    for name, contender in contenders.items():
        for what, value in _values(contender).items():
            error = np.max(np.abs(value - expected[what]))
            error /= np.max(np.abs(expected[what]))
            if not error <= tolerance:
                raise SystemExit(f"{name} differs from {OURS} in {what} by {error:.1e}")


def _values(contender):
    hs = contender.calls["forward"]()
    params, xs = contender.to_ours(contender.calls["gradient"]())
    values = params._asdict() | dict(xs=xs, hs=hs.cpu() if hasattr(hs, "cpu") else hs)
    return {name: np.asarray(value) for name, value in values.items()}


def measure(shape, mode, contenders, args) -> dict[str, Any]:
    calls = {name: contender.calls[mode] for name, contender in contenders.items()}
    times = timing.interleave(calls, args.repeats, budget=args.budget)
    result = {}
    for name, contender in contenders.items():
        result[name] = dict(
            milliseconds=1e3 * float(np.median(times[name])),
            best_milliseconds=1e3 * float(np.min(times[name])),
            ratio=timing.paired_ratio(times[OURS], times[name]),
            compile_seconds=contender.compile_seconds[mode],
            device=contender.device,
        )
    jax_peers = [name for name in result if name not in (OURS, TORCH)]
    return dict(
        shape=shape,
        mode=mode,
        rounds=len(times[OURS]),
        best_jax_peer=min(
            jax_peers, key=lambda name: result[name]["milliseconds"], default=None
        ),
        contenders=result,
    )


def mean_to_best(rows, mode) -> float | None:
    """Geometric mean over the shapes of our time against the best JAX peer's."""
    ratios = [
        row["contenders"][row["best_jax_peer"]]["ratio"].median
        for row in rows
        if row["mode"] == mode and row["best_jax_peer"]
    ]
    return timing.geometric_mean(ratios) if ratios else None


def show(row) -> str:
    head = f"B, T, D, H = {', '.join(map(str, row['shape']))}: {row['mode']}"
    lines = [(head, "median ms", "ours / theirs", "compile s")]
    for name, result in row["contenders"].items():
        seconds = result["compile_seconds"]
        lines.append(
            (
                "  " + name + (" *" if name == row["best_jax_peer"] else ""),
                f"{result['milliseconds']:.2f}",
                "" if name == OURS else result["ratio"],
                "" if seconds is None else f"{seconds:.2f}",
            )
        )
    return report.table(lines)


def summary(rows, means) -> str:
    lines = [("B, T, D, H", "mode", "ours ms", "best", "ours / best", "ours / torch")]
    for row in rows:
        result, best = row["contenders"], row["best_jax_peer"]
        lines.append(
            (
                ", ".join(map(str, row["shape"])),
                row["mode"],
                f"{result[OURS]['milliseconds']:.2f}",
                best or "",
                result[best]["ratio"] if best else "",
                result[TORCH]["ratio"] if TORCH in result else "",
            )
        )
    for mode, mean in means.items():
        if mean is not None:
            lines.append(("geometric mean", mode, "", "", f"{mean:.2f}", ""))
    return "float32; medians, ratios with 95% intervals\n" + report.table(lines)


def plot(rows, path: Path) -> None:
    """Bars of their time over ours, a panel for each mode."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib is missing: no plot")
        return
    names = list(dict.fromkeys(n for row in rows for n in row["contenders"]))
    names.remove(OURS)
    figure, panels = plt.subplots(2, 1, figsize=(10, 7), layout="constrained")
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
    where = report.environment()
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
    names = [*peers.JAX_PEERS, TORCH]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unroll")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds of the shapes 0 and 2")
    add("--repeats", type=int, help="rounds at each shape (31)")
    add("--budget", type=float, default=120.0, help="seconds after which 15 suffice")
    add("--shapes", type=_split, help=f"indices into {PEER_SHAPES}")
    add("--peers", type=_split, default=names, help=f"of {', '.join(names)}")
    add("--out", type=Path, default=report.RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.repeats = args.repeats or (5 if args.quick else 31)
    everything = [0, 2] if args.quick else range(len(PEER_SHAPES))
    args.shapes = [int(index) for index in args.shapes or everything]
    if unknown := set(args.peers) - set(names):
        parser.error(f"unknown peers {sorted(unknown)}; there are {names}")
    if not all(0 <= index < len(PEER_SHAPES) for index in args.shapes):
        parser.error(f"--shapes are indices from 0 to {len(PEER_SHAPES) - 1}")
    return args


def _split(text):
    return text.split(",")


if __name__ == "__main__":
    main()
