"""Metrics of predictions, from integers and names, in numpy.

classification.py    confusion matrix, accuracy, macro F1, a table by class
entities.py          the F1 of named entities, for tags B, I and O
"""

from lstm_jax.scores.classification import (
    Scores,
    accuracy,
    class_scores,
    confusion_matrix,
    macro_f1,
)
from lstm_jax.scores.entities import EntityScores, entity_scores

__all__ = [
    "EntityScores",
    "Scores",
    "accuracy",
    "class_scores",
    "confusion_matrix",
    "entity_scores",
    "macro_f1",
]
