"""Cells that read a sequence: what lstm_chrono is drawn for."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from pydantic import ValidationError

from lstm_jax import LSTMCell, Stack, Zoneout
from lstm_jax.models.sequence_reader import SequenceReader, SequenceReaderConfig


def memories(steps, **options):
    """After how many steps each unit forgets, at the beginning."""
    config = SequenceReaderConfig(hidden_size=512, **options)
    model = config.build(3, 2, steps, nnx.Rngs(0))
    _, forget, _, _ = jnp.split(model.layers.params[0].b, 4)
    return jnp.exp(forget)


@pytest.mark.parametrize(("chrono_steps", "longest"), [(0, 99), (400, 399)])
def test_chrono_steps(chrono_steps, longest):
    found = memories(100, cell="lstm_chrono", chrono_steps=chrono_steps)
    assert 0.98 * longest < found.max() < longest * 1.001
    assert found.mean() == pytest.approx((1 + longest) / 2, rel=0.1)


def test_the_other_cells_are_as_they_were():
    assert (memories(100, cell="lstm", chrono_steps=400) == memories(100)).all()


def test_a_dependency_of_one_step_is_none():
    with pytest.raises(ValidationError, match="expected 2 or more, or 0"):
        SequenceReaderConfig(chrono_steps=1)


def test_a_random_stack_trains_with_a_key_alone():
    stack = Stack([Zoneout(LSTMCell(4), h=0.5)])
    model, xs = SequenceReader(stack, 3, 2, rngs=nnx.Rngs(0)), jnp.ones((5, 2, 3))
    key = jax.random.key(1)
    for call in (model, model.last):
        with pytest.raises(ValueError, match="no key for Zoneout"):
            call(xs)
        still = call(xs, deterministic=True)
        assert (call(xs, key=key) != still).any()
