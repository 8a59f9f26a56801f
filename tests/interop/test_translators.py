"""A translator outside of this package: its files against the numbers of the model."""

import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import numpy as np
import onnx
import pytest
from flax import nnx

from lstm_jax.cli import main
from lstm_jax.interop import to_onnx, to_stablehlo
from lstm_jax.models.functional import Functional
from lstm_jax.models.translation import TranslatorConfig
from lstm_jax.runs.load import best_of
from lstm_jax.tasks.translating import BeamOptions
from lstm_jax.tasks.translation_export import DecoderFunction, EncoderFunction
from tests.interop import programs

pytestmark = pytest.mark.usefixtures("optax_promotion")

EXAMPLE = Path(__file__).parents[2] / "examples" / "translate_onnx.py"
TOKENS, BOUND = 11, 5e-6
MODELS = {
    "heads, tied": dict(heads=2, num_layers=2, tied="both"),
    "coverage": dict(attention="additive", coverage=True),
    "dot, nothing fed": dict(attention="dot", input_feeding=False, tied="target"),
}

TINY = """
task = "translation"
[data]
source = "{folder}/source"
target = "{folder}/target"
tokens = "words"
[model]
embed_size = 8
hidden_size = 8
[train]
steps = 2
batch_size = 8
buckets = 1
evaluate_every = 2
checkpoint_every = 2
[evaluation]
bleu = false
[run]
directory = "{folder}/run"
"""


def functions_of(batch_first=False, **sizes):
    """Encoder and decoder with random weights, biases among them."""
    config = TranslatorConfig(embed_size=8, hidden_size=8, **sizes)
    model = Functional(lambda key: config.build(TOKENS, TOKENS, nnx.Rngs(key)))
    params = programs.uniform(np.random.default_rng(0), model.shapes, 1.0)
    encoder = EncoderFunction(model, params, batch_first)
    return encoder, DecoderFunction(model, params)


def largest_differences(functions, runs, B, S, width, steps=5):
    """Of the encoder, and of ``steps`` of the decoder, which feed their own state."""
    rng, (encoder, decoder) = np.random.default_rng(S), functions
    lengths = rng.integers(1, S + 1, B).astype(np.int32)
    lengths[0] = S
    tokens = rng.integers(0, TOKENS, (S, B)).astype(np.int32)
    tokens[np.arange(S)[:, None] >= lengths] = 99  # the padding is not read
    inputs = {"tokens": tokens.T if encoder.batch_first else tokens}
    inputs["lengths"] = lengths
    want, got = programs.run_program(encoder, inputs), runs[0](inputs)
    yield programs.largest_difference(got, want)
    names = [spec.name for spec in decoder.inputs[1:]]
    assert names == [spec.name for spec in encoder.outputs]
    memory = {k: got.pop(k) for k in ("keys", "values", "bias") if k in got}
    step = jax.jit(decoder)
    got = {name: np.repeat(a, width, axis=0) for name, a in got.items()}
    want = {name: np.repeat(want[name], width, axis=0) for name in got}
    for _ in range(steps):
        read = memory | {"tokens": rng.integers(0, TOKENS, B * width).astype(np.int32)}
        said = {k: np.asarray(a) for k, a in step(read | want).items()}
        out = runs[1](read | got)
        yield programs.largest_difference(out, said)
        want = {name: said[f"{name}_out"] for name in want}
        got = {name: out[f"{name}_out"] for name in got}


@pytest.mark.parametrize("sizes", MODELS.values(), ids=MODELS)
def test_onnxruntime_gives_the_numbers_of_the_model(sizes):
    functions = functions_of(batch_first="heads" in sizes, **sizes)
    models = [to_onnx(function) for function in functions]
    for model, function in zip(models, functions, strict=True):
        nodes = programs.nodes_of(model)
        layers = function.translator.config.num_layers
        assert nodes.count("LSTM") == layers
        assert not {"Loop", "Scan", "If"} & set(nodes)
    tables = [w for w in models[1].graph.initializer if TOKENS in w.dims]
    bias = [w for w in tables if len(w.dims) == 1]
    tied = functions[1].translator.config.tied != "none"
    assert len(tables) - len(bias) == (1 if tied else 2)
    runs = [
        functools.partial(programs.run_session, programs.session_of(model))
        for model in models
    ]
    for B, S, width in [(3, 7, 2), (1, 1, 1)]:
        found = [*largest_differences(functions, runs, B, S, width)]
        assert max(found) <= BOUND, found


