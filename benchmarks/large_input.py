"""Does training slow down, or need more memory, with a text larger than memory?

    python -m benchmarks.large_input               # 10 GB; 30 GB of disk, half an hour
    python -m benchmarks.large_input --quick       # 200 MB

A folder of text files, and then one of Parquet files, is made from a seed. For each:

1. A process of its own prepares the text (reads it, finds its characters, encodes it
   into a file of tokens) and then loads every window of an epoch, as training does. It
   notes its memory. A text of 20 MB does the same in memory.
2. A language model trains on the large text, whose windows come from its file, and on
   the text of 20 MB: on the device (the default), and from the host. All take turns.

RssAnon is what the process alone holds. RssFile also has pages of files, which the
system may take back at any time.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import RESULTS
from lstm_jax.bench import report
from lstm_jax.bench.timing import paired_ratio, seconds, take_turns
from lstm_jax.data.token_rows import training_rows
from lstm_jax.data.tokenized import TokenizedText
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import Start
from lstm_jax.tasks.language_model import TextWindows

QUESTION = (
    "Does training slow down, or need more memory, with a text larger than memory?"
)
MB, GB = 10**6, 10**9
SMALL, LARGE, QUICK = 20 * MB, 10 * GB, 200 * MB
SHARD = 500 * MB
"""Bytes of a file of the large text."""
SHARE = 0.0001
"""Of valid and of test: all other tokens are trained on."""
EPOCH = 256, 512
"""Rows and window with which an epoch is loaded."""
POINTS = 20
"""So often the memory is noted in an epoch."""
POOL = 20_000
"""Different paragraphs: to draw every word anew would take an hour."""
FORMS = "text", "parquet"
STEPS = 8
"""Steps that are timed at a time."""

MODEL = {"embed_size": 128, "hidden_size": 256, "num_layers": 2}
TRAIN = {"batch_size": 32, "window": 64, "steps": 10**6, "block": STEPS}


def write_corpus(folder: Path, form: str, size: int) -> None:
    """Files of ``size`` bytes of text in all: paragraphs of random words, which are
    drawn at random from `POOL`. A row of Parquet is a paragraph."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    words = ["".join(rng.choice(letters, rng.integers(1, 12))) for _ in range(50_000)]
    pool = [
        " ".join([words[n] for n in rng.integers(0, len(words), 200)]) + "\n"
        for _ in range(POOL)
    ]
    ending = {"text": "txt", "parquet": "parquet"}[form]
    for n, at in enumerate(range(0, size, SHARD)):
        paragraphs = _paragraphs(rng, pool, min(SHARD, size - at))
        path = folder / f"part-{n:03}.{ending}"
        if form == "text":
            with path.open("w") as file:
                file.writelines(paragraphs)
        else:
            _write_parquet(path, paragraphs)


def _paragraphs(rng, pool, size):
    while True:
        for n in rng.integers(0, len(pool), 10_000).tolist():
            size -= len(pool[n])
            yield pool[n]
            if size <= 0:
                return


def _write_parquet(path, paragraphs):
    import pyarrow as arrow
    from pyarrow import parquet

    schema, rows = arrow.schema([("text", arrow.string())]), []
    with parquet.ParquetWriter(path, schema) as writer:
        for row in paragraphs:
            rows.append(row)
            if len(rows) == 10_000:
                writer.write_table(arrow.table({"text": rows}, schema))
                rows = []
        if rows:
            writer.write_table(arrow.table({"text": rows}, schema))


class Memory:
    """The memory of this process, now and at its largest, in MB."""

    def __init__(self):
        self.largest = {"anonymous": 0.0, "total": 0.0}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()

    @staticmethod
    def now() -> dict[str, float]:
        lines = Path("/proc/self/status").read_text().splitlines()
        rss = {
            line.partition(":")[0]: int(line.split()[1]) * 1024 / MB
            for line in lines
            if line.startswith("Rss")
        }
        return {"anonymous": rss["RssAnon"], "total": rss["RssAnon"] + rss["RssFile"]}

    def _watch(self):
        over = False
        while not over:
            over, now = self._over.wait(0.02), self.now()
            self.largest = {k: max(now[k], self.largest[k]) for k in now}


