"""Do different ways to write the same LSTM take the same time?

    python -m benchmarks.choice [--quick]

Stack  `lstm_jax.Stack` called directly, over `lstm_jax.lstm_stack`: three layers
vmap   ``jax.vmap`` over single sequences, over the batched call of one layer

Measures forward and the gradient by parameters and inputs, in float32, with the same
weights and inputs. The outputs are compared first. The two versions of a pair take
turns, and the result is the median of their ratios.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import RESULTS
from lstm_jax import LSTMCell, Stack, init_lstm, lstm, lstm_stack
from lstm_jax.bench import report, timing

LAYERS = 3
STACKS = [(32, 128, 128, 128)]
MAPPED = [
    (48, 60, 128, 320),
    (48, 60, 256, 256),
    (24, 96, 96, 160),
    (32, 128, 128, 128),
    (256, 20, 64, 32),
]
"""``B, T, D, H``."""
MODES = ("forward", "gradient")


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    pairs = [("Stack", shape, stacks(shape)) for shape in STACKS]
    pairs += [("vmap", shape, mapped(shape)) for shape in MAPPED]
    rows = []
    for what, shape, pair in pairs:
        for mode in MODES:
            row = dict(what=what, shape=shape, mode=mode)
            rows.append(row | measure(mode, shape, pair, args))
            print(show(rows[-1]), flush=True)
    print("written:", report.save("choice", {"rows": rows}, args.out))


def stacks(shape):
    """The parameters, and two functions of them and of the inputs ``[T, B, D]``."""
    _, _, D, H = shape
    stack = Stack([LSTMCell(H)] * LAYERS)
    ours = lambda params, xs: stack(params, None, xs)[1]
    reference = lambda params, xs: lstm_stack(params, None, xs)[1]
    return stack.init(jax.random.key(0), D), ours, reference


def mapped(shape):
    """Likewise."""
    _, _, D, H = shape
    batched = lambda params, xs: lstm(params, None, xs)[1]
    ours = jax.vmap(batched, (None, 1), 1)
    return init_lstm(jax.random.key(0), D, H), ours, batched


def measure(mode, shape, pair, args):
    B, T, D, _ = shape
    params, *ways = pair
    xs = jax.random.normal(jax.random.key(1), (T, B, D))
    calls = {}
    for name, run in zip(("ours", "reference"), ways, strict=True):
        f = run if mode == "forward" else gradient(run)
        compiled, _ = timing.compile_ahead(f, params, xs)
        calls[name] = lambda f=compiled: jax.block_until_ready(f(params, xs))
    check(*(call() for call in calls.values()))
    times = timing.interleave(calls, args.repeats, budget=args.budget)
    ms = {name: 1e3 * float(np.median(times[name])) for name in calls}
    return {"ratio": timing.paired_ratio(*times.values()), "milliseconds": ms}


def gradient(run):
    loss = lambda params, xs: jnp.sum(jnp.square(run(params, xs)))
    return jax.grad(loss, argnums=(0, 1))


def check(ours, reference):
    for a, b in zip(*map(jax.tree.leaves, (ours, reference)), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        error = np.abs(a - b).max() / np.abs(b).max()
        if not error < 1e-4:
            raise SystemExit(f"benchmarks.choice: the two ways differ by {error:.2g}.")


def show(row):
    shape, ms = "B{} T{} D{} H{}".format(*row["shape"]), row["milliseconds"]
    return (
        f"{row['what']:6} {shape:22} {row['mode']:9} {row['ratio']}  "
        f"({ms['ours']:.2f} over {ms['reference']:.2f} ms)"
    )


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choice")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds")
    add("--repeats", type=int, help="rounds at each shape (201)")
    add("--budget", type=float, default=30.0, help="seconds for each figure (30)")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.repeats = args.repeats or (5 if args.quick else 201)
    return args


if __name__ == "__main__":
    main()
