"""One LSTM layer in every library, forwards and with its gradient.

Float32; the gradient is that by all parameters and the inputs. Every contender has a
process of its own, is given the same weights and must reproduce our outputs and
gradients before it is timed. Compilation is timed apart. The limit of the machine is
the arithmetic at the speed of one large product, which takes turns with the others.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import LSTMParams, init_lstm
from lstm_jax.bench import others, peers, race, report, timing
from lstm_jax.bench.workers import crew

OURS = "lstm_jax"
SCAN = "lstm_jax scan"
NATIVE = "lstm_jax native"
LIMIT = "limit"
MODES = ("forward", "gradient")
GEMM = 2048
"""Rows and columns of the product that is the limit."""

BY_JAX = {
    OURS: peers.ours,
    SCAN: peers.ours_by_scan,
    NATIVE: peers.ours_by_kernel,
} | peers.JAX_PEERS
LIBRARIES = (*peers.JAX_PEERS, *others.OTHERS)
WAYS = (OURS, SCAN, NATIVE)
"""Of ours; the first is right, and what others are compared with."""

Row = dict[str, Any]
"""Of the results: one shape in one mode."""


def rows_of(
    shapes: Sequence[tuple[int, ...]],
    libraries: Sequence[str],
    pace: race.Pace,
    ways: Sequence[str] = WAYS,
) -> Iterator[tuple[Row, dict[str, str]]]:
    """Every row as soon as it is measured, and who is absent from it, and why.

    Raises:
        BenchError: a contender computes something else, fails, or its process ends.
    """
    names = (*ways, *libraries, LIMIT)
    with crew({name: functools.partial(build, name) for name in names}) as workers:
        for shape in shapes:
            contenders, absent = race.contend(workers, shape)
            for mode in MODES:
                yield measure(shape, mode, contenders, pace), absent


def build(name, shape):
    """In the process of a contender: its calls, and what `race.Contender` keeps."""
    # A cache on disk would make compile times those of reading it.
    jax.config.update("jax_enable_compilation_cache", False)
    params, xs = example(shape)
    if name == LIMIT:
        return _limit()
    if name in others.OTHERS:
        lstm = others.OTHERS[name](params, xs)
        calls = {mode: getattr(lstm, mode) for mode in MODES if hasattr(lstm, mode)}
        compile_seconds, device = dict(lstm.compile_seconds), lstm.device
        to_ours = getattr(lstm, "to_ours", None)
    else:
        calls, compile_seconds, to_ours = _jax_calls(BY_JAX[name], params, xs)
        device = jax.default_backend()
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


def _limit():
    a = jax.random.normal(jax.random.key(0), (GEMM, GEMM))
    f, _ = timing.compile_ahead(jnp.matmul, a, a)
    call = lambda: jax.block_until_ready(f(a, a))
    said = ({}, dict.fromkeys(MODES), jax.default_backend())
    return dict.fromkeys(MODES, call), said


def measure(shape, mode, contenders, pace) -> Row:
    # As long as this arithmetic takes at the speed of the large product.
    scale = {LIMIT: operations(shape, mode) / (2 * GEMM**3)}
    result = race.measure(mode, contenders, pace, scale)
    return dict(
        shape=shape,
        mode=mode,
        rounds=result[OURS]["rounds"],
        best_jax_peer=race.fastest(result, peers.JAX_PEERS),
        best_other=race.fastest(result, others.OTHERS),
        contenders=result,
    )


def operations(shape, mode) -> int:
    """Floating-point operations of the products; backwards there are twice as many."""
    B, T, D, H = shape
    return 2 * T * B * 4 * H * (D + H) * (3 if mode == "gradient" else 1)


def means_of(rows: list[Row], mode: str) -> dict[str, float]:
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


def show(row: Row) -> str:
    """A table of everyone at one shape in one mode."""
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


def summary(rows: list[Row], means: dict[str, dict[str, float]]) -> str:
    """A line for each shape and mode: ours, the best of the others, the limit."""
    head = ("B, T, D, H", "mode", "ours ms", "best in JAX", "ours / it")
    lines: list[tuple[Any, ...]] = [
        (*head, "other", "ours / it", "ours / scan", "% of limit")
    ]
    for row in rows:
        result = row["contenders"]
        ratios: dict[Any, Any] = {None: ""} | {
            name: r["ratio"] for name, r in result.items()
        }
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
