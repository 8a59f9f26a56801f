"""Entities against sets of them, counted here."""

import sys

import numpy as np
import pytest

from lstm_jax.scores import entity_scores

TAGS = ["O", "B-A", "I-A", "B-B", "I-B", "I-A", "O"]


def entities(sentences):
    """``(sentence, type, first, last)`` of every entity."""
    found = set()
    for n, row in enumerate(sentences):
        start = kind = None
        for t, tag in enumerate([*row, "O"]):
            if start is not None and tag != f"I-{kind}":
                found.add((n, kind, start, t - 1))
                start = None
            if tag != "O" and start is None:
                start, kind = t, tag[2:]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_random_tags(seed):
    pytest.importorskip("nervaluate")
    rng = np.random.default_rng(seed)
    draw = lambda: [rng.choice(TAGS, n).tolist() for n in (1, 4, 0, 9)]
    tags, said = draw(), draw()
    scores = entity_scores(tags, said)
    found = {"overall": scores.overall, **scores.by_type}
    assert len(found) == 3
    for name, got in found.items():
        right, predicted = (
            {e for e in entities(rows) if name in ("overall", e[1])}
            for rows in (tags, said)
        )
        hits = len(right & predicted)
        assert got.support == len(right)
        assert got.precision == pytest.approx(hits / max(len(predicted), 1))
        assert got.recall == pytest.approx(hits / max(len(right), 1))
        assert got.f1 == pytest.approx(2 * hits / max(len(right) + len(predicted), 1))


def test_a_type_that_is_only_predicted():
    pytest.importorskip("nervaluate")
    scores = entity_scores([["B-A", "O"]], [["B-A", "B-B"]])
    assert scores.by_type["A"].f1 == 1
    assert scores.by_type["B"] == (0, 0, 0, 0)
    assert scores.overall.precision == 0.5


def test_no_entities():
    assert entity_scores([["O"]], [["O"]]) == ((0, 0, 0, 0), {})


@pytest.mark.parametrize(
    ("tags", "said", "message"),
    [
        ([["O"]], [["O"], ["O"]], "tags has 1 sentences and predictions 2, expected"),
        ([["O", "O"]], [["O"]], r"tags\[0\] has 2 tags and predictions\[0\] 1, expec"),
        ([["O"]], [["S-A"]], r"predictions\[0\] has the tag 'S-A', expected O, B-TYPE"),
        ([["B-"]], [["O"]], r"tags\[0\] has the tag 'B-', expected O, B-TYPE"),
        ([["per"]], [["O"]], r"tags\[0\] has the tag 'per', expected O, B-TYPE"),
    ],
)
def test_what_does_not_fit(tags, said, message):
    with pytest.raises(ValueError, match=message):
        entity_scores(tags, said)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "nervaluate", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'lstm-jax\[entities\]'"
    ):
        entity_scores([["B-A"]], [["O"]])
