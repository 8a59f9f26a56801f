"""Metrics of predictions, from integers, names and numbers, in numpy.

classification.py    confusion matrix, accuracy, macro F1, a table by class
entities.py          the F1 of named entities, for tags B, I and O
forecast             errors and scores of forecasts: points, quantiles, samples
conformal.py         margins that give forecasts intervals of a known coverage
"""

from lstm_jax.scores.classification import (
    Scores,
    accuracy,
    class_scores,
    confusion_matrix,
    macro_f1,
)
from lstm_jax.scores.conformal import (
    conformal_margins,
    quantile_margins,
    residual_margins,
    widen,
)
from lstm_jax.scores.entities import EntityScores, entity_scores

__all__ = [
    "EntityScores",
    "Scores",
    "accuracy",
    "class_scores",
    "conformal_margins",
    "confusion_matrix",
    "entity_scores",
    "macro_f1",
    "quantile_margins",
    "residual_margins",
    "widen",
]
