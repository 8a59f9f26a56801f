"""``lstm-jax bench``: the table for the machine of whoever asks, in a minute."""

import argparse
import difflib
import json
from collections.abc import Sequence

import jax

from lstm_jax.bench import machine, one_layer, race
from lstm_jax.bench.as_json import Results, results
from lstm_jax.bench.shapes import SHORT

PACE = race.Pace(repeats=15, budget=2.0, at_least=5)
WAYS = (one_layer.OURS, one_layer.SCAN)
PEERS = ("nnx Optimized", "haiku", "keras", "torch", "onnxruntime")
"""Those nearest to us, for the others take as long to start."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(one_layer.LIBRARIES)
    parser.add_argument(
        "--shape",
        dest="shapes",
        type=_shape,
        action="append",
        metavar="B,T,D,H",
        help="rows, steps, inputs and hidden units; several times for several",
    )
    parser.add_argument(
        "--peers", type=_peers, default=PEERS, help=f"separated by commas, of {names}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--schema",
        action="store_true",
        help="print the JSON Schema and exit",
    )


def run(
    shapes: Sequence[tuple[int, ...]] | None,
    peers: Sequence[str],
    as_json: bool = False,
) -> None:
    """Measures and prints every row, the summary, and who is missing and why.

    Args:
        shapes: ``(B, T, D, H)`` of every case; ``None``: those of a short run.
        peers: the libraries to compare with.
        as_json: print `lstm_jax.bench.as_json.Results` instead.

    Raises:
        BenchError: a library computes something else, fails, or its process ends.
    """
    where = machine.environment()
    if as_json:
        print(_json(where, shapes, peers))
        return
    device = where["cpu"] if where["backend"] == "cpu" else where["device"]
    print(f"{device}, {where['cores']} cores, JAX {jax.__version__}", flush=True)
    print(f"native kernel: {where['native']}", end="\n\n", flush=True)
    rows, missing = [], {}
    for row, absent in one_layer.rows_of(shapes or SHORT, peers, PACE, WAYS):
        rows.append(row)
        missing |= absent
        print(one_layer.show(row), end="\n\n", flush=True)
    means = {mode: one_layer.means_of(rows, mode) for mode in one_layer.MODES}
    print(one_layer.summary(rows, means))
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    if missing.keys() & set(peers):
        print("libraries to compare with come with: pip install 'lstm-jax[bench]'")


def _json(where, shapes, peers):
    rows, missing = [], {}
    for row, absent in one_layer.rows_of(shapes or SHORT, peers, PACE, WAYS):
        rows.append(row)
        missing |= absent
    means = {mode: one_layer.means_of(rows, mode) for mode in one_layer.MODES}
    return results(where, rows, means, missing).model_dump_json(indent=2)


def print_schema() -> None:
    """Prints the JSON Schema of the results."""
    print(json.dumps(Results.model_json_schema(), indent=2))


def _shape(text):
    try:
        shape = tuple(map(int, text.split(",")))
    except ValueError:
        shape = ()
    if len(shape) != 4 or min(shape) < 1:
        raise argparse.ArgumentTypeError(
            f"is {text!r}, expected four numbers from 1 up, such as 32,128,128,128"
        )
    return shape


def _peers(text):
    for name in (names := text.split(",")):
        if name not in one_layer.LIBRARIES:
            near = difflib.get_close_matches(name, one_layer.LIBRARIES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(one_layer.LIBRARIES)
            raise argparse.ArgumentTypeError(f"has {name!r}, expected {known}{hint}")
    return tuple(names)