def test_stablehlo_gives_the_numbers_of_the_model():
    functions = functions_of(**MODELS["coverage"])
    runs = []
    for function in functions:
        data = to_stablehlo(function, platforms=["cpu"])
        call = jax.export.deserialize(bytearray(data)).call
        runs.append(lambda inputs, call=call: jax.tree.map(np.asarray, call(inputs)))
    found = [*largest_differences(functions, runs, 3, 7, 2, steps=2)]
    assert max(found) <= BOUND, found


# The command


@pytest.fixture(scope="module")
def run(optax_promotion, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    drawn = ["".join(rng.choice(list("abcd  "), 9)).strip() or "a" for _ in range(40)]
    (folder / "source").write_text("".join(f"{s}\n" for s in drawn))
    (folder / "target").write_text("".join(f"{s[::-1]}\n" for s in drawn))
    (folder / "tiny.toml").write_text(TINY.format(folder=folder))
    assert main(["train", str(folder / "tiny.toml")]) == 0
    return folder / "run"


def test_the_example_translates_as_the_task(run, tmp_path):
    """With random weights, whose translations differ more than those of two steps."""
    _, task, params = best_of(run)
    params = programs.uniform(np.random.default_rng(1), params, 1.0)
    folder = task.folder(params)
    for name, function in folder.functions.items():
        onnx.save(to_onnx(function), tmp_path / f"{name}.onnx")
    for name, text in folder.files.items():
        (tmp_path / name).write_text(text)
    lines = ["ab cd a", "", "dddd", "abc b a c", "unheard ab", *["ca db a b"] * 30]
    alone = (
        "import runpy, sys; sys.modules |= dict.fromkeys(['jax', 'lstm_jax']); "
        "del sys.argv[0]; runpy.run_path(sys.argv[0])"
    )
    for width in 1, 4:
        found = task.translate([params], lines, BeamOptions(width))
        command = [sys.executable, "-c", alone, EXAMPLE, tmp_path, width]
        done = subprocess.run(
            [*map(str, command)],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            check=True,
        )
        said = done.stdout.splitlines()
        assert said == [best.text for best, *_ in found]
        assert len(set(said)) > 3


def test_what_is_written_and_what_is_refused(run, tmp_path, capsys):
    exported, new = tmp_path / "translator", tmp_path / "new"
    assert main(["export", str(run), "--format", "onnx", "--out", str(exported)]) == 0
    names = {"encoder.onnx", "decoder.onnx", "vocabulary.json"}
    names |= {f"{side}.tokenizer.json" for side in ("source", "target")}
    assert {path.name for path in exported.iterdir()} == names
    _, task, params = best_of(run)
    decoder = task.folder(params).functions["decoder"]
    assert onnx.load(exported / "decoder.onnx") == to_onnx(decoder)
    before = (exported / "decoder.onnx").read_bytes()
    for out, form, more, error in [
        (exported, "onnx", [], "already exists"),
        (new, "npz", [], "has the parts encoder and decoder"),
        (
            new,
            "stablehlo",
            ["--gradients"],
            "--gradients is not for a model of several",
        ),
        (new, "stablehlo", ["--opset", "18"], "--opset is for onnx"),
        (new, "onnx", ["--prefix", "a"], "--prefix and --layout are for tensors"),
        (new, "onnx", ["--opset", "9"], "opset is 9"),
        (new / "a", "onnx", [], "cannot be written"),
    ]:
        argv = ["export", run, "--format", form, "--out", out, *more]
        capsys.readouterr()
        assert main([*map(str, argv)]) == 2
        said = capsys.readouterr().err
        assert error in said
        assert said.startswith("lstm-jax: ")
        assert said.count("\n") == 1
    assert not new.exists()
    assert (exported / "decoder.onnx").read_bytes() == before
