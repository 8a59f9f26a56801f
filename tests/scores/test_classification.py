"""Scores against examples counted by hand."""

import numpy as np
import pytest

from lstm_jax.scores import accuracy, class_scores, confusion_matrix, macro_f1

LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
SAID = [0, 0, 1, 2, 1, 1, 0, 2, 0, 0]
CONFUSION = [[2, 1, 1, 0], [1, 2, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0]]


def test_counted_by_hand():
    confusion = confusion_matrix(LABELS, SAID, 4)
    assert confusion.tolist() == CONFUSION
    assert accuracy(confusion) == 0.5
    scores = class_scores(confusion)
    assert [s.support for s in scores] == [4, 3, 3, 0]
    assert [s.precision for s in scores] == pytest.approx([2 / 5, 2 / 3, 1 / 2, 0])
    assert [s.recall for s in scores] == pytest.approx([1 / 2, 2 / 3, 1 / 3, 0])
    assert [s.f1 for s in scores] == pytest.approx([4 / 9, 2 / 3, 2 / 5, 0])
    # The class that does not occur is left out.
    assert macro_f1(confusion) == pytest.approx((4 / 9 + 2 / 3 + 2 / 5) / 3)


def test_a_class_that_is_only_predicted_counts():
    confusion = confusion_matrix([0, 0], [0, 1], 3)
    assert macro_f1(confusion) == pytest.approx((2 / 3 + 0) / 2)


def test_batches_add_up_and_axes_do_not_matter():
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 5, (2, 6, 7))
    parts = [confusion_matrix(*pair, 5) for pair in zip(labels, said, strict=True)]
    whole = confusion_matrix(labels.astype(np.uint8), said.astype(np.int32), 5)
    np.testing.assert_array_equal(sum(parts), whole)
    assert accuracy(whole) == (labels == said).mean()


def test_nothing_is_zero():
    confusion = confusion_matrix([], [], 2)
    assert accuracy(confusion) == macro_f1(confusion) == 0
    assert class_scores(confusion) == [(0, 0, 0, 0)] * 2


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: confusion_matrix([0], [0, 1], 2), ValueError, "one prediction for ev"),
        (lambda: confusion_matrix([-1], [0], 2), ValueError, "labels has the value -1"),
        (lambda: confusion_matrix([0], [2], 2), ValueError, "predictions has the valu"),
        (lambda: confusion_matrix([0.0], [0], 2), TypeError, "labels has dtype float6"),
        (lambda: accuracy([[1, 2]]), ValueError, r"shape \(1, 2\) and dtype int64, ex"),
        (lambda: macro_f1([[0.5]]), ValueError, "make it with confusion_matrix"),
    ],
)
def test_what_does_not_fit(call, error, said):
    with pytest.raises(error, match=said):
        call()
