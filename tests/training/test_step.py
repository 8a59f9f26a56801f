"""The randomness of a step is a function of the seed and of the step alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lstm_jax.training.metrics import Aux
from lstm_jax.training.step import init_state, make_block, stack_seeds

pytestmark = pytest.mark.usefixtures("optax_promotion")

OPTIMIZER = optax.with_extra_args_support(optax.sgd(0.0))


def loss(params, carry, batch, key):
    """What was drawn for the data, and what for the step."""
    value = params["p"] * 0 + batch + 10 * jax.random.uniform(key)
    return value, Aux(carry)


def batch_at(data, carry, step, key):
    return jnp.floor(100 * jax.random.uniform(key)) + data * 0, carry


def start(seed):
    return init_state({"p": jnp.zeros(())}, (), OPTIMIZER, jax.random.key(seed))


def drawn(state, cuts, seeds=1):
    block = make_block(loss, OPTIMIZER, batch_at, 8, seeds=seeds)
    losses = []
    for n in cuts:
        state, values = block(state, jnp.zeros(()), n)
        losses += [*np.asarray(values["loss"])[:n, ..., 0]]
    return np.array(losses)


def test_every_step_draws_anew_however_they_are_cut():
    whole = drawn(start(0), [8])
    assert len({*np.floor(whole / 10)}) > 5, "data that do not change"
    assert len({*(whole % 10)}) == 8, "a key that is used again"
    assert (drawn(start(0), [1, 4, 3]) == whole).all()
    assert (drawn(start(1), [8]) != whole).all()


def test_seeds_draw_for_themselves():
    together = drawn(stack_seeds([start(0), start(5)]), [3, 5], seeds=2)
    assert (together == np.stack([drawn(start(0), [8]), drawn(start(5), [8])], 1)).all()
