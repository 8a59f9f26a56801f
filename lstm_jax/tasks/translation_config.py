"""The config of a translator: its pairs of sentences, and how it is trained."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax.config import Count, PathText, config
from lstm_jax.models.translation import TranslatorConfig
from lstm_jax.tasks.splits_config import Fraction
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.parallel import ParallelConfig
from lstm_jax.training.run_folder import RunConfig
from lstm_jax.training.trainer import TrainConfig


@config
class TranslationDataConfig:
    """Which files hold the sentences, and what they are cut into.

    Two aligned files have a sentence on every line. One file with both sides is a TSV,
    or JSONL with two keys.
    """

    source: PathText = ""
    """The sentences to train on, one per line."""
    target: PathText = ""
    """Their translations, one per line."""
    valid_source: PathText = ""
    """The sentences to validate on; empty to cut them from the training pairs."""
    valid_target: PathText = ""
    """Their translations."""
    test_source: PathText = ""
    """The sentences to test on; empty where there are none."""
    test_target: PathText = ""
    """Their translations."""
    path: PathText = ""
    """One file of both sides to train on, instead of `source` and `target`."""
    valid: PathText = ""
    """One file of both sides to validate on."""
    test: PathText = ""
    """One file of both sides to test on."""
    source_key: str = "source"
    """The key of the sentence in JSONL."""
    target_key: str = "target"
    """The key of its translation."""
    valid_fraction: Fraction = 0.05
    """Fraction of the training pairs to validate on, where no file is set."""
    test_fraction: Fraction = 0.0
    """Fraction of the training pairs to test on, where no file is set; 0: the results
    are those of validation."""
    split_seed: NonNegativeInt = 0
    """Seed of the random split."""
    tokens: Literal["bpe", "unigram", "words", "bytes"] = "bpe"
    """What a sentence is cut into: sub-words (`bpe`, `unigram`), what stands between
    white space, or bytes."""
    shared: bool = False
    """Whether source and target have one vocabulary, learned from both."""
    vocabulary_limit: NonNegativeInt = 8000
    """The most tokens of a vocabulary; 0: all words, 4096 sub-words. Bytes ignore it.
    """
    min_count: PositiveInt = 1
    """How often a word, or a pair of `bpe`, must occur in the training pairs."""
    max_length: Count = 100
    """Pairs with more tokens on a side are left out of training; the number of them is
    printed."""

    def __post_init__(self):
        both = {
            "source": ("target", "path"),
            "valid_source": ("valid_target", "valid"),
            "test_source": ("test_target", "test"),
        }
        for source, (target, alone) in both.items():
            given = [n for n in (source, target) if getattr(self, n)]
            if given and getattr(self, alone):
                raise ValueError(
                    f"{alone} and {given[0]} are both set; set {alone} for one file of "
                    f"both sides, or {source} and {target} for two files"
                )
            if len(given) == 1:
                (missing,) = {source, target} - {*given}
                raise ValueError(
                    f"{given[0]} is set and {missing} is not; set both, or {alone} for "
                    f"one file of both sides"
                )


@config
class TranslationTrainConfig(TrainConfig):
    """How long to train, how often to do what, and how large batches are."""

    batch_size: Count = 128
    """The most pairs of a batch."""
    batch_tokens: Count = 4096
    """The most tokens of a batch on a side, with padding: batches of long sentences
    have fewer pairs."""
    buckets: Count = 6
    """Batches hold pairs of similar length, in so many shapes at the most."""
    monitor: str = "valid_loss"
    """The validation metric that decides the best checkpoint, `patience` and the
    schedule `plateau`, such as "valid_bleu"."""


@config
class TranslationEvaluationConfig:
    """How a split is evaluated, and how sentences are translated."""

    batch_tokens: Count = 8192
    """Tokens at a time, with padding; the metrics do not depend on it."""
    bleu: bool = True
    """Whether splits are translated, for BLEU and chrF; needs the extra `translate`."""
    tokenize: Literal["13a", "none", "intl", "char", "zh"] = "13a"
    """The tokenizer of BLEU: `13a` for natural text, `none` for text that is tokenised
    already."""
    lowercase: bool = False
    """Whether BLEU and chrF ignore case."""
    beams: Annotated[int, Field(ge=1, le=1000)] = 5
    """Translations that the search follows; 1 takes the most likely token at every
    step."""
    alpha: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Strength of the length normalisation: 0 favours short translations."""
    coverage_penalty: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Weight of a penalty for source tokens that were not attended to."""


@config
class TranslationConfig:
    """A translator, from files to checkpoint."""

    task: Literal["translation"] = "translation"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    data: TranslationDataConfig = TranslationDataConfig()
    model: TranslatorConfig = TranslatorConfig()
    optimizer: OptimizerConfig = Adam()
    train: TranslationTrainConfig = TranslationTrainConfig()
    evaluation: TranslationEvaluationConfig = TranslationEvaluationConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self):
        if self.model.tied == "both" and not self.data.shared:
            raise ValueError(
                'model.tied is "both", which needs one vocabulary; set data.shared=true'
            )
        scored = self.train.monitor in ("valid_bleu", "valid_chrf")
        if scored and not self.evaluation.bleu:
            raise ValueError(
                f"train.monitor is {self.train.monitor!r} and evaluation.bleu is "
                f"false; set evaluation.bleu=true"
            )
