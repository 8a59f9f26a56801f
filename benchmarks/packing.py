"""How much faster is packing sequences into rows than padding to the longest?

    python -m benchmarks.packing [--quick] [--lengths-from FILE]

Measures forward and gradient of one LSTM layer over the same sentences; each sentence
is a sequence. Each call runs one batch. Batches of all methods have about the same
number of steps, including padding, so they take the same memory:

padded    to the longest of all, in one shape: what ``jit`` is usually given
trimmed   each batch to its own longest, rounded up to 8; several shapes to compile
bucketed  by length into 5 sizes, one shape each
packed    several sentences a row, in one shape, kept apart by resets

The result is real tokens per second. The lengths are the numbers of words in the lines
of FILE (``.gz`` too). Without FILE, they are drawn from a log-normal distribution with
the mean 21.10 and standard deviation 10.14 of the training sentences of the Penn
Treebank as prepared by Mikolov, limited to the longest sentence, 82.
"""

import argparse
import functools
import gzip
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import RESULTS
from lstm_jax import data, init_lstm, lstm
from lstm_jax.bench import report, timing

MEAN, DEVIATION, LONGEST = 21.10, 10.14, 82
BUCKETS = 5


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    rng = np.random.default_rng(0)
    lengths, longest, source = draw_lengths(args, rng)
    size = args.hidden_size
    sentences = [rng.normal(size=(n, size)).astype(np.float32) for n in lengths]
    params = init_lstm(jax.random.key(0), size, size)

    names = ("padded", "trimmed", "bucketed", "packed")
    batches = dict(zip(names, arrange(sentences, longest, args.rows), strict=True))
    runs = {name: prepare(params, batches[name]) for name in names}
    check({name: run() for name, run in runs.items()})
    calls = {name: lambda f=f: jax.block_until_ready(f()) for name, f in runs.items()}
    times = timing.interleave(calls, args.repeats, budget=args.budget)

    tokens = int(lengths.sum())
    found = {
        name: {
            "tokens_per_second": tokens / float(np.median(times[name])),
            "calls": len(batches[name]),
            "shapes": len({xs.shape for xs, _ in batches[name]}),
            "waste": 1 - tokens / sum(xs[..., 0].size for xs, _ in batches[name]),
            "to_padded": timing.paired_ratio(times["padded"], times[name]),
        }
        for name in names
    }
    print(f"{len(lengths)} sentences, {tokens} tokens: {source}")
    print(table(found, longest, args))
    results = {"lengths": source, "sentences": len(lengths), "tokens": tokens}
    results |= {"longest": longest, "rows": args.rows, "D": size, "H": size}
    print("written:", report.save("packing", results | {"ways": found}, args.out))


def draw_lengths(args, rng):
    """Lengths of some sentences, the longest there is, and where they are from."""
    if args.lengths_from is None:
        variance = np.log1p((DEVIATION / MEAN) ** 2)
        mean = np.log(MEAN) - variance / 2
        drawn = rng.lognormal(mean, variance**0.5, args.sentences)
        lengths = np.clip(np.rint(drawn), 1, LONGEST).astype(int)
        return lengths, LONGEST, "log-normal, mean and deviation of Penn Treebank"
    path = args.lengths_from
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as lines:
        lengths = np.array([n for line in lines if (n := len(line.split()))])
    source = f"{path.name}, mean {lengths.mean():.2f}, deviation {lengths.std():.2f}"
    return rng.choice(lengths, args.sentences), int(lengths.max()), source


def arrange(sentences, longest, rows):
    """Batches ``(xs, flags)`` of every way, with about ``rows * longest`` steps."""
    lengths = [len(s) for s in sentences]
    parts = [sentences[i : i + rows] for i in range(0, len(sentences), rows)]
    parts[-1] += [sentences[0][:0]] * (rows - len(parts[-1]))
    yield [padded(part, longest) for part in parts]

    rounded = [-(-max(map(len, part)) // 8) * 8 for part in parts]
    yield [padded(part, steps) for part, steps in zip(parts, rounded, strict=True)]

    sizes = data.bucket_sizes(lengths, BUCKETS)
    buckets = data.bucket(lengths, sizes, [rows * longest // n for n in sizes])
    filled = [data.pad_batch(sentences, batch) for batch in buckets.batches]
    yield [(xs, dict(lengths=n)) for xs, n in filled]

    packed = data.pack(sentences, longest, batch_size=rows)
    flags = dict(mask=packed.mask, resets=packed.resets)
    cuts = [slice(i, i + rows) for i in range(0, packed.xs.shape[1], rows)]
    cut = lambda at: {name: flag[:, at] for name, flag in flags.items()}
    yield [(packed.xs[:, at], cut(at)) for at in cuts]


def padded(part, steps):
    xs, lengths = data.pad(part, steps=steps)
    return xs, dict(lengths=lengths)


def prepare(params, batches):
    """A function of nothing that runs all batches, compiled and on the device."""

    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def gradient(params, xs, flags):
        return jnp.sum(jnp.square(lstm(params, None, xs, **flags)[1]))

    gradient = jax.jit(gradient)
    batches = jax.device_put(batches)
    return lambda: [gradient(params, xs, flags) for xs, flags in batches]


def check(outputs):
    """All ways sum up to the same loss and the same gradient of the parameters."""
    sums = {}
    for name, batches in outputs.items():
        losses = [(loss, d_params) for loss, (d_params, _) in batches]
        sums[name] = jax.tree.map(lambda *parts: np.sum(parts, axis=0), *losses)
    for got in sums.values():
        for g, want in zip(*map(jax.tree.leaves, (got, sums["padded"])), strict=True):
            np.testing.assert_allclose(g, want, rtol=0, atol=1e-4 * np.abs(want).max())


def table(found, longest, args):
    size = args.hidden_size
    head = f"forward + gradient, D=H={size}, {args.rows} x {longest} steps a call"
    rows = [(head, "tokens/s", "padding", "calls", "shapes", "to padded")]
    for name, way in found.items():
        speed, waste = f"{way['tokens_per_second']:,.0f}", f"{way['waste']:.0%}"
        rows.append(
            (f"  {name}", speed, waste, way["calls"], way["shapes"], way["to_padded"])
        )
    return report.table(rows)


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packing")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds over a quarter of the sentences")
    add("--lengths-from", type=Path, help="a text with one sentence a line")
    add("--sentences", type=int, help="how many are drawn (4096)")
    add("--rows", type=int, default=64, help="of a batch as long as the longest")
    add("--hidden-size", type=int, default=128, help="also the size of the inputs")
    add("--repeats", type=int, help="rounds (31)")
    add("--budget", type=float, default=120.0, help="seconds after which 15 suffice")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.repeats = args.repeats or (5 if args.quick else 31)
    args.sentences = args.sentences or (1024 if args.quick else 4096)
    return args


if __name__ == "__main__":
    main()
