"""The Python reference, and evaluation that counts every character once."""

import numpy as np
import pytest

from lstm_jax.data import text, token_rows
from lstm_jax.data.stored import Text


def test_the_python_reference_is_there():
    reference = text.python_reference()
    assert len(reference) > 400_000
    assert "expression" in reference


def test_parts_are_consecutive_and_complete():
    assert text.ends(100, (0.9, 0.05, 0.05)) == [90, 95, 100]
    parts = Text.of("abcdefghij" * 10).cut([90, 95, 100])
    assert [part.characters for part in parts] == [90, 5, 5]
    assert "".join(map(str, parts)) == "abcdefghij" * 10


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("window", [1, 5, 100])
def test_every_token_but_the_first_is_counted_once(rows, window):
    tokens = np.arange(100, 124)
    found = token_rows.EvaluationRows(tokens, rows, window)
    windows = [
        np.stack(a)
        for a in zip(*(found.window(k) for k in range(found.windows)), strict=True)
    ]
    assert found.used == windows[2].any((0, 1)).sum()
    assert found.in_order(list(windows[1])).tolist() == tokens[1:].tolist()
    assert len({a.shape for a in windows}) == 1
    count, steps, _ = windows[0].shape
    assert steps <= window
    assert rows * count * (steps - 1) < len(tokens) - 1, "windows could be shorter"
    inputs, targets, counted = (a.reshape(-1, rows) for a in windows)
    # Row by row, the stream in its order.
    assert targets.T[counted.T].tolist() == tokens[1:].tolist()
    assert inputs.T[counted.T].tolist() == tokens[:-1].tolist()
    # Only what nobody goes on from is not full.
    full = counted.all(0)
    assert full[: counted.any(0).sum() - 1].all()


def test_a_stream_to_evaluate_on():
    for tokens in ([], [3]):
        with pytest.raises(text.DataError, match=f"found {len(tokens)} token"):
            token_rows.EvaluationRows(np.array(tokens, int), 2, 2)
    with pytest.raises(TypeError, match=r"tokens has shape \(2, 2\) and dtype int"):
        token_rows.EvaluationRows(np.ones((2, 2), int), 2, 2)
    with pytest.raises(TypeError, match="dtype float32, expected integers"):
        token_rows.EvaluationRows(np.ones(2, np.float32), 2, 2)
    for name in ("rows", "window"):
        with pytest.raises(ValueError, match=f"{name} is 0, expected 1 or more"):
            token_rows.EvaluationRows(np.arange(5), **{"rows": 1, "window": 1, name: 0})


def test_windows_of_a_row_follow_each_other():
    rows = token_rows.training_rows(np.arange(23), rows=2, window=3)
    assert rows.shape == (10, 2)
    assert (np.diff(rows, axis=0) == 1).all()
    assert rows[-1, 0] == rows[0, 1]
