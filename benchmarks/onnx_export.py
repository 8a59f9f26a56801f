"""Do exported ONNX files give our outputs, and run as fast as torch's own export?

    python -m benchmarks.onnx_export [--quick]

Numbers: random stacks of LSTM, peephole and CIFG layers (sizes to 128, to 3 layers, one
or two directions, all merges and skips, activations, with and without embedding, linear
layer, lengths and carry; weights U(-1/sqrt(H), 1/sqrt(H))), one file each, run by
onnxruntime at three sizes and compared with this package.

Speed: a language model (two layers of 200, vocabulary 10,000, carry in and out) written
by us and by ``torch.onnx.export``, each run by onnxruntime in a process of its own,
taking turns. Torch's exporter is the one through TorchScript: its file has the fewer
nodes, and dynamic axes.
"""

import argparse
import functools
import tempfile
import warnings
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from benchmarks import RESULTS
from lstm_jax.bench import report, timing
from lstm_jax.bench.workers import Worker
from lstm_jax.interop import to_onnx
from lstm_jax.models.language_model import LanguageModel
from tests.interop import programs

VOCABULARY, SIZE, LAYERS = 10_000, 200, 2
CASES = [(35, 20), (128, 1), (64, 32), (1, 1)]
"""``(T, B)``; the first is the training shape of the language model."""


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    numbers = compare(args.models)
    worst = max(model["error"] for model in numbers)
    print(f"{len(numbers)} models, {len(programs.SIZES)} sizes each: largest error")
    print(f"  {worst:.2e}, allowed {programs.BOUND:.0e}")
    speed = race(args.repeats, args.budget)
    rows = [("T, B", "ours, ms", "torch, ms", "ours / torch", "with lengths / torch")]
    for case in speed:
        label, ours, torch = case["case"], case["ours_ms"], case["torch_ms"]
        times = (f"{ours:.3f}", f"{torch:.3f}")
        rows.append((label, *times, case["ratio"], case["ratio_with_lengths"]))
    print(report.table(rows))
    results = {"bound": programs.BOUND, "worst": worst, "sizes": programs.SIZES}
    model = f"{LAYERS} layers of {SIZE}, vocabulary {VOCABULARY}"
    results |= {"models": numbers, "language_model": model, "speed": speed}
    print("written:", report.save("onnx", results, args.out))


# Numbers


def compare(count):
    """The largest error of every model; nodes other than one a layer are an error."""
    found = []
    for seed in range(count):
        program = programs.random_program(seed)
        model = to_onnx(program)
        nodes = programs.nodes_of(model)
        assert nodes.count("LSTM") == len(program.layers), nodes
        assert not {"Loop", "Scan", "If"} & set(nodes), nodes
        session = programs.session_of(model)
        errors = [difference(program, session, T, B) for T, B in programs.SIZES]
        cells = [
            f"{type(a.cell).__name__}({a.cell.hidden_size})" for a in program.layers
        ]
        found.append({"seed": seed, "cells": cells, "error": max(errors)})
        jax.clear_caches()
    return found


def difference(program, session, T, B):
    inputs = programs.random_inputs(program, T, B)
    got = programs.run_session(session, inputs)
    return programs.largest_difference(got, programs.run_program(program, inputs))


# Speed


def race(repeats, budget):
    model = LanguageModel(
        VOCABULARY,
        embed_size=SIZE,
        hidden_size=SIZE,
        num_layers=LAYERS,
        rngs=nnx.Rngs(0),
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: Path(folder, f"{name}.onnx") for name in ("ours", "full", "torch")
        }
        write = lambda name, lengths: paths[name].write_bytes(
            to_onnx(model.program(lengths=lengths)).SerializeToString()
        )
        write("ours", False), write("full", True)
        export_torch(model, paths["torch"])
        crew = {
            name: Worker(name, functools.partial(build, p)) for name, p in paths.items()
        }
        found = [compete(crew, T, B, repeats, budget) for T, B in CASES]
        for worker in crew.values():
            worker.close()
    return found


def build(path, T, B):
    """The call that runs a file at a size, and its logits, for comparison."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed, rng = {}, np.random.default_rng(0)
    for value in session.get_inputs():
        if value.name == "lengths":
            feed[value.name] = np.full(B, T, np.int32)
        elif value.name == "tokens":
            dtype = np.int64 if "64" in value.type else np.int32
            feed[value.name] = rng.integers(0, VOCABULARY, (T, B)).astype(dtype)
        else:
            feed[value.name] = np.zeros((value.shape[0], B, SIZE), np.float32)
    run = lambda: session.run(None, feed)
    return {"run": run}, run()[0]


def compete(crew, T, B, repeats, budget):
    logits = {name: worker.build(T, B) for name, worker in crew.items()}
    for name in ("ours", "full"):
        np.testing.assert_allclose(logits[name], logits["torch"], atol=1e-4)
    clocks = {name: worker.clock("run") for name, worker in crew.items()}
    times = timing.take_turns(clocks, repeats, budget=budget)
    milliseconds = lambda name: 1e3 * float(np.median(times[name]))
    return {
        "case": f"{T}, {B}",
        "rounds": len(times["ours"]),
        "ours_ms": milliseconds("ours"),
        "torch_ms": milliseconds("torch"),
        "ratio": timing.paired_ratio(times["ours"], times["torch"]),
        "ratio_with_lengths": timing.paired_ratio(times["full"], times["torch"]),
    }


def export_torch(model, path):
    """The same model with the same weights, by torch's own means."""
    import torch

    class TorchModel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(VOCABULARY, SIZE)
            self.lstm = torch.nn.LSTM(SIZE, SIZE, LAYERS)
            self.head = torch.nn.Linear(SIZE, VOCABULARY)

        def forward(self, tokens, h, c):
            hs, (h, c) = self.lstm(self.embed(tokens), (h, c))
            return self.head(hs), h, c

    twin, tensor = TorchModel().eval(), lambda a: torch.tensor(np.asarray(a))
    weights = {
        "embed.weight": model.embed.embedding[...],
        "head.weight": model.head.kernel[...].T,
        "head.bias": model.head.bias[...],
    }
    for n, params in enumerate(model.lstm.params):
        weights |= {
            f"lstm.weight_ih_l{n}": params.w_x.T,
            f"lstm.bias_ih_l{n}": params.b,
        }
        weights |= {f"lstm.weight_hh_l{n}": params.w_h.T}
        weights |= {f"lstm.bias_hh_l{n}": np.zeros_like(params.b)}
    twin.load_state_dict({name: tensor(a) for name, a in weights.items()})
    state = torch.zeros(LAYERS, 2, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It is deprecated; see the head of this file.
        torch.onnx.export(
            twin,
            (torch.zeros(3, 2, dtype=torch.long), state, state),
            path,
            input_names=["tokens", "h", "c"],
            output_names=["logits", "h_out", "c_out"],
            dynamic_axes={"tokens": {0: "T", 1: "B"}, "h": {1: "B"}, "c": {1: "B"}},
            opset_version=17,
            dynamo=False,
        )


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx_export")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 models, 5 rounds")
    add("--models", type=int, help="random models (50)")
    add("--repeats", type=int, help="rounds (31)")
    add("--budget", type=float, default=30.0, help="seconds a size; then 15 suffice")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    args.models = args.models or (5 if args.quick else 50)
    args.repeats = args.repeats or (5 if args.quick else 31)
    return args


if __name__ == "__main__":
    main()
