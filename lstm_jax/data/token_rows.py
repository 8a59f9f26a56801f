"""One long stream of tokens as parallel rows."""

import numpy as np

from lstm_jax.data.checks import check_count
from lstm_jax.data.text import DataError, counted


def training_rows(tokens: np.ndarray, rows: int, window: int) -> np.ndarray:
    """``[N + 1, rows]``: the stream cut into ``rows`` equal parts side by side, time
    first, ``N`` a multiple of ``window``; the end that does not fit is left out. Window
    ``k`` reads ``[k * window, (k + 1) * window]`` and predicts one step ahead. It is a
    view of the tokens, which takes no memory.

    Raises:
        DataError: the stream is too short for a single window.

    >>> training_rows(np.arange(10), rows=2, window=2).T
    array([[0, 1, 2, 3, 4],
           [4, 5, 6, 7, 8]])
    """
    windows = (len(tokens) - 1) // (rows * window)
    if windows < 1:
        raise DataError(
            f"the train split has {counted(len(tokens), 'token')}, but one step takes "
            f"{rows * window + 1:,} (batch_size={rows}, window={window}); "
            f"use more text or smaller values."
        )
    length = windows * window
    tokens = np.asarray(tokens)
    (stride,) = tokens.strides
    return np.lib.stride_tricks.as_strided(
        tokens, (length + 1, rows), (stride, length * stride), writeable=False
    )


def unread(count: int, rows: int, window: int) -> int:
    """How many of ``count`` tokens at the end of a stream no window reads.

    >>> unread(10, rows=2, window=2)
    1
    """
    return count - (count - 1) // (rows * window) * rows * window - 1


class EvaluationRows:
    """A stream as rows to evaluate on, in which every token but the first is a counted
    target exactly once.

    A row goes on where the one before it ends, in ``W`` windows of ``T`` steps, at most
    ``window``: of one length, so that one program takes them all, and as even as they
    can be. What is not counted stands after the end of the stream. Nothing is copied
    but what is read.

    Args:
        tokens: the stream, integers ``[N]``.
        rows: how many rows there are.
        window: the most steps of a window.

    Raises:
        DataError, TypeError: as `check_stream`.
        TypeError, ValueError: ``rows`` or ``window`` is no whole number of 1 or more.

    >>> rows = EvaluationRows(np.arange(8), rows=2, window=3)
    >>> inputs, targets, counted = rows.window(0)
    >>> targets[:, 0].tolist(), targets[:, 1].tolist()
    ([1, 2], [5, 6])
    """

    def __init__(self, tokens: np.ndarray, rows: int, window: int):
        self.tokens = check_stream(tokens)
        self.rows, window = check_count("rows", rows), check_count("window", window)
        self.predictions = len(self.tokens) - 1
        """How many targets are counted."""
        self.windows = -(-self.predictions // (self.rows * window))
        """``W``."""
        self.steps = -(-self.predictions // (self.rows * self.windows))
        """``T``."""

    @property
    def length(self) -> int:
        """The steps of a row: ``W * T``."""
        return self.windows * self.steps

    @property
    def used(self) -> int:
        """Rows in which something is counted."""
        return -(-self.predictions // self.length)

    def read(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(inputs, targets, counted)`` of the steps from ``first`` to before
        ``last``, each ``[last - first, rows]``; tokens are int32."""
        at = np.arange(self.rows) * self.length + np.arange(first, last)[:, None]
        counted = at < self.predictions
        at = np.where(counted, at, 0)
        wide = lambda a: a.astype(np.int32, copy=False)
        return wide(self.tokens[at]), wide(self.tokens[at + 1]), counted

    def window(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(inputs, targets, counted)`` of window ``k``, each ``[T, rows]``."""
        return self.read(k * self.steps, (k + 1) * self.steps)

    def in_order(self, windows: list[np.ndarray]) -> np.ndarray:
        """What ``windows`` say of every counted target, ``[N - 1]``, from ``[T, rows]``
        of each."""
        return np.stack(windows).reshape(self.length, -1).T.ravel()[: self.predictions]


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
            f"found {counted(len(tokens), 'token')} to evaluate on, expected 2 or "
            f"more; use more text."
        )
    return tokens
