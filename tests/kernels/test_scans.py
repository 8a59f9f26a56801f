"""The kernel's three calls as scans: the numbers and derivatives of the kernel.

They run where a program has few rows, and on other platforms. Here they run everywhere,
under the tests of the kernel.
"""

import functools

import jax
import pytest

from lstm_jax.kernels.lstm import lowering, scans
from tests.kernels import test_meshes, test_native


@pytest.fixture(autouse=True)
def too_few_rows(monkeypatch):
    monkeypatch.setattr(lowering, "has_rows", lambda at, least: False)
    jax.clear_caches()
    yield
    jax.clear_caches()


def test_the_kernel_does_not_run():
    f = functools.partial(test_native.value_and_grad, "native")
    assert "lstm_jax_" not in jax.jit(f).lower(test_native.make_case(4, 2, 3)).as_text()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("which", ["", "mask", "resets", "mask, resets"])
def test_values_and_gradients(which, reverse):
    test_native.test_values_and_gradients((6, 3, 5), which, reverse)


def test_no_batch_axis_and_two():
    test_native.test_no_batch_axis_and_two()


@pytest.mark.parametrize("mode", ["jvp", "linearize", "forward over reverse"])
def test_every_way_to_differentiate(mode):
    test_native.test_every_way_to_differentiate(mode)


@pytest.mark.parametrize("axes", ["sequences", "both"])
@pytest.mark.parametrize("figure", ["grad", "summed"])
def test_vmap(figure, axes):
    test_native.test_vmap(figure, axes)


def test_gradients_of_single_examples_by_shared_weights():
    test_native.test_gradients_of_single_examples_by_shared_weights()


def test_derivatives_of_inputs_alone():
    test_native.test_derivatives_of_inputs_alone()


@pytest.mark.parametrize("mode", ["grad", "jvp"])
def test_bfloat16(mode):
    test_native.test_bfloat16("mask, resets", mode)


def test_an_empty_axis():
    test_native.test_an_empty_axis()


@pytest.mark.parametrize("flags", [True, False])
def test_shard_map(flags):
    test_native.test_shard_map(flags)


@pytest.mark.parametrize("kind", ["Auto", "Explicit", "Manual"])
@pytest.mark.parametrize(
    "figure", [test_meshes.value_and_grad, test_meshes.value_and_slope]
)
def test_every_type_of_axis(figure, kind):
    test_meshes.test_every_type_of_axis(figure, kind, 8)


@pytest.mark.parametrize("fault", ["state_before", "cells_before"])
def test_a_fault_is_found(fault, monkeypatch):
    """Of the step before, not of the one after."""
    right = getattr(scans, fault)
    wrong = lambda at, a, reverse: right(at, a, not reverse)
    monkeypatch.setattr(scans, fault, wrong)
    with pytest.raises(AssertionError):
        test_values_and_gradients("", False)
