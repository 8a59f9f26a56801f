"""What does the derivative rule cost and save, compared with JAX's derivative of a
scan?

    python -m benchmarks.properties [--quick] [--only memory,vmap,compile,bfloat16]

memory    of the gradient of a long sequence in units of ``T*B*H*4`` bytes; its time
vmap      over single sequences against the batched call on the same ``[B, T, D]``
compile   forward + gradient at a short and at a long T
bfloat16  the error of dW against float32
"""

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import RESULTS
from lstm_jax import init_lstm, lstm
from lstm_jax.bench import report, timing

IMPLEMENTATIONS = ("scan", "plain")
"""With and without the derivative rule. Both share the equations of the cell, whose own
derivative stores little. Only `textbook` leaves everything to JAX. A call without a
name uses the fastest implementation."""


def main(argv: list[str] | None = None) -> None:
    args = arguments("properties", QUESTIONS, argv)
    jax.config.update("jax_enable_compilation_cache", False)
    results = {}
    for name in args.only:
        results[name], rows = QUESTIONS[name](args)
        print(report.table(rows), end="\n\n", flush=True)
    print("written:", report.save("properties", results, args.out))


def memory(args):
    """Temporary memory of the gradient as XLA plans it, and the time it takes."""
    B, T, D, H = (8, 512, 64, 64) if args.quick else (8, 4096, 256, 256)
    inputs = example((T, B, D), H)
    by = lambda name: functools.partial(outputs, implementation=name)
    ways = {"lstm_jax": outputs} | {name: by(name) for name in IMPLEMENTATIONS}
    gradients = {
        name: timing.compile_ahead(gradient(f), *inputs)[0]
        for name, f in (ways | {"textbook": textbook}).items()
    }
    units = {
        name: f.memory_analysis().temp_size_in_bytes / (T * B * H * 4)
        for name, f in gradients.items()
    }
    times, ratios = race(gradients, inputs, args)
    head = f"memory: gradient, B={B} T={T} D={D} H={H}"
    rows = [(head, "T*B*H*4 bytes", "ms", "lstm_jax / this")]
    for name in units:
        ratio = str(ratios.get(name, ""))
        rows.append((f"  {name}", f"{units[name]:.2f}", f"{times[name]:.1f}", ratio))
    shape = dict(B=B, T=T, D=D, H=H)
    return dict(shape, units=units, milliseconds=times, time_ratios=ratios), rows


def vmap(args):
    """One call for each sequence under vmap, against one call for all of them."""
    B, T, D, H = 32, 128, 128, 128
    inputs = example((B, T, D), H)
    swap = functools.partial(jnp.swapaxes, axis1=0, axis2=1)
    ways = {
        "vmap": jax.vmap(outputs, in_axes=(None, 0)),
        "batched": lambda params, xs: swap(outputs(params, swap(xs))),
    }
    np.testing.assert_allclose(*(f(*inputs) for f in ways.values()), atol=1e-5)
    compiled = {
        name: timing.compile_ahead(gradient(f), *inputs)[0] for name, f in ways.items()
    }
    times, ratios = race(compiled, inputs, args)
    rows = [(f"vmap: forward + gradient, B={B} T={T} D={D} H={H}", "ms")]
    rows += [(f"  {name}", f"{times[name]:.2f}") for name in times]
    rows += [("  vmap / batched", ratios["batched"])]
    shape = dict(B=B, T=T, D=D, H=H)
    return dict(shape, milliseconds=times, ratio=ratios["batched"]), rows


def compile_time(args):
    """Median seconds to trace and compile; T must hardly matter, the loop is rolled."""
    B, D, H = 8, 128, 128
    lengths, repeats = (64, 4096), 1 if args.quick else 5
    times = {T: [] for T in lengths}
    # The first compilation of a process is slower, whatever it compiles.
    timing.compile_ahead(gradient(outputs), *example((2, B, D), H))
    for _ in range(repeats):
        for T in lengths:
            f = gradient(outputs)
            times[T].append(timing.compile_ahead(f, *example((T, B, D), H))[1])
    medians = {T: float(np.median(times[T])) for T in lengths}
    rows = [(f"compile: forward + gradient, B={B} D={D} H={H}", "s")]
    rows += [(f"  T={T}", f"{medians[T]:.3f}") for T in lengths]
    return dict(B=B, D=D, H=H, seconds=medians, repeats=repeats), rows


