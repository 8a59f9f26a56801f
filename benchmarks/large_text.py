"""How much more memory does training take with a large text than with a small one?

    python -m benchmarks.large_text --bytes 2000000000
    python -m benchmarks.large_text --quick

A text of random words is written to a temporary folder. A tiny model trains for a few
steps on its bytes, once with 10 MB and once with ``--bytes``, each in its own process,
and is evaluated. Each run reports two numbers, both the largest during the run:

peak       all pages in memory (`ru_maxrss`), with pages of files, the text among them,
           which the system may take back at any time
anonymous  pages that belong to the process alone (RssAnon of /proc, every 10 ms): what
           the machine must have
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from lstm_jax.bench import report

MB = 10**6
SMALL = 10 * MB

CONFIG = """
task = "language_model"
[data]
path = "{path}"
tokens = "bytes"
valid_share = {share}
test_share = {share}
[model]
embed_size = 8
hidden_size = 16
[train]
steps = 40
batch_size = 64
window = 64
evaluate_every = 40
checkpoint_every = 40
[evaluation]
batch_size = 256
[run]
directory = "{run}"
"""


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--bytes", type=int, default=2 * 10**9, help="of the large text (2e9)")
    add("--share", type=float, default=0.001, help="of valid and of test (0.001)")
    add("--quick", action="store_true", help="a large text of 400 MB")
    add("--out", type=Path, help="a folder for the numbers as JSON")
    add("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        return _child(args.child)
    large = 400 * MB if args.quick else args.bytes
    found = [measure(size, args.share) for size in (SMALL, large)]
    rows = [("text (MB)", "peak (MB)", "anonymous (MB)", "seconds")]
    rows += [
        tuple(f"{one[k] / scale:,.0f}" for k, scale in _COLUMNS.items())
        for one in found
    ]
    more = {k: found[1][k] - found[0][k] for k in ("bytes", "peak", "anonymous")}
    rows.append(("more", f"{more['peak'] / MB:,.0f}", f"{more['anonymous'] / MB:,.0f}"))
    width = len(rows[0])
    print(report.table([(*row, *[""] * (width - len(row))) for row in rows]))
    if args.out:
        report.save("large_text", {"runs": found, "more": more}, args.out)
    return None


_COLUMNS = {"bytes": MB, "peak": MB, "anonymous": MB, "seconds": 1}


def measure(size: int, share: float) -> dict[str, float]:
    """Memory and seconds of a training with a text of so many bytes."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_text(folder / "text.txt", size)
        text, run = folder / "text.txt", folder / "run"
        config = folder / "config.toml"
        config.write_text(CONFIG.format(path=text, run=run, share=share))
        command = [sys.executable, "-m", "benchmarks.large_text", "--child", config]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return {"bytes": size} | json.loads(out.stdout.splitlines()[-1])


def write_text(path: Path, size: int) -> None:
    """A text of ``size`` bytes: random words of a vocabulary of 50,000."""
    rng, written = np.random.default_rng(0), 0
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    words = ["".join(rng.choice(letters, rng.integers(1, 12))) for _ in range(50_000)]
    with path.open("w") as file:
        while written < size:
            picked = rng.integers(0, len(words), 100_000)
            lines = [
                " ".join(words[i] for i in picked[at : at + 12])
                for at in range(0, len(picked), 12)
            ]
            text = "\n".join([*lines, ""])[: size - written]
            file.write(text)
            written += len(text)


def _child(config):
    from lstm_jax.cli import main as cli

    largest, over, start = [0], threading.Event(), time.perf_counter()

    def watch():
        while not over.wait(0.01):
            largest[0] = max(largest[0], _anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    status = cli(["train", str(config)])
    over.set()
    thread.join()
    if status:
        raise SystemExit(status)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.perf_counter() - start
    print(json.dumps({"peak": peak, "anonymous": largest[0], "seconds": seconds}))


def _anonymous():
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
