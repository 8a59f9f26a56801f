"""How fast is one LSTM layer, beside those of Flax, Equinox, Haiku and PyTorch?

    python -m benchmarks.unroll [--quick] [--shapes 0,2] [--peers haiku,torch]

Forward, and forward with the gradient with respect to all parameters and the inputs, in
float32. Every peer has a process of its own, is given the same weights and must
reproduce our outputs and gradients before it is timed. Compilation is timed apart. The
limit of the machine is the arithmetic at the speed of one large product, which takes
turns with the others. Needs the ``bench`` extra; a library that is not installed is
reported as missing.
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
from benchmarks.workers import Worker
from lstm_jax import LSTMParams, init_lstm
from tests.shapes import PEER_SHAPES

OURS = "lstm_jax"
SCAN = "lstm_jax scan"
TORCH = "torch"
ONNX = "onnxruntime"
LIMIT = "limit"
MODES = ("forward", "gradient")
GEMM = 2048
"""Rows and columns of the product that is the limit."""
LIBRARIES = (*peers.JAX_PEERS, TORCH, ONNX)


class Contender(NamedTuple):
    """A library's LSTM at one shape, compiled, in its own process."""

    clocks: dict[str, Callable[[], float]]
    values: dict[str, np.ndarray]
    compile_seconds: dict[str, float | None]
    device: str


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    names = (OURS, SCAN, *args.peers, LIMIT)
    crew = {name: Worker(functools.partial(build, name)) for name in names}
    rows, missing = [], set()
    for index in args.shapes:
        contenders, absent = contend(PEER_SHAPES[index], crew)
        missing |= absent
        for mode in MODES:
            row = measure(PEER_SHAPES[index], mode, contenders, args)
            rows.append(row)
            print(show(row), end="\n\n", flush=True)
    for worker in crew.values():
        worker.close()
    means = {mode: means_of(rows, mode) for mode in MODES}
    print(summary(rows, means))
    print("missing:", ", ".join(sorted(missing)) or "none")
    results = {"rows": rows, "geometric_means": means}
    path = report.save("unroll", results | {"missing": sorted(missing)}, args.out)
    print("written:", path)
    plot(rows, path.with_suffix(".png"))


def contend(shape, crew) -> tuple[dict[str, Contender], set[str]]:
    """Everyone at this shape, compiled and found correct, and who is not installed."""
    contenders, missing = {}, set()
    for name, worker in crew.items():
        try:
            values, compile_seconds, device = worker.build(shape)
        except ImportError:
            missing.add(name)
            continue
        clocks = {mode: worker.clock(mode) for mode in compile_seconds}
        contenders[name] = Contender(clocks, values, compile_seconds, device)
    check(contenders)
    return contenders, missing


def build(name, shape):
    """In the process of a contender: its calls, and what `Contender` says of them."""
    # A cache on disk would make compile times those of reading it.
    jax.config.update("jax_enable_compilation_cache", False)
    device = jax.default_backend()
    params, xs = example(shape)
    if name == LIMIT:
        a = jax.random.normal(jax.random.key(0), (GEMM, GEMM))
        f, _ = timing.compile_ahead(jnp.matmul, a, a)
        call = lambda: jax.block_until_ready(f(a, a))
        return dict.fromkeys(MODES, call), ({}, dict.fromkeys(MODES), device)
    if name == TORCH:
        lstm = peers.Torch(params, xs)
        calls = dict(forward=lstm.forward, gradient=lstm.gradient)
        compile_seconds, to_ours = dict.fromkeys(MODES), lstm.to_ours
        device = lstm.device
    elif name == ONNX:
        calls = dict(forward=peers.OnnxRuntime(params, xs).forward)
        compile_seconds, to_ours, device = {"forward": None}, None, "cpu"
    else:
        builders = {OURS: peers.ours, SCAN: peers.ours_by_scan} | peers.JAX_PEERS
        calls, compile_seconds, to_ours = _jax_calls(builders[name], params, xs)
    hs = calls["forward"]()
    values = {"hs": hs.cpu() if hasattr(hs, "cpu") else hs}
    if to_ours is not None:
        grads, d_xs = to_ours(calls["gradient"]())
        values |= grads._asdict() | dict(xs=d_xs)
    values = {name: np.asarray(value) for name, value in values.items()}
    return calls, (values, compile_seconds, device)


def example(shape) -> tuple[LSTMParams, jax.Array]:
    """Weights with biases other than 0, so that a misplaced one shows."""
    B, T, D, H = shape
    k_params, k_bias, k_xs = jax.random.split(jax.random.key(0), 3)
    params = init_lstm(k_params, D, H)
    params = params._replace(b=params.b + 0.5 * jax.random.normal(k_bias, (4 * H,)))
    return params, jax.random.normal(k_xs, (T, B, D))


