"""A small language model, as a step and over whole sequences."""

from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from lstm_jax.nn import LSTM

V, H = 3, 5


class Model(NamedTuple):
    """An embedding, two layers of `lstm_jax.nn.LSTM` and a linear layer."""

    graph: Any
    params: Any

    def whole(self, tokens):
        """Logits ``[T, B, V]`` of tokens ``[T, B]``, from zeros."""
        return run(self.graph, self.params, None, tokens)[1]

    @property
    def step(self):
        return Partial(take_step, Partial(run, self.graph), self.params)

    def after(self, prompt, count=1):
        """Carry and logits after a prompt, for ``count`` samples of it."""
        tokens = np.tile(np.asarray(prompt, np.int32)[:, None], (1, count))
        carry, logits = run(self.graph, self.params, None, tokens)
        return carry, logits[-1]


def make(seed=0, size=3.0):
    """Weights of this size: 3 makes what comes next depend on all that came before."""
    normal = lambda key, shape, dtype=None: size * jax.random.normal(key, shape, dtype)
    rngs = nnx.Rngs(seed)
    model = nnx.Dict(
        embed=nnx.Embed(V, 4, embedding_init=normal, rngs=rngs),
        lstm=LSTM(
            4,
            H,
            num_layers=2,
            w_h=normal,
            time_major=True,
            return_carry=True,
            rngs=rngs,
        ),
        head=nnx.Linear(H, V, kernel_init=normal, rngs=rngs),
    )
    return Model(*nnx.split(model))


@jax.jit(static_argnums=0)
def run(graph, params, carry, tokens):
    model = nnx.merge(graph, params)
    carry, hs = model.lstm(model.embed(tokens), carry)
    return carry, model.head(hs)


def take_step(run, params, carry, tokens):
    carry, logits = run(params, carry, tokens[None])
    return carry, logits[0]


def continuation_nats(model, prompt, continuations):
    """Log-probabilities ``[N, L]`` of the tokens of ``[N, L]`` after a prompt."""
    continuations = np.asarray(continuations)
    prompts = np.tile(np.asarray(prompt, np.int32), (len(continuations), 1))
    rows = np.concatenate([prompts, continuations], axis=1).astype(np.int32)
    logits = np.asarray(model.whole(rows.T), np.float64)[len(prompt) - 1 : -1]
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(log_p, continuations.T[..., None], -1)[..., 0].T
