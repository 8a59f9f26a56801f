"""What a model says of itself to other programs computes what the model does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax import GRUCell, LSTMCell, Stack
from lstm_jax.models.language_model import LanguageModel
from lstm_jax.models.sequence_reader import SequenceReader


def run(program, xs):
    inputs = {
        name: jnp.zeros([xs.shape[1] if n == "B" else n for n in shape], dtype)
        for name, dtype, shape in program.inputs[1:]
    }
    inputs[program.inputs[0].name] = xs
    return program(inputs | {"lengths": jnp.full(xs.shape[1], len(xs))})


@pytest.mark.parametrize("cell", [LSTMCell(5), GRUCell(5)], ids=["lstm", "gru"])
def test_sequence_reader(cell):
    model = SequenceReader(Stack([cell] * 2), 3, 2, rngs=nnx.Rngs(0))
    xs = jax.random.normal(jax.random.key(1), (6, 4, 3))
    outputs = run(model.program(), xs)["outputs"]
    np.testing.assert_allclose(outputs, model(xs), atol=1e-6)
    np.testing.assert_allclose(outputs[-1], model.last(xs), atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_language_model(tied):
    model = LanguageModel(
        9, embed_size=4, hidden_size=(5, 4), tied=tied, rngs=nnx.Rngs(0)
    )
    tokens = jax.random.randint(jax.random.key(1), (6, 4), 0, 9)
    _, logits = model(tokens)
    np.testing.assert_allclose(
        run(model.program(), tokens)["logits"], logits, atol=1e-6
    )
