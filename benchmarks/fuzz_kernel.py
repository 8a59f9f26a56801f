"""Does the kernel compute the LSTM correctly for every kind of call?

    python -m benchmarks.fuzz_kernel [--cases 5000] [--seed 0] [--each 50] [--only N]
        [--dtype bfloat16]

Programs are random: sizes, batch axes, flags, dtypes, ``vmap``, ``jit`` or not, values
with first derivatives or a second derivative. Each program runs ``--each`` random
cases: weights, inputs, states, masks, lengths and resets. The kernel (``"native"``) and
the scan are compared with the reference in float64 (``"plain"``).

A case agrees if its error is within `TOLERANCES`, relative to the largest value of each
array; the tolerance grows with the length. A larger error still agrees if the scan has
at least a quarter of this error, because large weights amplify every rounding. Prints
counts, and for every kind the worst error in units of the tolerance. Exits with 1 if a
case disagrees. ``--only N`` runs only program ``N``, and ``--dtype`` only programs that
compute in it. The environment variable LSTM_JAX_CPU names the kernel's instructions.
"""

import argparse
import collections
import functools
import itertools
import json
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import LSTMCarry, LSTMParams, lstm

TOLERANCES = {"float32": 3e-6, "bfloat16": 3e-2}
"""Up to eight steps; they grow with the square root of the length from there on."""

SECOND = 3.0
"""How much more a second derivative may err, which sums more and larger terms."""

SLACK = 4.0
"""How much more than the scan the kernel may err where both leave the tolerance."""

SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 17, 24, 31, 32, 33, 48, 65)
LARGE = (96, 127, 130, 200, 257)
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
"""Compiler options of what the kernel is compared with."""


class Program(NamedTuple):
    """What is known while compiling."""

    T: int
    batch: tuple[int, ...]
    D: int
    H: int
    dtype: str
    params_dtype: str
    padding: str | None
    """lengths, mask or none."""
    resets: bool
    reset_carry: bool
    carry: bool
    reverse: bool
    remat: int | None
    vmap: str
    """The mapped axis: none, one of the rows, or one of the parameters, or both."""
    figure: str
    """first: values, ``jvp`` and ``vjp``. second: the derivative of a gradient."""
    jit: bool


class Case(NamedTuple):
    """What is differentiated by."""

    params: LSTMParams
    carry: LSTMCarry | None
    reset_carry: LSTMCarry | None
    xs: Any


