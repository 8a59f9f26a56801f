"""The Python reference, and evaluation that counts every character once."""

import numpy as np
import pytest

from lstm_jax.data import streams, text


def test_the_python_reference_is_there():
    reference = text.python_reference()
    assert len(reference) > 400_000
    assert "expression" in reference


def test_parts_are_consecutive_and_complete():
    parts = text.split("abcdefghij" * 10, (0.9, 0.05, 0.05))
    assert [len(part) for part in parts] == [90, 5, 5]
    assert "".join(parts) == "abcdefghij" * 10


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
@pytest.mark.parametrize("context", [0, 1, 5])
def test_every_token_but_the_first_is_counted_once(rows, context):
    tokens = np.arange(100, 124)
    inputs, targets, counted = streams.evaluation_rows(tokens, rows, context)
    assert sorted(targets[counted]) == list(tokens[1:])
    assert (inputs[counted] + 1 == targets[counted]).all()


def test_windows_of_a_row_follow_each_other():
    rows = streams.training_rows(np.arange(23), rows=2, window=3)
    assert rows.shape == (10, 2)
    assert (np.diff(rows, axis=0) == 1).all()
    assert rows[-1, 0] == rows[0, 1]
