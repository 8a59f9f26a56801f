"""Does every imported ONNX file compute the same as in onnxruntime?

    python -m benchmarks.onnx_differential [--quick] [--cases 1000] [--first SEED]

The files are random graphs with one to three recurrent layers, hand-built at opsets 7
to 26, and one in six from torch's two exporters. onnxruntime runs each graph at up to
three sizes and returns the inputs and outputs of its recurrent nodes. They are compared
with the imported layers and stack. Every eighth stack goes through ``lstm-jax import``
and ``load_stored``. A graph must agree to 5e-6, or be refused by name. A graph with
only harmless constructs must be imported.
"""

import argparse
import collections
import contextlib
import io
import re
import tempfile
import time
from pathlib import Path

from lstm_jax.bench import report
from lstm_jax.cli import main as command
from lstm_jax.interop import UnsupportedError, load_stored
from tests.interop.onnx_graphs import OTHERS, InvalidGraph, random_case
from tests.interop.onnx_runs import compare
from tests.interop.onnx_torch import OTHERS as TORCH_OTHERS
from tests.interop.onnx_torch import torch_case
from tests.interop.programs import BOUND


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    tally, reasons = collections.Counter(), collections.Counter()
    constructs: dict[str, collections.Counter] = {}
    finds, started = [], time.monotonic()
    done, seed = 0, args.first
    while done < args.cases:
        try:
            case = _case(seed)
            outcome = compare(
                case, seed, stack_of=by_command if seed % 8 == 0 else None
            )
        except InvalidGraph:
            tally["invalid, drawn again"] += 1
            seed += 1
            continue
        verdict = _verdict(case, outcome)
        tally[verdict] += 1
        for name in {name.strip() for name in case.constructs}:
            if not case.clear and name not in NOT_CLEAR:
                continue  # It is not what such a graph is refused for.
            constructs.setdefault(name, collections.Counter())[_short(verdict)] += 1
        if isinstance(outcome.stack, str):
            reasons[_reason(outcome.stack)] += 1
        if verdict in (DIFFERENT, OVER):
            finds.append((seed, verdict, outcome, case.constructs))
            print("FIND", *finds[-1], flush=True)
        done, seed = done + 1, seed + 1
        if done % 50 == 0:
            print(
                f"{done} in {time.monotonic() - started:.0f} s: {dict(tally)}",
                flush=True,
            )
    print(
        report.table([("graphs", ""), *((k, str(n)) for k, n in tally.most_common())])
    )
    print(
        report.table(
            [("refused", ""), *((k, str(n)) for k, n in reasons.most_common())]
        )
    )
    rows = [("construct", "equal", "one by one", "refused")]
    for name, count in sorted(constructs.items()):
        rows.append(
            (name, *(str(count[k]) for k in ("equal", "one by one", "refused")))
        )
    print(report.table(rows))
    return 1 if finds else 0


NOT_CLEAR = {*OTHERS, *TORCH_OTHERS, "computed", "of the last"}
DIFFERENT, OVER = "different", "refused, but harmless"


def _case(seed):
    if seed % 6:
        return random_case(seed)
    return torch_case(seed, dynamo=seed % 12 == 0)


def _verdict(case, outcome):
    if not outcome.worst <= BOUND:
        return DIFFERENT
    if isinstance(outcome.stack, float):
        return "equal as a stack"
    if isinstance(outcome.layers, float):
        apart = "direction" in outcome.stack or "reverse alone" in outcome.stack
        apart |= "lengths that differ" in outcome.stack
        return OVER if case.clear and not apart else "equal one by one, no stack"
    return OVER if case.clear else "refused"


def _short(verdict):
    if verdict.startswith("equal one"):
        return "one by one"
    return "equal" if verdict.startswith("equal") else "refused"


def _reason(said):
    """The same words for all names."""
    said = re.sub(r"'[^']*'|\bn_\d+\b|\bval_\d+|/\S+|node_\S+|\d+", "_", said)
    return said.split(";")[0][:110]


def by_command(data):
    """What ``lstm-jax import`` keeps of a file."""
    with tempfile.TemporaryDirectory() as folder:
        file, run = Path(folder) / "model.onnx", Path(folder) / "run"
        file.write_bytes(data)
        argv = ["import", str(file), "--layout", "onnx", "--out", str(run)]
        said = io.StringIO()
        with (
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            if command(argv) != 0:
                raise UnsupportedError(said.getvalue())
        return load_stored(run)


def _arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="30 graphs")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1, metavar="SEED")
    args = parser.parse_args(argv)
    args.cases = 30 if args.quick else args.cases
    return args


if __name__ == "__main__":
    raise SystemExit(main())