def _jax_calls(builder, params, xs):
    peer = builder(params)

    def loss(p, xs):
        return jnp.sum(jnp.square(peer.apply(p, xs)))

    functions = dict(forward=peer.apply, gradient=jax.grad(loss, argnums=(0, 1)))
    calls, compile_seconds = {}, {}
    for mode in MODES:
        f, compile_seconds[mode] = timing.compile_ahead(
            functions[mode], peer.params, xs
        )
        call = functools.partial(f, peer.params, xs)
        calls[mode] = lambda call=call: jax.block_until_ready(call())
    return calls, compile_seconds, lambda g: (peer.to_ours(g[0]), g[1])


def check(contenders: dict[str, Contender]) -> None:
    """Outputs and gradients are ours; whoever computes something else is not timed."""
    # GPUs may multiply in TF32, which keeps 10 bits, and sum thousands of steps of it.
    tolerance = 1e-3 if jax.default_backend() == "cpu" else 3e-2
    expected = contenders[OURS].values
    for name, contender in contenders.items():
        for what, value in contender.values.items():
            # After one step from zeros the gradient of w_h is 0.
            scale = np.max(np.abs(expected[what])) or 1.0
            error = np.max(np.abs(value - expected[what])) / scale
            if not error <= tolerance:
                raise SystemExit(f"{name} differs from {OURS} in {what} by {error:.1e}")


def measure(shape, mode, contenders, args) -> dict[str, Any]:
    clocks = {n: c.clocks[mode] for n, c in contenders.items() if mode in c.clocks}
    times = timing.take_turns(clocks, args.repeats, budget=args.budget)
    # As long as this arithmetic takes at the speed of the large product.
    times[LIMIT] = times[LIMIT] * (operations(shape, mode) / (2 * GEMM**3))
    result = {}
    for name in clocks:
        contender = contenders[name]
        result[name] = dict(
            milliseconds=1e3 * float(np.median(times[name])),
            best_milliseconds=1e3 * float(np.min(times[name])),
            ratio=timing.paired_ratio(times[OURS], times[name]),
            compile_seconds=contender.compile_seconds[mode],
            device=contender.device,
        )
    return dict(
        shape=shape,
        mode=mode,
        rounds=len(times[OURS]),
        best_jax_peer=_fastest(result, peers.JAX_PEERS),
        best_other=_fastest(result, (TORCH, ONNX)),
        contenders=result,
    )


def _fastest(result, names):
    there = (name for name in names if name in result)
    return min(there, key=lambda name: result[name]["milliseconds"], default=None)


def operations(shape, mode) -> int:
    """Floating-point operations of the products; backwards there are twice as many."""
    B, T, D, H = shape
    return 2 * T * B * 4 * H * (D + H) * (3 if mode == "gradient" else 1)


def means_of(rows, mode) -> dict[str, float]:
    """Geometric means over the shapes of our time against that of the best."""
    means = {}
    for who in ("best_jax_peer", "best_other"):
        ratios = [
            row["contenders"][row[who]]["ratio"].median
            for row in rows
            if row["mode"] == mode and row[who]
        ]
        if ratios:
            means[who] = timing.geometric_mean(ratios)
    return means


def show(row) -> str:
    head = f"B, T, D, H = {', '.join(map(str, row['shape']))}: {row['mode']}"
    lines = [(head, "median ms", "ours / theirs", "compile s")]
    for name, result in row["contenders"].items():
        seconds = result["compile_seconds"]
        lines.append(
            (
                "  "
                + name
                + (" *" if name in (row["best_jax_peer"], row["best_other"]) else ""),
                f"{result['milliseconds']:.2f}",
                "" if name == OURS else result["ratio"],
                "" if seconds is None else f"{seconds:.2f}",
            )
        )
    return report.table(lines)


def summary(rows, means) -> str:
    head = ("B, T, D, H", "mode", "ours ms", "best in JAX", "ours / it")
    lines = [(*head, "other", "ours / it", "ours / scan", "% of limit")]
    for row in rows:
        result = row["contenders"]
        ratios = {None: ""} | {name: r["ratio"] for name, r in result.items()}
        limit = 100 / ratios[LIMIT].median
        lines.append(
            (
                ", ".join(map(str, row["shape"])),
                row["mode"],
                f"{result[OURS]['milliseconds']:.2f}",
                row["best_jax_peer"] or "",
                ratios[row["best_jax_peer"]],
                row["best_other"] or "",
                ratios[row["best_other"]],
                ratios[SCAN],
                f"{limit:.0f}",
            )
        )
    for mode, mean in means.items():
        jax_peer, other = (
            f"{mean[who]:.2f}" if who in mean else ""
            for who in ("best_jax_peer", "best_other")
        )
        lines.append(("geometric mean", mode, "", "", jax_peer, "", other, "", ""))
    return "float32; medians, ratios with 95% intervals\n" + report.table(lines)


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unroll")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds of the shapes 0 and 2")
    add("--repeats", type=int, help="rounds at each shape (31)")
    add("--budget", type=float, default=120.0, help="seconds after which 15 suffice")
    add("--shapes", type=_split, help=f"indices into {PEER_SHAPES}")
    add("--peers", type=_split, default=LIBRARIES, help=f"of {', '.join(LIBRARIES)}")
    add("--out", type=Path, default=report.RESULTS, help="folder of the results")
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
