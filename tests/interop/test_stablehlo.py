"""StableHLO in a process that never sees this package."""

import re
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import GRUCell, LSTMCell, LSTMPCell, Stack
from lstm_jax.core.recurrence.chunks import chunk_length
from lstm_jax.interop import Embed, Layers, Linear, Program, to_stablehlo
from tests.interop import programs

FRESH = """
import json, sys
import jax, jax.export, numpy as np
folder, *sizes = sys.argv[1:]
read = lambda name: jax.export.deserialize(open(f"{folder}/{name}", "rb").read())
plain, differentiable = read("plain"), read("differentiable")
weights = dict(np.load(f"{folder}/weights.npz"))
for size in sizes:
    inputs = dict(np.load(f"{folder}/{size}.npz"))
    outputs = plain.call(inputs)
    loss = lambda w: (differentiable.call(w, inputs)["outputs"] ** 2).sum()
    gradient = jax.grad(loss)(weights)
    np.savez(f"{folder}/{size}-done.npz", **outputs)
    np.savez(f"{folder}/{size}-gradient.npz", **gradient)
assert not [name for name in sys.modules if name.startswith("lstm_jax")]
assert plain.platforms == ("cpu", "cuda", "tpu")
"""


def whole_program():
    rng = np.random.default_rng(0)
    stack = Stack([LSTMCell(4), LSTMCell(4)], bidirectional=True)
    table = rng.normal(size=(11, 3)).astype(np.float32)
    w, b = programs.uniform(rng, (np.zeros((8, 5)), np.zeros(5)), 4)
    recurrent = Layers(stack, programs.stack_params(rng, stack, 3))
    return Program([Embed(table), recurrent, Linear(w, b)], batch_first=True)


def test_a_fresh_process_gives_the_same_numbers_and_gradients(tmp_path):
    program = whole_program()
    (tmp_path / "plain").write_bytes(to_stablehlo(program))
    (tmp_path / "differentiable").write_bytes(to_stablehlo(program, gradients=True))
    np.savez(tmp_path / "weights.npz", **program.weights)
    sizes = {
        f"{T}x{B}": programs.random_inputs(program, T, B) for T, B in [(7, 3), (1, 1)]
    }
    for size, inputs in sizes.items():
        np.savez(tmp_path / f"{size}.npz", **inputs)
    command = [sys.executable, "-c", FRESH, str(tmp_path), *sizes]
    # In a folder without this package, as wherever the file is used.
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    for size, inputs in sizes.items():
        got = dict(np.load(tmp_path / f"{size}-done.npz"))
        want = programs.run_program(program, inputs)
        assert programs.largest_difference(got, want) <= 1e-6
        got = dict(np.load(tmp_path / f"{size}-gradient.npz"))
        want = gradient_of(program, inputs)
        assert programs.largest_difference(got, want) <= 2e-5


def gradient_of(program, inputs):
    inputs = {name: jnp.asarray(a) for name, a in inputs.items()}

    @jax.jit
    @jax.grad
    def gradient(weights):
        outputs = program.with_weights(weights)(inputs, implementation="scan")
        return (outputs["outputs"] ** 2).sum()

    return {name: np.asarray(a) for name, a in gradient(program.weights).items()}


@pytest.mark.parametrize("cell", [LSTMPCell(4, 2), GRUCell(4)])
def test_cells_that_onnx_lacks_too(cell):
    stack = Stack([cell], skip="dense")
    params = programs.stack_params(np.random.default_rng(0), stack, 3)
    program = Program([Layers(stack, params)])
    exported = jax.export.deserialize(to_stablehlo(program, platforms=["cpu"]))
    inputs = programs.random_inputs(program, 5, 3)
    got = {name: np.asarray(a) for name, a in exported.call(inputs).items()}
    assert (
        programs.largest_difference(got, programs.run_program(program, inputs)) < 1e-6
    )


def test_there_is_no_custom_call_in_it():
    exported = jax.export.deserialize(to_stablehlo(whole_program()))
    called = set(re.findall(r"custom_call @(\w+)", exported.mlir_module()))
    assert called <= {"shape_assertion"}, "that is how JAX checks symbolic shapes"
    assert exported.disabled_safety_checks == ()


def test_weights_go_in_by_name():
    program = whole_program()
    twice = {name: 2 * a for name, a in program.weights.items()}
    assert program.with_weights(twice).weights.keys() == twice.keys()
    twice.pop("2.b")
    with pytest.raises(ValueError, match=r"weights lack or have in excess 2\.b"):
        program.with_weights(twice)


def test_an_unknown_platform():
    with pytest.raises(ValueError, match="did you mean 'cuda'"):
        to_stablehlo(whole_program(), platforms=["cudaa"])
    with pytest.raises(ValueError, match="platforms is empty"):
        to_stablehlo(whole_program(), platforms=[])


def test_chunks_of_an_unknown_number_of_steps():
    T, B = jax.export.symbolic_shape("T, B")
    xs = jax.ShapeDtypeStruct((T, B, 3), jnp.float32)
    assert chunk_length(xs, LSTMCell(4), remat=False) is None
    with pytest.raises(NotImplementedError, match="symbolic shape"):
        chunk_length(xs, LSTMCell(4), remat=True)