def bfloat16(args):
    """Largest error of dW relative to the largest dW; median over seeds."""
    B, T, D, H = 8, 128, 64, 64
    seeds = range(2 if args.quick else 10)
    errors = {}
    for name in IMPLEMENTATIONS:
        loop = functools.partial(outputs, implementation=name)
        exact = jax.jit(gradient(loop))
        rough = jax.jit(gradient(functools.partial(loop, dtype=jnp.bfloat16)))
        found = []
        for seed in seeds:
            # Exact in bfloat16, so that what differs is the arithmetic alone.
            inputs = jax.tree.map(_round, example((T, B, D), H, seed))
            found.append([*map(_error, rough(*inputs)[0], exact(*inputs)[0])])
        w_x, w_h, _ = np.median(found, axis=0)
        errors[name] = dict(w_x=float(w_x), w_h=float(w_h))
    rows = [(f"bfloat16: error of dW, B={B} T={T} D={D} H={H}", "w_x", "w_h")]
    rows += [(f"  {n}", *(f"{e:.1e}" for e in errors[n].values())) for n in errors]
    return dict(B=B, T=T, D=D, H=H, seeds=len(seeds), errors=errors), rows


QUESTIONS = dict(memory=memory, vmap=vmap, compile=compile_time, bfloat16=bfloat16)


def example(shape, hidden_size, seed=0):
    """Parameters and inputs of this shape, whatever its first two axes mean."""
    k_params, k_xs = jax.random.split(jax.random.key(seed))
    params = init_lstm(k_params, shape[-1], hidden_size)
    return params, jax.random.normal(k_xs, shape)


def outputs(params, xs, **options):
    return lstm(params, None, xs, **options)[1]


def textbook(params, xs):
    """The LSTM as one would write it without this library, inputs projected first."""

    def step(carry, gx):
        h, c = carry
        i, f, g, o = jnp.split(gx + h @ params.w_h, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((*xs.shape[1:-1], params.w_h.shape[0]), xs.dtype)
    return jax.lax.scan(step, (zeros, zeros), xs @ params.w_x + params.b)[1]


def gradient(f):
    """Of the sum of squared outputs, with respect to parameters and inputs."""

    def loss(params, xs):
        return jnp.sum(jnp.square(f(params, xs).astype(jnp.float32)))

    return jax.grad(loss, argnums=(0, 1))


def race(functions, inputs, args, *, of_first=True):
    """Median milliseconds of all, and the time of the first over that of the others,
    or theirs over that of the first."""
    calls = {
        name: lambda f=f: jax.block_until_ready(f(*inputs))
        for name, f in functions.items()
    }
    times = timing.interleave(calls, args.repeats, budget=args.budget)
    medians = {name: 1e3 * float(np.median(times[name])) for name in times}
    first, *others = times
    pair = (lambda n: (first, n)) if of_first else (lambda n: (n, first))
    ratio = lambda over, under: timing.paired_ratio(times[over], times[under])
    return medians, {n: ratio(*pair(n)) for n in others}


def _error(got, want):
    return float(jnp.max(jnp.abs(got - want)) / jnp.max(jnp.abs(want)))


def _round(x):
    return x.astype(jnp.bfloat16).astype(x.dtype)


def arguments(name, questions, argv, *, budget=120.0):
    """Of a benchmark that answers ``questions``."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds, smaller where it takes long")
    add("--repeats", type=int, help="rounds (31)")
    add("--budget", type=float, default=budget, help="seconds after which 15 suffice")
    add("--only", type=lambda text: text.split(","), default=list(questions))
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.repeats = args.repeats or (5 if args.quick else 31)
    if unknown := set(args.only) - set(questions):
        parser.error(f"unknown {sorted(unknown)}; there are {list(questions)}")
    return args


if __name__ == "__main__":
    main()
