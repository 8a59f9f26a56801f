"""One long stream of tokens as parallel rows."""

import numpy as np

from lstm_jax.data.checks import check_count
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
    tokens: np.ndarray, rows: int, window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(inputs, targets, counted)``, each ``[W, T, rows]``, in which every token but
    the first is a counted target exactly once.

    A row goes on where the one before it ends, in ``W`` windows of ``T`` steps, at most
    ``window``: of one length, so that one program takes them all, and as even as they
    can be. What is not counted stands after the end of the stream.

    Raises:
        DataError, TypeError: as `check_stream`.
        TypeError, ValueError: ``rows`` or ``window`` is no whole number of 1 or more.

    >>> inputs, targets, counted = evaluation_rows(np.arange(8), rows=2, window=3)
    >>> targets[:, :, 0].tolist(), targets[:, :, 1][counted[:, :, 1]].tolist()
    ([[1, 2], [3, 4]], [5, 6, 7])
    """
    tokens = check_stream(tokens)
    rows, window = check_count("rows", rows), check_count("window", window)
    predictions = len(tokens) - 1
    windows = -(-predictions // (rows * window))
    steps = -(-predictions // (rows * windows))
    at = np.arange(rows) * (windows * steps) + np.arange(windows * steps)[:, None]
    at = at.reshape(windows, steps, rows)
    counted = at < predictions
    at = np.where(counted, at, 0)
    return tokens[at], tokens[at + 1], counted


def check_stream(tokens: np.ndarray) -> np.ndarray:
    """Integers ``[N]``, enough of them to predict one.

    Raises:
        TypeError: they are something else.
        DataError: there are fewer than two.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
        raise TypeError(
            f"tokens has shape {tokens.shape} and dtype {tokens.dtype}, expected "
            f"integers [N]; encode the text first, and pass one stream."
        )
    if len(tokens) < 2:
        raise DataError(
            f"there are {len(tokens)} tokens to evaluate on, but predicting one takes "
            f"the one before it; use more text."
        )
    return tokens
