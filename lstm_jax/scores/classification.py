"""Confusion matrix, accuracy, and precision, recall and F1 by class.

    n[i, j]    how many of class i were predicted as j
    accuracy   sum_i n[i, i] / sum_ij n[i, j]
    precision  n[c, c] / sum_i n[i, c]
    recall     n[c, c] / sum_j n[c, j]
    F1         2 precision recall / (precision + recall)
    macro F1   the mean of the F1 of the classes that occur

A value with the denominator 0 is 0. Confusion matrices of batches add up to the matrix
of the split; everything else is computed from the sum.
"""

from typing import Any, NamedTuple

import numpy as np


class Scores(NamedTuple):
    """Precision, recall, F1 and support of one class."""

    precision: float
    recall: float
    f1: float
    support: int
    """Number of labels of this class."""


def confusion_matrix(labels: Any, predictions: Any, classes: int) -> np.ndarray:
    """Counts how often each class was predicted for each label, int64 ``[C, C]``.

    Rows are labels, columns are predictions.

    Args:
        labels, predictions: class indices in ``[0, C)``, of the same shape, without
            padding.
        classes: ``C``.

    Raises:
        TypeError: an array does not contain integers.
        ValueError: the shapes differ, or an index is outside ``[0, C)``.

    >>> confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2], 3)
    array([[1, 1, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    right = _indices("labels", labels, classes)
    said = _indices("predictions", predictions, classes)
    if right.shape != said.shape:
        raise ValueError(
            f"labels has shape {right.shape} and predictions {said.shape}, expected "
            f"the same: one prediction for every label."
        )
    pairs = (right.astype(np.int64) * classes + said).reshape(-1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def accuracy(confusion: Any) -> float:
    """The fraction of correct predictions; 0 if there are none.

    Raises:
        ValueError: the confusion matrix is not ``[C, C]`` of counts.

    >>> accuracy([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    0.75
    """
    counts = _checked(confusion)
    return float(counts.trace() / max(counts.sum(), 1))


def class_scores(confusion: Any) -> list[Scores]:
    """Precision, recall, F1 and support of every class.

    Raises:
        ValueError: the confusion matrix is not ``[C, C]`` of counts.

    >>> for scores in class_scores([[1, 1], [0, 1]]):
    ...     print("{:.2f} {:.2f} {:.2f} {}".format(*scores))
    1.00 0.50 0.67 2
    0.50 1.00 0.67 1
    """
    counts = _checked(confusion)
    hits, right, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    return [scores_of(*row) for row in zip(hits, right, said, strict=True)]


def macro_f1(confusion: Any) -> float:
    """The mean F1 of classes with a label or a prediction; 0 if there are none.

    Raises:
        ValueError: the confusion matrix is not ``[C, C]`` of counts.

    >>> round(macro_f1([[1, 1, 0], [0, 1, 0], [0, 0, 0]]), 4)
    0.6667
    """
    counts = _checked(confusion)
    occur = counts.sum(axis=0) + counts.sum(axis=1) > 0
    f1 = np.array([scores.f1 for scores in class_scores(counts)])
    return float(f1[occur].mean()) if occur.any() else 0.0


def scores_of(hits: int, right: int, said: int) -> Scores:
    """The scores of one class, from its correct predictions, labels and predictions.

    >>> scores_of(1, 2, 4)
    Scores(precision=0.25, recall=0.5, f1=0.3333333333333333, support=2)
    """
    hits, right, said = int(hits), int(right), int(said)
    f1 = 2 * hits / max(right + said, 1)  # equal to the F1 of precision and recall
    return Scores(hits / max(said, 1), hits / max(right, 1), f1, right)


def _indices(name, values, classes):
    array = np.asarray(values)
    if not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected integers, the indices of "
            f"classes."
        )
    outside = (array < 0) | (array >= classes)
    if outside.any():
        raise ValueError(
            f"{name} has the value {array[outside][0]}, expected classes in [0, "
            f"{classes}); leave the padding out."
        )
    return array


def _checked(confusion):
    counts = np.asarray(confusion)
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1]
    if not square or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(
            f"confusion has shape {counts.shape} and dtype {counts.dtype}, expected "
            f"counts [C, C]; make it with confusion_matrix."
        )
    return counts
