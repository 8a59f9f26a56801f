"""Several trained translators as one: the mean of their probabilities."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lstm_jax._types import PyTree
from lstm_jax.runs.load import best_of
from lstm_jax.tasks.abilities import Translates, require
from lstm_jax.tasks.translating import BeamOptions, SampleOptions, Translation
from lstm_jax.training.run_errors import RunError


@dataclasses.dataclass(frozen=True)
class TranslationEnsemble:
    """Runs of one vocabulary and one model size, with their parameters."""

    task: Any
    params: Sequence[PyTree]

    def translate(
        self,
        sentences: Sequence[str],
        options: BeamOptions | SampleOptions,
        copy_unknown: bool = False,
        prefixes: Sequence[str] | None = None,
    ) -> list[list[Translation]]:
        """The translations of every sentence, in order."""
        given = options, copy_unknown, prefixes
        return self.task.translate(self.params, sentences, *given)


def ensemble_of(directories: Sequence[str | Path]) -> TranslationEnsemble:
    """The translators of some runs; of a single one too.

    Raises:
        RunError: a folder holds no run, a run is of another task, or their vocabularies
            or sizes differ.
    """
    task, params = None, []
    for directory in directories:
        _, found, weights = best_of(directory)
        advice = "name a run of the task translation"
        require(found, Translates, "translate", advice)
        if task is None:
            task = found
        elif not _alike(task, found):
            raise RunError(
                f"{directory} has other vocabularies or another model than "
                f"{directories[0]}; an ensemble takes runs of one model and the same "
                f"data, such as those of other seeds."
            )
        params.append(weights)
    return TranslationEnsemble(task, params)


def _alike(one, other):
    tokens = lambda task: [
        side.tokenizer.facts() for side in (task.data.source, task.data.target)
    ]
    models = one.config.model.in_evaluation, other.config.model.in_evaluation
    return tokens(one) == tokens(other) and models[0] == models[1]
