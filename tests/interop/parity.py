"""How far we and a peer are from float64, on a random configuration."""

import contextlib
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.interop import stack_of
from tests import cells, reference
from tests.core import test_cell_oracles as oracles
from tests.interop.peers import Config, Peer, by_layer, flat

STEPS = {
    "LSTMParams": reference.lstm_step,
    "PeepholeLSTMParams": oracles.peephole_step,
    "LSTMPParams": oracles.projection_step,
    "LayerNormLSTMParams": oracles.layer_norm_step,
    "CIFGLSTMParams": oracles.cifg_step,
    "GRUParams": oracles.gru_step,
    "ResetBeforeGRUParams": oracles.reset_before_gru_step,
}
"""One step of each in numpy, in float64."""

FLOOR = 2e-6
"""An error that anyone may have in float32."""


class Errors(NamedTuple):
    ours: float
    theirs: float

    @property
    def share(self):
        """Of what is allowed: ours against twice theirs, or `FLOOR`."""
        return self.ours / max(FLOOR, 2 * self.theirs)


@functools.partial(jax.jit, static_argnums=0)
def run_ours(stack, params, carries, xs):
    return stack(params, carries, xs)


def errors(peer: Peer, config: Config):
    """Both errors, and what the peer built."""
    with _as_they_like():
        built = peer.build(config)
    stack = stack_of(built.params)
    config = config._replace(layers=len(built.params), two_ways=stack.bidirectional)
    rng = np.random.default_rng(config.seed)
    xs = rng.normal(size=(config.T, config.B, config.D)).astype(np.float32)
    draw = lambda a: rng.uniform(-1, 1, a.shape).astype(np.float32)
    carries = stack.zero_carry(config.D, (config.B,), jnp.float32)
    carries = jax.tree.map(draw, carries)
    exact = run_oracle(built.params, carries, xs, config)
    with _as_they_like():
        theirs = cells.largest_error(built.run(xs, carries), exact)
    ours = cells.largest_error(run_ours(stack, built.params, carries, xs), exact)
    return Errors(ours, theirs), built


@contextlib.contextmanager
def _as_they_like():
    """Settings of JAX that other libraries expect."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def run_oracle(params, carries, xs, config):
    final, states = [], flat(carries)
    step = STEPS[type(flat(params)[0]).__name__]
    for layer in range(config.layers):
        outputs = []
        for way in range(config.ways):
            n = layer * config.ways + way
            weights = jax.tree.leaves(flat(params)[n])
            state, hs = reference.forward(
                step, weights, states[n], xs, reverse=bool(way)
            )
            final.append(type(states[n])(*state))
            outputs.append(hs)
        xs = np.concatenate(outputs, axis=-1)
    return by_layer(final, config), xs
