"""One long stream of tokens as parallel rows."""

import numpy as np

from lstm_jax.data.text import DataError


def training_rows(tokens: np.ndarray, rows: int, window: int) -> np.ndarray:
    """``[N + 1, rows]``: the stream cut into ``rows`` equal parts side by side, time
    first, ``N`` a multiple of ``window``; the end that does not fit is left out. Window
    ``k`` reads ``[k * window, (k + 1) * window]`` and predicts one step ahead.

    Raises:
        DataError: the stream is too short for a single window.

    >>> training_rows(np.arange(10), rows=2, window=2).T
    array([[0, 1, 2, 3, 4],
           [4, 5, 6, 7, 8]])
    """
    windows = (len(tokens) - 1) // (rows * window)
    if windows < 1:
        raise DataError(
            f"the training part has {len(tokens):,} tokens, but one step takes "
            f"{rows * window + 1:,} (batch_size={rows}, window={window}); "
            f"use more text or smaller values."
        )
    length = windows * window
    starts = np.arange(rows) * length
    return tokens[starts[None, :] + np.arange(length + 1)[:, None]]


def evaluation_rows(
    tokens: np.ndarray, rows: int, context: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(inputs, targets, counted)``, each ``[N, rows]``, in which every token but the
    first is a counted target exactly once.

    Each row but the first begins with ``context`` tokens of the row before it, not
    counted, so that it starts from a state it would have had in a single row.

    >>> inputs, targets, counted = evaluation_rows(np.arange(7), rows=2, context=2)
    >>> targets.T[counted.T]
    array([1, 2, 3, 4, 5, 6])
    """
    if len(tokens) < 2:
        raise DataError(
            f"there are {len(tokens)} tokens to evaluate on, but predicting one takes "
            f"the one before it; use more text."
        )
    predictions = len(tokens) - 1
    length = -(-predictions // rows)
    starts = np.arange(rows) * length
    at = starts[None, :] + np.arange(-context, length)[:, None]
    counted = (at >= starts[None, :]) & (at < predictions)
    at = np.where((at < 0) | (at >= predictions), 0, at)
    return tokens[at], tokens[at + 1], counted
