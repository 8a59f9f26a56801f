"""How close translations are to those of people, by the library ``sacrebleu``.

    BLEU    n-grams of words that a translation shares with its reference
    chrF    n-grams of characters

Papineni, Roukos, Ward & Zhu, "BLEU", ACL 2002; Popović, "chrF", WMT 2015; Post, "A Call
for Clarity in Reporting BLEU Scores", WMT 2018 (the library, and its signature: figures
of other signatures cannot be compared).
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple


class TranslationScores(NamedTuple):
    """Scores of all sentences together, from 0 to 100."""

    bleu: float
    chrf: float
    signature: str
    """What BLEU was computed with."""


def translation_scores(
    translations: Sequence[str],
    references: Sequence[str],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
) -> TranslationScores:
    """BLEU and chrF of a corpus.

    Args:
        translations: what is scored.
        references: a translation by a person for each of them.
        tokenize: the tokenizer of BLEU, such as ``13a``, or ``none`` for text that is
            tokenised already.
        lowercase: whether case does not count.

    Raises:
        ModuleNotFoundError: ``sacrebleu`` is not installed.
        ValueError: there are none, or not as many references as translations.

    >>> said, meant = ["a man sleeps in a car"], ["a man sleeps in the car"]
    >>> scores = translation_scores(said, meant)
    >>> f"{scores.bleu:.1f} {scores.chrf:.1f}"
    '53.7 68.3'
    """
    if len(translations) != len(references) or not len(references):
        raise ValueError(
            f"{len(translations)} translations and {len(references)} references, "
            f"expected one reference for each translation, 1 or more."
        )
    metrics = _sacrebleu().metrics
    # Forced: no warning for text that looks tokenised.
    bleu = metrics.BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    chrf = metrics.CHRF(lowercase=lowercase)
    score = lambda metric: metric.corpus_score([*translations], [[*references]]).score
    return TranslationScores(score(bleu), score(chrf), str(bleu.get_signature()))


def _sacrebleu() -> Any:
    try:
        return importlib.import_module("sacrebleu")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "BLEU needs the package sacrebleu: pip install 'lstm-jax[translate]'.",
            name="sacrebleu",
        ) from error
