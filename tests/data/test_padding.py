"""Padding and back."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data import pad, unpad
from tests.data.ragged import SEEDS, assert_same, draw_lengths, draw_sequences


@SEEDS
@pytest.mark.parametrize("features", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_there_and_back(seed, features, dtype):
    sequences = draw_sequences(seed, features, dtype)
    xs, lengths = pad(sequences, value=-1)
    assert xs.shape == (12, 40, *features)
    assert lengths.dtype == np.int32
    assert lengths.tolist() == draw_lengths(seed).tolist()
    assert_same(unpad(xs, lengths), sequences)
    padding = np.arange(12)[:, None] >= lengths
    assert (xs[padding] == -1).all()
    assert not (xs[~padding] == -1).any()


def test_steps_are_fixed():
    xs, _ = pad([[1], [2, 3]], steps=5)
    assert xs.shape == (5, 2)
    assert pad([np.zeros((0, 3))])[0].shape == (0, 1, 3)


def test_an_empty_list_takes_shape_and_dtype_of_the_others():
    frames = np.ones((2, 3), np.float16)
    xs, lengths = pad([[], frames, ()])
    assert (xs.dtype, xs.shape) == (np.float16, (2, 3, 3))
    assert lengths.tolist() == [0, 2, 0]


def test_unpad_copies():
    """What comes back does not keep the padding alive."""
    xs = np.ones((2, 1))
    unpad(xs, [1])[0][:] = 5
    assert (xs == 1).all()
    assert isinstance(unpad(jnp.ones((2, 1, 3)), jnp.array([1]))[0], np.ndarray)


ERRORS = {
    "nothing": (dict(sequences=[]), "sequences is empty, expected at least one"),
    "scalar": (dict(sequences=[1, 2]), r"sequences[0] is a scalar.*pass a list of"),
    "features": (
        dict(sequences=[np.ones((2, 3)), np.ones((4, 5))]),
        "sequences[1] has shape (4, 5), expected [T_i, 3] like sequences[0]; only",
    ),
    "dtype": (
        dict(sequences=[[], [1], [0.5]]),
        "sequences[2] has dtype float64, expected int64 like sequences[1]; cast",
    ),
    "text": (dict(sequences=[["a", "b"]]), "has dtype <U1, expected numbers; encode"),
    "too long": (
        dict(sequences=[[1], [1, 2, 3]], steps=2),
        "sequences[1] has 3 steps, expected at most steps=2; raise steps or",
    ),
    "steps": (dict(sequences=[[1]], steps=-1), "steps is -1, expected 0 or more."),
    "whole steps": (dict(sequences=[[1]], steps=2.0), "steps is 2.0, expected a whole"),
    "negative value": (
        dict(sequences=[np.ones(1, np.uint8)], value=-1),
        "value is -1, which uint8, the dtype of the sequences, does not hold; pass",
    ),
    "nan value": (dict(sequences=[[1]], value=np.nan), "value is nan, which int64"),
    "half value": (dict(sequences=[[1]], value=0.5), "value is 0.5, which int64"),
    "no value": (dict(sequences=[[0.5]], value=None), "value is None, expected one"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    arguments, message = ERRORS[name]
    message = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises((TypeError, ValueError), match=message):
        pad(**arguments)


def test_errors_of_unpad():
    xs = np.ones((4, 2, 3))
    with pytest.raises(ValueError, match=r"expected time-major \[T, 3, ...\] for 3"):
        unpad(xs, [1, 2, 3])
    with pytest.raises(ValueError, match=r"lengths\[1\] is 5, expected at most 4, the"):
        unpad(xs, [0, 5])
    with pytest.raises(ValueError, match=r"lengths\[0\] is -1, expected 0 or more"):
        unpad(xs, [-1, 5])
    with pytest.raises(ValueError, match=r"dtype float64, expected integers \[N\]"):
        unpad(xs, [1.0, 2.0])
