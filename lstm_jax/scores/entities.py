"""The F1 of named entities: an entity is correct if its type and both ends are.

Tags are ``O``, ``B-TYPE`` and ``I-TYPE``. An ``I-TYPE`` that does not continue an
entity of its type starts a new entity. This is the score of the CoNLL-2003 shared task
(Tjong Kim Sang & De Meulder 2003). The library ``nervaluate`` (an extra) counts it and
calls it "strict" (Segura-Bedmar, Martínez & Herrero-Zazo 2013).
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from lstm_jax.scores.classification import Scores, scores_of


class EntityScores(NamedTuple):
    """Scores of all entities together, and of every type."""

    overall: Scores
    by_type: dict[str, Scores]


def entity_scores(
    tags: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> EntityScores:
    """Precision, recall and F1 of entities.

    Needs nervaluate: ``pip install 'lstm-jax[entities]'``.

    Args:
        tags: the correct tags of every sentence.
        predictions: the predicted tags of every sentence.

    Raises:
        ModuleNotFoundError: nervaluate is not installed.
        ValueError: sentences differ in number or length, or a tag is not ``O``,
            ``B-TYPE`` or ``I-TYPE``.

    >>> tags = [["B-PER", "I-PER", "O", "B-LOC"]]
    >>> predictions = [["B-PER", "O", "O", "B-LOC"]]
    >>> entity_scores(tags, predictions).overall
    Scores(precision=0.5, recall=0.5, f1=0.5, support=2)
    """
    right, said = _checked("tags", tags), _checked("predictions", predictions)
    if len(right) != len(said):
        raise ValueError(
            f"tags has {len(right)} sentences and predictions {len(said)}, expected "
            f"the same number."
        )
    for n, (a, b) in enumerate(zip(right, said, strict=True)):
        if len(a) != len(b):
            raise ValueError(
                f"tags[{n}] has {len(a)} tags and predictions[{n}] {len(b)}, expected "
                f"one prediction for every tag."
            )
    types = sorted(
        {t[2:] for rows in (right, said) for row in rows for t in row} - {""}
    )
    if not types:
        return EntityScores(scores_of(0, 0, 0), {})
    found = _nervaluate().Evaluator(right, said, tags=types, loader="list").evaluate()
    by_type = {name: _scores(found["entities"][name]) for name in types}
    return EntityScores(_scores(found["overall"]), by_type)


def _scores(found: Any) -> Scores:
    strict = found["strict"]
    return scores_of(strict.correct, strict.possible, strict.actual)


def _nervaluate() -> Any:
    try:
        return importlib.import_module("nervaluate")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the F1 of entities needs the package nervaluate: "
            "pip install 'lstm-jax[entities]'.",
            name="nervaluate",
        ) from error


def _checked(name, sentences):
    rows = [list(row) for row in sentences]
    for n, row in enumerate(rows):
        for tag in row:
            if tag != "O" and (tag[:2] not in ("B-", "I-") or not tag[2:]):
                raise ValueError(
                    f"{name}[{n}] has the tag {tag!r}, expected O, B-TYPE or I-TYPE, "
                    f"such as B-PER; convert the tags to BIO."
                )
    return rows