class Flags(NamedTuple):
    """What is not."""

    lengths: Any = None
    mask: Any = None
    resets: Any = None


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    count = -(-args.cases // args.each) if args.only is None else 1
    first = args.first if args.only is None else args.only
    dtype_of = lambda n: draw_program(np.random.default_rng([args.seed, n])).dtype
    wanted = (n for n in itertools.count(first) if args.dtype in (None, dtype_of(n)))
    numbers = itertools.islice(wanted, count) if args.only is None else [args.only]
    report = fuzz(args.seed, numbers, args.cases, args.each, verbose=True)
    print(json.dumps(report, indent=1))
    return 1 if report["disagreements"] else 0


def fuzz(
    seed: int, numbers: Any, cases: int, each: int, verbose: bool = False
) -> dict[str, Any]:
    """Runs these programs; counts, the worst of every kind, and what disagrees."""
    kinds: dict[str, Any] = collections.defaultdict(lambda: {"cases": 0, "worst": 0.0})
    found, done, start = [], 0, time.monotonic()
    for number in numbers:
        program = draw_program(np.random.default_rng([seed, number]))
        kind = f"{program.figure} {program.dtype} vmap={program.vmap}"
        compute = computations(program)
        for case in range(min(each, cases - done)):
            done += 1
            rng = np.random.default_rng([seed, number, case])
            ratio, where, weights = compare(program, compute, rng)
            of_kind = kinds[f"{kind} {weights}"]
            of_kind["cases"] += 1
            of_kind["worst"] = max(of_kind["worst"], round(ratio.kernel, 3))
            if ratio.disagrees:
                named = f"program {number}, case {case} ({weights}): {program}"
                found.append(f"{named}: {where} {ratio}")
                print(found[-1], flush=True)
        jax.clear_caches()
        if verbose and done % (10 * each) == 0:
            seconds = time.monotonic() - start
            print(f"{done} cases, {len(found)} disagree, {seconds:.0f} s", flush=True)
    return {
        "seed": seed,
        "cases": done,
        "disagreements": len(found),
        "kinds": dict(sorted(kinds.items())),
    }


# -------------------------------------------------------------------- what is drawn


def draw_program(rng: np.random.Generator) -> Program:
    choose = lambda options: options[rng.integers(len(options))]
    often = lambda share: bool(rng.random() < share)
    sizes = SIZES + LARGE if often(0.3) else SIZES[:12]
    D, H = choose(sizes), choose(sizes)
    T = choose((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 17, 20, 33, 40, 70))
    batch = tuple(int(choose((1, 2, 3, 4, 5, 7))) for _ in range(rng.integers(4)))
    if often(0.15):
        batch = (int(choose((16, 25, 40, 64))),)
    if often(0.03):
        batch = (*batch, 0)
    while T > 4 and T * max(np.prod(batch), 1) * H * (D + H) > 2**23:
        T //= 2
    vmap = choose(("none", "none", "rows", "params", "both"))
    if vmap in ("rows", "both") and not batch:
        vmap = "none"
    dtype = "bfloat16" if often(0.2) else "float32"
    resets = often(0.4)
    second = often(0.2)
    return Program(
        T=T,
        batch=batch,
        D=int(D),
        H=int(H),
        dtype=dtype,
        params_dtype="bfloat16" if dtype == "bfloat16" and often(0.5) else "float32",
        padding=choose((None, None, "lengths", "mask")),
        resets=resets,
        reset_carry=resets and often(0.6),
        carry=often(0.7),
        reverse=often(0.4),
        remat=int(choose((1, 3, 4))) if often(0.1) and T else None,
        vmap=vmap,
        figure="second" if second else "first",
        # Without jit, a transformation is traced anew for every case.
        jit=second or vmap != "none" or not often(0.1),
    )


def draw_case(program: Program, rng: np.random.Generator):
    """A case, its flags, a direction, a cotangent of the outputs, and how large."""
    p, weights = program, ["unit", "unit", "unit", "small", "large", "zero"]
    weights = weights[rng.integers(len(weights))]
    size = {"unit": 1.0, "small": 1e-3, "large": 3.0, "zero": 0.0}[weights]
    members = (2,) if p.vmap in ("params", "both") else ()
    if p.vmap == "both":
        members = p.batch[:1]

    def normal(shape, dtype, scale=1.0):
        return np.asarray(rng.normal(0, 1, shape) * scale, jnp.dtype(dtype))

    wide = "float32"
    state = lambda: LSTMCarry(
        normal((*p.batch, p.H), p.dtype, 0.5), normal((*p.batch, p.H), wide)
    )

    def draw(size):
        return Case(
            LSTMParams(
                normal((*members, p.D, 4 * p.H), p.params_dtype, size * p.D**-0.5),
                normal((*members, p.H, 4 * p.H), p.params_dtype, size * p.H**-0.5),
                normal((*members, 4 * p.H), p.params_dtype, size),
            ),
            state() if p.carry else None,
            state() if p.reset_carry else None,
            normal((p.T, *p.batch, p.D), p.dtype),
        )

    at = draw(size)
    rows = (p.T, *p.batch)
    flags = Flags(
        rng.integers(0, p.T + 1, p.batch, np.int32) if p.padding == "lengths" else None,
        rng.random(rows) < rng.choice([0.1, 0.6, 0.95])
        if p.padding == "mask"
        else None,
        rng.random(rows) < rng.choice([0.05, 0.5]) if p.resets else None,
    )
    if p.padding and rng.random() < 0.3:  # what is padded may be anything
        real = flags.mask
        if real is None:
            steps = np.arange(p.T).reshape(-1, *(1,) * len(p.batch))
            real = steps < flags.lengths
        at.xs[~real] = np.nan
    cotangent = state(), normal((*rows, p.H), p.dtype)
    return at, flags, draw(1.0), cotangent, weights


# --------------------------------------------------------------------- what is done


def computations(program: Program) -> dict[str, Any]:
    """What each implementation computes of a case, by name."""
    native = functools.partial(compute, program, "native")
    quick = functools.partial(jax.jit, compiler_options=QUICK)
    return {
        "native": jax.jit(native) if program.jit else native,
        "scan": quick(functools.partial(compute, program, "scan")),
        "plain": quick(functools.partial(compute, program, "plain")),
    }


def compute(program, implementation, at, flags, direction, cotangent):
    run = functools.partial(outputs, program, implementation, flags=flags)
    if program.figure == "first":
        value, slope = jax.jvp(run, (at,), (direction,))
        return value, slope, jax.vjp(run, at)[1](cotangent)[0]

    def loss(at):
        weigh = lambda y, w: jnp.sum(_wide(y) * _wide(w) + _wide(y) ** 2 / 2)
        return sum(jax.tree.leaves(jax.tree.map(weigh, run(at), cotangent)))

    return jax.jvp(jax.grad(loss), (at,), (direction,))


def _wide(x):
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x


def outputs(program, implementation, at, flags):
    def one(at, flags):
        return lstm(
            *(at.params, at.carry, at.xs),
            **flags._asdict(),
            reset_carry=at.reset_carry,
            reverse=program.reverse,
            remat=program.remat,
            implementation=implementation,
        )

    if program.vmap == "none":
        return one(at, flags)
    params = None if program.vmap == "rows" else 0
    rows = program.vmap != "params"
    row, step = (0, 1) if rows else (None, None)
    axes = Case(params, row, row, step), Flags(row, step, step)
    carry, hs = jax.vmap(one, axes, (0, 1))(at, flags)
    if rows:
        return carry, hs
    # A mean over the members, so that shapes are those of a single one.
    mean = lambda x, axis: _wide(x).mean(axis).astype(x.dtype)
    return jax.tree.map(lambda x: mean(x, 0), carry), mean(hs, 1)


class Ratio(NamedTuple):
    """The largest error in units of the tolerance."""

    kernel: float
    scan: float

    @property
    def disagrees(self):
        return not self.kernel <= max(1.0, SLACK * self.scan)


def compare(program, compute, rng):
    """The worst ratio over all arrays, where it is, and the size of the weights."""
    at, flags, direction, cotangent, weights = draw_case(program, rng)
    args = (at, flags, direction, cotangent)
    got, scan = (compute[name](*args) for name in ("native", "scan"))
    with jax.enable_x64(True):
        exact = jax.tree.map(np.asarray, compute["plain"](*_in_float64(args)))
    rtol = TOLERANCES[program.dtype] * max(1.0, program.T / 8) ** 0.5
    rtol *= SECOND if program.figure == "second" else 1.0
    worst, where = Ratio(0.0, 0.0), ""
    paths = jax.tree_util.tree_leaves_with_path(exact)
    leaves = zip(paths, *map(jax.tree.leaves, (got, scan)), strict=True)
    for (path, want), *pair in leaves:
        scale = np.abs(want).max(initial=0.0)
        ratio = Ratio(*(_error(a, want) / (rtol * scale + 1e-30) for a in pair))
        if ratio.disagrees or ratio.kernel > worst.kernel:
            worst, where = ratio, jax.tree_util.keystr(path)
        if ratio.disagrees:
            break
    return worst, where, weights


def _error(got, want):
    """Infinite where one is finite and the other is not, or the shapes differ."""
    got = np.asarray(got, np.float64)
    if got.shape != want.shape or not np.isfinite(got).all():
        return np.inf
    return np.abs(got - want).max(initial=0.0)


def _in_float64(tree):
    floating = lambda a: jnp.issubdtype(a.dtype, jnp.floating)
    return jax.tree.map(lambda a: a.astype(np.float64) if floating(a) else a, tree)


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_kernel")
    add = parser.add_argument
    add("--cases", type=int, default=5000, help="in all (5000)")
    add("--each", type=int, default=50, help="cases of each program (50)")
    add("--seed", type=int, default=0)
    add("--first", type=int, default=0, help="the number of the first program (0)")
    add("--only", type=int, help="the number of the one program to run")
    add("--dtype", choices=TOLERANCES, help="only programs that compute in it")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