def prepare(path: str, cache: str) -> dict:
    """Prepares a text and loads an epoch of it, with the memory that both take."""
    text = TokenizedText(path, (1 - 2 * SHARE, SHARE, SHARE), cache=cache)
    took = {}
    with Memory() as memory:
        took["read"] = seconds(lambda: text.parts)
        took["sum"] = seconds(lambda: text.sha256)
        took["learn"] = seconds(lambda: text.learn("characters"))
        tokenizer = text.learn("characters")
        took["encode"] = seconds(lambda: text.tokens("train", tokenizer))
        for part in text.characters:
            text.tokens(part, tokenizer)
    tokens = text.tokens("train", tokenizer)
    rows, window = EPOCH
    windows = TextWindows(training_rows(tokens.data, rows, window), window, tokens)
    plan, series = windows.plan(0), []
    start = time.perf_counter()
    with Memory() as loading:
        for n in plan:
            windows.load(n)
            if n % -(-len(plan) // POINTS) == 0:
                series.append(Memory.now())
    took["epoch"] = time.perf_counter() - start
    return {
        "tokens": len(tokens.data),
        "in_memory": tokens.in_memory,
        "seconds": took,
        "epoch_MB_per_second": tokens.data.nbytes / took["epoch"] / MB,
        "largest_MB": {"prepare": memory.largest, "epoch": loading.largest},
        "epoch_MB": series,
    }


def prepared(path: Path, cache: str) -> dict:
    """`prepare` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large_input", "--child", path]
    out = subprocess.run(
        [*command, f"--cache={cache}"], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(out.stdout.splitlines()[-1])


class Training:
    """A model and where its training has got to."""

    def __init__(self, path: Path, cache: str = "", **train):
        data = {"path": str(path), "valid_share": SHARE, "test_share": SHARE}
        config = {
            "task": "language_model",
            "data": data | {"cache": cache},
            "model": MODEL,
            "train": TRAIN | train,
        }
        self._make = lambda: Start.of(make_task(read_config(config)))
        start = time.perf_counter()
        self._start = self._make()
        self.start_seconds = time.perf_counter() - start
        self._state, self._step = self._start.state, 0

    def steps(self) -> None:
        """Trains on `STEPS` batches."""
        done, metrics = 0, None
        while done < STEPS:
            data, n = self._start.batches.take(self._step, STEPS - done)
            self._state, metrics = self._start.block(self._state, data, n)
            self._step, done = self._step + n, done + n
        jax.block_until_ready((self._state, metrics))

    def close(self) -> None:
        self._start.batches.close()


def compare(small: Path, large: Path, cache: str, rounds: int) -> dict:
    """Steps a second with the large text and with the small one, in turns."""
    cases = {
        "memory": Training(small),
        "memory, host batches": Training(small, device_bytes=0),
        "large": Training(large, cache, device_bytes=0),
    }
    for case in cases.values():  # compiles
        case.steps()
    clocks = {name: (lambda c=c: seconds(c.steps)) for name, c in cases.items()}
    times = take_turns(clocks, rounds, at_least=rounds)
    for case in cases.values():
        case.close()
    rates = {name: STEPS / float(np.median(t)) for name, t in times.items()}
    ratios = {
        f"of {name}": paired_ratio(times[name], times["large"])
        for name in ("memory", "memory, host batches")
    }
    return {
        "steps_per_second": rates,
        "throughput": ratios,
        "start_seconds_with_cache": cases["large"].start_seconds,
    }


def measure(folder: Path, form: str, size: int, rounds: int) -> dict:
    small, large, cache = folder / "small", folder / "large", str(folder / "cache")
    write_corpus(small, form, SMALL)
    write_corpus(large, form, size)
    try:
        found = {"small": prepared(small, ""), "large": prepared(large, cache)}
        return found | compare(small, large, cache, rounds)
    finally:
        for made in (small, large, cache):
            shutil.rmtree(made, ignore_errors=True)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=QUESTION)
    add = parser.add_argument
    add("--bytes", type=int, default=LARGE, help="of the large text (10e9)")
    add("--quick", action="store_true", help="a large text of 200 MB")
    add("--forms", nargs="+", choices=FORMS, default=FORMS)
    add("--rounds", type=int, default=31, help="turns that are timed (31)")
    add("--folder", type=Path, help="where the texts are written; TMPDIR by default")
    add("--out", type=Path, default=RESULTS, help="a folder for the JSON")
    add("--child", help=argparse.SUPPRESS)
    add("--cache", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(prepare(args.child, args.cache)))
        return
    size, found = QUICK if args.quick else args.bytes, {}
    for form in args.forms:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found[form] = measure(Path(folder), form, size, args.rounds)
    print(_table(found))
    sizes = {"large": size, "small": SMALL, "shard": SHARD}
    results = {"bytes": sizes, "model": MODEL, "train": TRAIN, "forms": found}
    print(report.save("large_input", results, args.out))


def _table(found):
    rows = [("", *found)]
    for name in ("memory", "memory, host batches", "large"):
        rates = [f"{one['steps_per_second'][name]:.2f}" for one in found.values()]
        rows.append((f"steps a second, {name}", *rates))
    for name in ("of memory", "of memory, host batches"):
        rows.append(
            (f"throughput {name}", *(one["throughput"][name] for one in found.values()))
        )
    for size in ("small", "large"):
        for when in ("prepare", "epoch"):
            for kind in ("anonymous", "total"):
                most = [o[size]["largest_MB"][when][kind] for o in found.values()]
                name = f"{size}, {when}, {kind} (MB)"
                rows.append((name, *(f"{n:,.0f}" for n in most)))
        took = [sum(one[size]["seconds"].values()) for one in found.values()]
        rows.append((f"{size}, prepare and epoch (s)", *(f"{s:.0f}" for s in took)))
    starts = [one["start_seconds_with_cache"] for one in found.values()]
    rows.append(("start with a cache (s)", *(f"{s:.1f}" for s in starts)))
    return report.table(rows)


if __name__ == "__main__":
    main()
