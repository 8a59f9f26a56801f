"""How fast are stacked, bidirectional and ragged layers, compared with other libraries?

    python -m benchmarks.layers [--quick] [--only "3 layers,ragged"]

3 layers       on top of each other
bidirectional  one layer in both directions
ragged         one layer, lengths spread evenly over ``1 .. T``; and the time that each
               library takes for them over that for full length, in the same run

Measures forward and the gradient by all parameters and inputs, in float32, with the
same weights. Each library runs in its own process and must reproduce our outputs before
it is timed. Needs the ``bench`` extra. The report names libraries that are not
installed.
"""

import argparse
import functools
from pathlib import Path

import jax
import numpy as np

from benchmarks import RESULTS
from benchmarks.stacks import MODES, STACKS, Case
from lstm_jax import init_lstm
from lstm_jax.bench import race, report, timing
from lstm_jax.bench.workers import BenchError, crew

SHAPES = [(32, 128, 128, 128), (16, 256, 256, 256)]
KINDS = {
    "3 layers": dict(layers=3),
    "bidirectional": dict(ways=2),
    "ragged": dict(ragged=True),
}
OURS = next(iter(STACKS))
FULL = ", full length"


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    rows, missing = [], {}
    builds = {name: functools.partial(build, name) for name in STACKS}
    try:
        with crew(builds) as workers:
            for kind in args.only:
                for shape in args.shapes:
                    case = Case(shape, **KINDS[kind])
                    found, absent = measure(kind, case, workers, args.pace)
                    missing |= absent
                    rows += found
    except BenchError as error:
        raise SystemExit(f"benchmarks.layers: {error}") from None
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    results = {"rows": rows, "missing": missing}
    print("written:", report.save("layers", results, args.out))


def measure(kind, case, workers, pace):
    """The rows of one case, printed as they come, and who is absent."""
    contenders, absent = race.contend(workers, case)
    rows = []
    for mode in MODES:
        row = dict(kind=kind, case=case._asdict(), mode=mode)
        rows.append(row | race_of(mode, case, contenders, pace))
        print(show(rows[-1]), end="\n\n", flush=True)
    return rows, absent


def race_of(mode, case, contenders, pace):
    """Of ragged rows with full length among the contenders, so that all take turns."""
    everyone = dict(contenders)
    for name, one in contenders.items():
        if case.ragged and f"{mode} full" in one.clocks:
            everyone[name + FULL] = one._replace(
                clocks={mode: one.clocks[f"{mode} full"]},
                compile_seconds={mode: one.compile_seconds[f"{mode} full"]},
            )
    seconds = race.times(mode, everyone, pace)
    to_full = {
        name: timing.paired_ratio(seconds[name], seconds[name + FULL])
        for name in seconds
        if name + FULL in seconds
    }
    return dict(contenders=race.results(mode, everyone, seconds), to_full=to_full)


def show(row) -> str:
    shape = ", ".join(map(str, row["case"]["shape"]))
    head = f"{row['kind']}: {row['mode']}, B, T, D, H = {shape}"
    lines = [(head, "median ms", "ours / theirs", "/ full length")]
    for name, result in row["contenders"].items():
        ratio = "" if name == OURS else result["ratio"]
        cells = (f"{result['milliseconds']:.2f}", ratio)
        lines.append((f"  {name}", *cells, row["to_full"].get(name, "")))
    return report.table(lines)


def build(name, case):
    """In the process of a library: its calls, and what `race.Contender` keeps."""
    jax.config.update("jax_enable_compilation_cache", False)
    weights, xs, lengths = example(case)
    stack = STACKS[name](case, weights, xs, lengths)
    values = {}
    for suffix in ("", " full") if case.ragged else ("",):
        hs = stack.calls["forward" + suffix]()
        values["hs" + suffix] = hs.cpu() if hasattr(hs, "cpu") else hs
        if gradient := stack.calls.get("gradient" + suffix):
            named, values["d_xs" + suffix] = stack.to_ours(gradient())
            for key, params in named.items():
                for leaf, d in params._asdict().items():
                    values[f"{leaf} of {key}{suffix}"] = d
    values = {name: np.asarray(value) for name, value in values.items()}
    return stack.calls, (values, stack.compile_seconds, stack.device)


def example(case: Case):
    """Weights with biases other than 0, inputs, and lengths in no order."""
    B, T, D, H = case.shape
    weights, rng = {}, np.random.default_rng(0)
    for layer in range(case.layers):
        for way in range(case.ways):
            key = jax.random.fold_in(jax.random.key(1), 2 * layer + way)
            params = init_lstm(key, D if layer == 0 else case.ways * H, H)
            bias = 0.5 * rng.normal(size=4 * H).astype(np.float32)
            weights[layer, way] = params._replace(b=params.b + bias)
    lengths = np.rint(np.linspace(1, T, B)).astype(np.int32)
    xs = rng.normal(size=(T, B, D)).astype(np.float32)
    return weights, xs, rng.permutation(lengths)


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds at one small shape")
    add("--repeats", type=int, help="rounds (31)")
    add("--budget", type=float, default=6.0, help="seconds after which 15 suffice")
    add("--only", type=lambda text: text.split(","), default=list(KINDS))
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.shapes = [(8, 24, 16, 16)] if args.quick else SHAPES
    args.pace = race.Pace(args.repeats or (5 if args.quick else 31), args.budget)
    if unknown := set(args.only) - set(KINDS):
        parser.error(f"unknown {sorted(unknown)}; there are {list(KINDS)}")
    return args


if __name__ == "__main__":
    main()
