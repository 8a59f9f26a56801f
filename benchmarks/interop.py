"""Do converted weights give the outputs of their framework?

    python -m benchmarks.interop [--only PART] [--configs 50]

For every framework there are random configurations (layers, directions, sizes,
lengths), with weights U(-1/sqrt(H), 1/sqrt(H)), biases U(-1, 1) and states U(-1, 1).
Both libraries run in float32 and are compared with the equations in float64. Our error
may be twice the error of the framework, or 2e-6. If a framework cannot run, a numpy
version of its source code replaces it, and the table says so. TensorFlow's own
operators run if it can be imported. ``--only`` selects the frameworks with PART in
their names and keeps the other rows.

``--only`` takes the frameworks with PART in their names and keeps the other rows.
"""

import argparse
import importlib.metadata
import json
import os
import warnings
from pathlib import Path

import numpy as np

from benchmarks import RESULTS
from lstm_jax.bench import report
from lstm_jax.interop import InteropError
from tests.interop.parity import errors
from tests.interop.peers import config
from tests.interop.table import PEERS, with_tensorflow

DISTRIBUTIONS = {
    "torch": "torch",
    "keras": "keras",
    "flax": "flax",
    "haiku": "dm-haiku",
    "equinox": "equinox",
    "jax": "jax",
    "ONNX": "onnxruntime",
    "TF": "tensorflow-cpu",
}


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    os.environ.setdefault("KERAS_BACKEND", "jax")
    warnings.filterwarnings("ignore", message="LSTM with projections")
    peers = {**PEERS, **with_tensorflow()}
    found = _before(args.out)
    for name, peer in peers.items():
        if args.only in name:
            found[name] = sweep(name, peer, args.configs)
            print(name, found[name], flush=True)
    print(table(found))
    rows = {name: found[name] for name in peers if name in found}
    print("written:", report.save("interop", {"frameworks": rows}, args.out))


def sweep(name, peer, configs):
    """The worst of many configurations."""
    pairs, refused = [], []
    for seed in range(configs):
        try:
            pairs.append(errors(peer, config(seed))[0])
        except InteropError as error:
            refused.append(str(error))
    shares = [pair.share for pair in pairs]
    return {
        "ran": ran(name, peer),
        "configs": configs,
        "passed": int(np.sum(np.array(shares) <= 1)),
        "refused": refused,
        "largest_share_of_allowed": float(max(shares)),
        "largest_error": float(max(pair.ours for pair in pairs)),
        "largest_error_of_theirs": float(max(pair.theirs for pair in pairs)),
    }


def ran(name, peer):
    if peer.transcription:
        return "a transcription in numpy"
    package = next(d for start, d in DISTRIBUTIONS.items() if name.startswith(start))
    return f"{package} {importlib.metadata.version(package)}"


def table(found):
    rows = [("", "ran", "passed", "error / allowed", "our error", "theirs")]
    for name, row in found.items():
        rows.append(
            (
                name,
                row["ran"],
                f"{row['passed']}/{row['configs']}",
                f"{row['largest_share_of_allowed']:.2f}",
                f"{row['largest_error']:.1e}",
                f"{row['largest_error_of_theirs']:.1e}",
            )
        )
    return report.table(rows)


def _before(folder):
    """Rows of a run before, for those that this one leaves out."""
    path = folder / "interop-cpu.json"
    if not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))["frameworks"]


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interop")
    add = parser.add_argument
    add("--only", default="", help="frameworks with this in their names")
    add("--configs", type=int, default=50, help="configurations of each (50)")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
