"""Planted faults: each must turn its property red."""

import functools

import jax
import jax.numpy as jnp
import pytest

from lstm_jax.core.cells import lstm
from lstm_jax.core.layers import masks
from lstm_jax.core.primitives import elementwise
from lstm_jax.core.recurrence import loop, sequence, unroll
from tests.core.test_chunks import check_remat
from tests.core.test_derivatives import check_mode
from tests.core.test_dropout import check_pieces
from tests.core.test_gates import check_textbook
from tests.core.test_gradients import check_gradients
from tests.core.test_init import check_forget_bias
from tests.core.test_padding import check_padding
from tests.core.test_values import OPTIONS, check_values
from tests.core.test_wrappers import check_chunks_and_pieces


def wrap(owner, name, fault):
    """``owner.name`` becomes ``fault(original, *args, **kwargs)``."""

    def plant(monkeypatch):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, functools.partial(fault, original))

    return plant


def plant_swapped_gates(monkeypatch):
    def swapped(z, /, **activations):
        i, f, g, o = elementwise.gates(z, **activations)
        return f, i, g, o

    step = lstm.LSTMCell.step
    faulty = lambda self, params, carry, gx, dot, _: step(
        self, params, carry, gx, dot, swapped
    )
    monkeypatch.setattr(lstm.LSTMCell, "step", faulty)


def swapped_matrices(from_gates, W_f, W_i, **others):
    return from_gates(W_f=W_i, W_i=W_f, **others)


def plant_forgotten_forget_bias(monkeypatch):
    original = lstm.LSTMCell.init
    forget = lambda *args, forget_bias=1.0, **kw: original(*args, forget_bias=0.0, **kw)
    monkeypatch.setattr(lstm.LSTMCell, "init", forget)


def one_step_longer(length_mask, lengths, steps):
    return length_mask(lengths + 1, steps)


def dropped_dh(product, a, w, w_t):
    return product(jax.lax.stop_gradient(a), w, w_t)


def operands_a_step_late(matmul, a, w, **options):
    over_all_time = a.ndim == 3
    return matmul(jnp.roll(a, 1, axis=0) if over_all_time else a, w, **options)


def slot_unread(perturb, y, slot):
    return y


def masked_after_projection(without_padding, cell, sequence):
    del without_padding, cell
    return sequence


def reset_to_the_carry(prepare, *args):
    sequence = prepare(*args)
    return sequence._replace(reset_carry=sequence.carry)


def reset_before_the_boundary(episode_ends, resets):
    return resets


def masks_from_the_start(dropout, key, xs, rate, start):
    return dropout(key, xs, rate, 0)


def steps_from_the_start(steps_from, start, count):
    return steps_from(0, count)


def chunks_forwards(scan_chunks, chunk, carry, steps, length, reverse, remat):
    return scan_chunks(chunk, carry, steps, length, False, remat)


FAULTS = {
    "masks of a cell from the start of a piece": (
        wrap(unroll, "steps_from", steps_from_the_start),
        functools.partial(check_chunks_and_pieces, "zoneout"),
    ),
    "chunks in the wrong order, backwards": (
        wrap(unroll, "scan_chunks", chunks_forwards),
        functools.partial(check_remat, "lstm", 4),
    ),
    "swapped gates": (plant_swapped_gates, check_values),
    "swapped matrices": (
        wrap(lstm.LSTMParams, "from_gates", swapped_matrices),
        check_textbook,
    ),
    "forgotten forget bias": (plant_forgotten_forget_bias, check_forget_bias),
    "length mask off by one": (
        wrap(sequence, "length_mask", one_step_longer),
        functools.partial(check_values, **OPTIONS["lengths"]),
    ),
    "dropped dh term": (
        wrap(loop, "_matmul_in_loop", dropped_dh),
        check_gradients,
    ),
    "operands a step late": (
        wrap(loop, "matmul", operands_a_step_late),
        check_gradients,
    ),
    "slot unread": (
        wrap(loop, "_perturb", slot_unread),
        functools.partial(check_mode, "grad", "gru"),
    ),
    "padding masked after the projection": (
        wrap(unroll, "without_padding", masked_after_projection),
        check_padding,
    ),
    "reset to the wrong carry": (
        wrap(unroll, "prepare", reset_to_the_carry),
        functools.partial(check_values, **OPTIONS["reset to carry"]),
    ),
    "reset on the wrong side, backwards": (
        wrap(sequence, "_episode_ends", reset_before_the_boundary),
        functools.partial(check_values, reverse=True, **OPTIONS["resets"]),
    ),
    "dropout masks from the start of a piece": (
        wrap(masks, "dropout", masks_from_the_start),
        functools.partial(check_pieces, 3),
    ),
}


@pytest.fixture
def fresh_caches():
    """No trace made before the fault, none left after it."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize(("plant", "check"), FAULTS.values(), ids=FAULTS)
def test_fault_is_found(plant, check, x64, fresh_caches, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check()
