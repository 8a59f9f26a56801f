"""The shapes that annotations promise are the shapes that arrive."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

HOOK = """
import jax, jax.numpy as jnp, numpy as np
import jaxtyping
jaxtyping.install_import_hook("lstm_jax", "beartype.beartype")
import lstm_jax
from lstm_jax import ConvLSTMCell, LSTMCell, RNNCell, init_lstm, init_lstm_stack
from lstm_jax import lstm, lstm_stack, lstm_step, unroll

T, B, D, H = 6, 3, 4, 5
key = jax.random.key(0)
params = init_lstm(key, D, H)
xs = jnp.ones((T, B, D))
mask = jnp.arange(T)[:, None] < jnp.array([0, 1, T])
"""

TOUR = """
for batch in ((), (B,), (2, B)):
    carry, h = lstm_step(params, None, jnp.ones((*batch, D)))
    carry, h = lstm_step(params, carry, jnp.ones((*batch, D)))
    lstm(params, carry, jnp.ones((T, *batch, D)))
carry, _ = lstm(params, None, xs)
for dtype in (jnp.float32, jnp.bfloat16):
    lstm(params, None, xs, dtype=dtype)
for lengths in ([0, 1, T], (0, 1, T), np.array([0, 1, T]), jnp.array([0, 1, T])):
    lstm(params, carry, xs, lengths=lengths)
lstm(params, carry, xs, reverse=True, implementation="plain")
lstm(params, None, xs[:, 0], lengths=3)
lstm(params, carry, xs, mask=mask, resets=~mask, reset_carry=carry)

layers = init_lstm_stack(key, D, H, num_layers=2, bidirectional=True)
carries, _ = lstm_stack(layers, None, xs, lengths=jnp.array([0, 1, T]))
lstm_stack(layers, carries, xs, dropout=0.5, key=key, start=jnp.int32(3))
lstm_stack(layers, list(carries), xs, dropout=0.5, key=key, start=3)

for cell in (LSTMCell(H), RNNCell(H)):
    cell_params = cell.init(key, D)
    loss = lambda p, xs: unroll(cell, p, None, xs)[1].sum()
    one = lambda x: loss(cell_params, x)
    jax.vmap(one, 1)(xs)
    jax.jit(jax.grad(loss))(cell_params, xs)
    jax.vmap(jax.grad(one), 1)(xs)
    jax.jvp(jax.grad(loss), (cell_params, xs), (cell_params, xs))
    jax.eval_shape(jax.checkpoint(loss), cell_params, xs)
cell = ConvLSTMCell(H, kernel=(3,))
images, cell_params = jnp.ones((T, B, 7, D)), cell.init(key, D)
carry, _ = unroll(cell, cell_params, None, images, lengths=jnp.array([0, 1, T]))
unroll(cell, cell_params, carry, images, mask=mask, resets=~mask)
stacked = jax.vmap(lambda key: init_lstm(key, D, H))(jax.random.split(key, 2))
jax.vmap(lambda p: lstm(p, None, xs))(stacked)
lstm_jax.init_lstm(key, D, H, forget_bias=lstm_jax.init.chrono(50))
for hs in (lstm_jax.dropout(key, xs, 0.5), lstm_jax.variational_dropout(key, xs, 0.5)):
    lstm_jax.activation_penalty(hs, mask=mask)
    lstm_jax.temporal_activation_penalty(hs, mask=mask, resets=~mask)
lstm_jax.embedding_dropout(key, jnp.ones((9, D)), 0.5)
gates = params.to_gates()
lstm_jax.LSTMParams.from_gates(**gates)
lstm_jax.LSTMParams.from_gates(**{k: np.asarray(v) for k, v in gates.items()})

from flax import nnx
from lstm_jax.models.classifier import ClassifierConfig
from lstm_jax.models.encoder import Standardisation, Tokens
from lstm_jax.models.tagger import TaggerConfig

inputs, C = Standardisation((0.0,) * D, (1.0,) * D), 3
for pooling in ("last", "mean", "max", "attention"):
    config = ClassifierConfig(hidden_size=H, pooling=pooling, bidirectional=True)
    model = config.build(inputs, C, T, nnx.Rngs(0))
    model.loss(xs, jnp.zeros(B, int), lengths=[0, 1, T])
    model.loss(xs[:, 0], jnp.array(0), weights=jnp.array(1.0))
for crf in (False, True):
    model = TaggerConfig(hidden_size=H, crf=crf).build(Tokens(C), C, T, nnx.Rngs(0))
    tokens = jnp.zeros((T, B), int)
    model.loss(tokens, tokens, lengths=[0, 1, T], weights=jnp.ones(B))
    model.decode(tokens[:, 0], lengths=3)
print("toured")
"""

WRONG = """
from lstm_jax.core.recurrence.sequence import length_mask
try:
    length_mask(jnp.ones(3, bool), "six")
except jaxtyping.TypeCheckError:
    print("checked")
"""


@pytest.mark.parametrize(
    ("script", "said"), [(TOUR, "toured"), (WRONG, "checked")], ids=["tour", "wrong"]
)
def test_annotations_hold(script, said):
    command = [sys.executable, "-c", HOOK + script]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert said in run.stdout
