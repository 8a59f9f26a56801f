"""When is Newton's method faster than the loop over time?

    python -m benchmarks.newton [--quick]

scan      `lstm_jax.unroll` with ``implementation="scan"``
full      `lstm_jax.newton_unroll` with full Jacobians
diagonal  the same with the diagonals alone

Measures forward, and forward and gradient by the parameters, of one LSTM layer over a
single sequence, with newly initialised weights. The outputs are compared first. The
methods take turns, and the result is the median of the ratios to the scan, with the
number of iterations. A second table has the iterations for larger and smaller weights.

Newton's method does more arithmetic than the loop: every iteration multiplies matrices
of ``2H x 2H`` at every step, or takes ``2H`` derivatives of all steps. So it needs a
machine that has thousands of cores idle during the loop. On a CPU it is slower.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import RESULTS
from lstm_jax import LSTMCell, Newton, newton_unroll, unroll
from lstm_jax.bench import report, timing
from lstm_jax.bench.workers import BenchError

STEPS = (256, 2048, 16384)
SETTINGS = {"full": Newton(), "diagonal": Newton(jacobian="diagonal")}
DAMPED = "full, damping 0.3"
FACTORS = (0.5, 1.0, 2.0, 4.0, 10.0)
"""Of the initial weights, in the table of iterations."""
LONG = 500
"""Steps there, and the most iterations."""


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    try:
        found = {"rows": [measure(steps, args) for steps in args.steps]}
    except BenchError as error:
        raise SystemExit(f"benchmarks.newton: {error}") from None
    print(table(found["rows"], args))
    found["iterations"] = [iterations(factor) for factor in FACTORS]
    print(report.table([("weights times", *SETTINGS, DAMPED), *_lines(found)]))
    print("written:", report.save("newton", found, args.out))


def iterations(factor):
    """Iterations until all steps of two rows are solved, with 8 units."""
    cell, size = LSTMCell(8), 8
    params = cell.init(jax.random.key(0), size)
    params = params._replace(w_x=factor * params.w_x, w_h=factor * params.w_h)
    xs = jax.random.normal(jax.random.key(1), (LONG, 2, size))
    ways = SETTINGS | {DAMPED: Newton(damping=0.3)}
    found: dict[str, float] = {"factor": factor}
    for name, settings in ways.items():
        settings = dataclasses.replace(settings, iterations=LONG)
        outcome = newton_unroll(cell, params, None, xs, settings=settings)
        assert bool(outcome.converged.all())
        found[name] = int(outcome.iterations.max())
    return found


def _lines(found):
    return [tuple(map(str, line.values())) for line in found["iterations"]]


def measure(steps, args, settings=SETTINGS):
    """Milliseconds, ratios and differences from the scan, at one length.

    Raises:
        BenchError: the results differ.
    """
    cell = LSTMCell(args.hidden_size)
    params = cell.init(jax.random.key(0), args.hidden_size)
    xs = jax.random.normal(jax.random.key(1), (steps, 1, args.hidden_size))
    ways = {"scan": lambda p, xs: unroll(cell, p, None, xs, implementation="scan")[1]}
    for name, chosen in settings.items():
        ways[name] = lambda p, xs, s=chosen: (
            newton_unroll(cell, p, None, xs, settings=s).hs
        )
    found = {"T": steps, "B": 1, "D": args.hidden_size, "H": args.hidden_size}
    for mode in ("forward", "gradient"):
        calls = {name: compiled(mode, way, params, xs) for name, way in ways.items()}
        outputs = {name: call() for name, call in calls.items()}
        differs = {n: check(n, outputs[n], outputs["scan"]) for n in settings}
        pace = {"budget": args.budget, "at_least": args.at_least}
        times = timing.interleave(calls, args.repeats, **pace)
        found[mode] = {
            "milliseconds": {n: 1e3 * float(np.median(t)) for n, t in times.items()},
            "to_scan": {
                name: timing.paired_ratio(times[name], times["scan"])
                for name in settings
            },
            "differs": differs,
        }
    for name, chosen in settings.items():
        outcome = newton_unroll(cell, params, None, xs, settings=chosen)
        found[f"iterations_{name}"] = int(outcome.iterations.max())
        found[f"converged_{name}"] = bool(outcome.converged.all())
    return found


def compiled(mode, way, params, xs):
    if mode == "gradient":
        loss = lambda params, xs: jnp.mean(jnp.square(way(params, xs)))
        f = jax.value_and_grad(loss)
    else:
        f = way
    run, _ = timing.compile_ahead(f, params, xs)
    return lambda: jax.block_until_ready(run(params, xs))


def check(name, got, want):
    """The largest difference, over the largest value of its array."""
    error = 0.0
    for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        error = max(error, float(np.abs(a - b).max() / np.abs(b).max()))
    if not error < 1e-3:
        raise BenchError(f"{name} differs by {error:.2g}.")
    return error


def table(rows, args):
    head = f"B=1, D=H={args.hidden_size}, {jax.default_backend()}"
    lines = [(head, "iterations", "forward / scan", "forward + gradient / scan")]
    for row in rows:
        for name in SETTINGS:
            ratios = (row[mode]["to_scan"][name] for mode in ("forward", "gradient"))
            lines.append((f"  T={row['T']} {name}", row[f"iterations_{name}"], *ratios))
    return report.table(lines)


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.newton")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds, without the longest sequence")
    add("--steps", type=int, nargs="+", help="lengths T (256, 2048, 16384)")
    add("--hidden-size", type=int, default=16, help="also the size of the inputs")
    add("--repeats", type=int, help="rounds (31)")
    add("--budget", type=float, default=30.0, help="seconds after which 15 suffice")
    parser.set_defaults(at_least=15)
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.repeats = args.repeats or (5 if args.quick else 31)
    args.steps = args.steps or (STEPS[:-1] if args.quick else STEPS)
    return args


if __name__ == "__main__":
    main()
