"""The config of a speech recogniser: its recordings, and how it is trained."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lstm_jax.audio import FeatureConfig
from lstm_jax.config import Count, config
from lstm_jax.data.sounds import augment
from lstm_jax.models.acoustic import AcousticConfig
from lstm_jax.tasks.splits_config import SplitsConfig
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.parallel import ParallelConfig
from lstm_jax.training.run_folder import RunConfig
from lstm_jax.training.trainer import TrainConfig


@config
class TranscriptionDataConfig(SplitsConfig):
    """Which recordings, and what their transcripts are cut into.

    A folder has a folder for each label, with the recordings of this label in it. A
    manifest, JSONL or CSV, names a recording and its transcript in every row.
    """

    audio: str = "path"
    """The key or column of a manifest with the path of a recording, as seen from the
    folder of the manifest."""
    text: str = "text"
    """The key or column of the transcript."""
    group: str = ""
    """The key or column of a group, such as the speaker; empty: no groups. The metrics
    of each group are shown, too."""
    test_groups: tuple[str, ...] = ()
    """Groups of `path` or `train` to test on, such as speakers that training must not
    hear; instead of `test` and `test_fraction`."""
    valid_groups: tuple[str, ...] = ()
    """Groups to validate on, instead of `valid` and `valid_fraction`."""
    tokens: Literal["characters", "words", "bpe", "unigram"] = "characters"
    """What a transcript is cut into."""
    vocabulary_limit: NonNegativeInt = 0
    """Tokens at the most; 0: all of them, 4096 sub-words."""
    min_count: PositiveInt = 1
    """How often a word, or a pair of `bpe`, must occur in the training split."""
    lowercase: bool = False
    """Whether transcripts are made lower-case."""
    max_seconds: PositiveFloat = 30.0
    """Longer recordings are left out of training; the number of them is printed."""

    def __post_init__(self):
        super().__post_init__()
        for groups, other in (("test_groups", "test"), ("valid_groups", "valid")):
            if getattr(self, groups) and not self.group:
                raise ValueError(
                    f"{groups} is set and group is not; set group to the key of the "
                    f"manifest with the groups, such as group=speaker"
                )
            if getattr(self, groups) and getattr(self, other):
                raise ValueError(
                    f"{groups} and {other} are both set; leave one of them out"
                )


@config
class SoundsConfig:
    """What training does to recordings, at random and anew in every epoch."""

    speed_percent: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Up to so much faster or slower, with the pitch."""
    tempo_percent: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Up to so much faster or slower, without the pitch."""
    tone_db: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Each of 8 frequencies up to so much louder or softer, as of other microphones."""
    gain_db: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Up to so much louder or softer."""
    noise_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of the recordings that get noise."""
    noise: augment.Color = "white"
    """White noise has the same power at all frequencies, pink in every octave."""
    noise_low_db: Annotated[float, Field(ge=-20, le=100)] = 0.0
    """The lowest ratio of sound to noise."""
    noise_high_db: Annotated[float, Field(ge=-20, le=100)] = 30.0
    """The highest ratio of sound to noise."""
    join: Annotated[int, Field(ge=1, le=100)] = 1
    """Up to so many recordings one after the other, their transcripts too, so that a
    model of words hears sentences."""
    gap_low_ms: NonNegativeFloat = 0.0
    """The shortest silence before, between and after recordings that are joined."""
    gap_high_ms: NonNegativeFloat = 200.0
    """The longest silence."""

    def __post_init__(self):
        for name, unit in (("noise", "db"), ("gap", "ms")):
            low, high = f"{name}_low_{unit}", f"{name}_high_{unit}"
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"{low} is {getattr(self, low):g} and {high} "
                    f"{getattr(self, high):g}, expected {low} up to {high}"
                )


@config
class TranscriptionTrainConfig(TrainConfig):
    """How long to train, how often to do what, and how large batches are."""

    batch_size: Count = 16
    """Recordings of a batch."""
    buckets: Count = 6
    """Batches hold recordings of similar length, in so many shapes, roughly."""
    monitor: str = "valid_wer"
    """The validation metric that decides the best checkpoint, `patience` and the
    schedule `plateau`."""


@config
class TranscriptionEvaluationConfig:
    """How a split is evaluated, and how recordings are transcribed."""

    batch_size: Count = 32
    """Recordings at a time; the metrics do not depend on it."""
    beams: Annotated[int, Field(ge=1, le=1000)] = 1
    """Transcripts that the search follows; 1 takes the most likely class at every
    step."""


@config
class TranscriptionConfig:
    """A speech recogniser, from recordings to checkpoint."""

    task: Literal["transcription"] = "transcription"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    data: TranscriptionDataConfig = TranscriptionDataConfig()
    features: FeatureConfig = FeatureConfig()
    sounds: SoundsConfig = SoundsConfig()
    model: AcousticConfig = AcousticConfig()
    optimizer: OptimizerConfig = Adam()
    train: TranscriptionTrainConfig = TranscriptionTrainConfig()
    evaluation: TranscriptionEvaluationConfig = TranscriptionEvaluationConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()
