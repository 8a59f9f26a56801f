"""Finds hidden units that follow something a reader can name.

Karpathy, Johnson & Fei-Fei, "Visualizing and Understanding Recurrent Networks", 2015,
found units of language models that are on inside quotes, count the characters of a
line, or follow the indentation of code. `text_signals` says what there is to follow in
a text, and `find_units` which unit follows it best.
"""

from typing import Any, NamedTuple

import numpy as np


class Found(NamedTuple):
    """A unit and how well it follows a signal."""

    unit: int
    """Its index in ``hs``."""
    score: float
    """Between -1 and 1; the sign says whether the unit rises or falls with the signal.
    """


def find_units(hs: Any, signal: Any, count: int = 5) -> list[Found]:
    """The units that follow a signal best, from one look at every unit.

    For a signal of two values, such as "inside quotes", the score is
    ``2 * AUC - 1``: 1 if the unit is always higher where the signal is on, 0 if it does
    not depend on it. For other signals it is the rank correlation of Spearman. Both
    depend only on the order of the values, so saturation does not hide a unit.

    Units are many: the best of 500 units follows even noise a little. Confirm a unit on
    text that was not used to find it.

    Args:
        hs: activations of the units at every step ``[T, H]``, such as states of an
            LSTM.
        signal: the signal at every step ``[T]``: booleans or numbers.
        count: how many units, the best first.

    Raises:
        ValueError: the shapes do not fit, a number is not finite, or the signal is
            constant.

    >>> import numpy as np
    >>> from lstm_jax.diagnostics import find_units
    >>> inside = np.array([0, 1, 1, 0, 1], bool)
    >>> hs = np.stack([np.arange(5.0), np.where(inside, -0.9, 0.2)], axis=1)
    >>> find_units(hs, inside, count=1)
    [Found(unit=1, score=-1.0)]
    """
    hs, signal = np.asarray(hs, float), np.asarray(signal, float)
    if hs.ndim != 2 or signal.shape != hs.shape[:1]:
        raise ValueError(
            f"hs has shape {hs.shape} and signal {signal.shape}, expected [T, H] and "
            f"[T]."
        )
    if not (np.isfinite(hs).all() and np.isfinite(signal).all()):
        raise ValueError("hs or signal has a number that is not finite.")
    if not signal.size or signal.min() == signal.max():
        raise ValueError("signal is constant, expected one that changes.")
    ranks, of_signal = _ranks(hs), _ranks(signal[:, None])
    if len(np.unique(signal)) == 2:
        on = signal == signal.max()
        between = ranks[on].mean(axis=0) - ranks[~on].mean(axis=0)
        scores = 2 * between / len(signal)
    else:
        scores = _correlation(ranks, of_signal)
    best = np.argsort(-np.abs(scores), kind="stable")[:count]
    return [Found(int(n), float(scores[n])) for n in best]


def _ranks(a):
    """Ranks of every column; equal values share the mean of their ranks."""
    ranks = np.empty_like(a)
    for n, column in enumerate(a.T):
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        ranks[:, n] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _correlation(a, b):
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide(
        (a * b).sum(axis=0), size, out=np.zeros(a.shape[1]), where=size > 0
    )


def text_signals(text: str) -> dict[str, np.ndarray]:
    """What a unit may follow in a text, at every character.

    ``quotes`` and ``brackets`` are on from the opening character to the last one inside
    (quotes end with their line, so that an apostrophe does not turn the rest around);
    ``depth`` counts open brackets; ``column`` is the position in the line, from 0;
    ``indentation`` is the number of blanks at the beginning of the line; ``word`` is
    the position in the word; ``capital``, ``digit`` and ``space`` are on at such a
    character. Signals that never change in this text are left out.

    Args:
        text: the text.

    Returns:
        Names and arrays ``[T]``, one number per character.

    >>> from lstm_jax.diagnostics import text_signals
    >>> text_signals('a "b" c')["quotes"].tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    names = (
        "quotes",
        "brackets",
        "depth",
        "column",
        "indentation",
        "word",
        "capital",
        "digit",
        "space",
    )
    rows = np.array([*_signals(text)], float).reshape(len(text), len(names))
    columns = dict(zip(names, rows.T, strict=True))
    return {name: a for name, a in columns.items() if a.size and a.min() < a.max()}


def _signals(text):
    inside, depth, column, indentation, word, leading = False, 0, 0, 0, 0, True
    for character in text:
        if character == "\n":
            inside = False
        elif character == '"':
            inside = not inside
        depth += character in "([{"
        depth -= character in ")]}" and depth > 0
        leading = leading and character in " \t"
        indentation += leading
        word = word + 1 if character.isalnum() else 0
        yield (
            inside,
            depth > 0,
            depth,
            column,
            indentation,
            word,
            character.isupper(),
            character.isdigit(),
            character.isspace(),
        )
        column += 1
        if character == "\n":
            column, indentation, leading = 0, 0, True
