"""Transcription: recordings into text, with recurrent layers and CTC."""

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax._types import PyTree
from lstm_jax.audio import features, frame_lengths
from lstm_jax.data.text import DataError
from lstm_jax.models.ctc import ctc_fits, ctc_nats
from lstm_jax.models.functional import Functional
from lstm_jax.scores import class_scores
from lstm_jax.scores.edits import NONE, Edits, aligned, count_edits, word_confusion
from lstm_jax.tasks.abilities import Details, Example
from lstm_jax.tasks.text_generation import TextGeneration
from lstm_jax.tasks.transcribing import Posteriors, Transcribing, Transcript
from lstm_jax.tasks.transcription_batches import TranscriptionBatches
from lstm_jax.tasks.transcription_config import TranscriptionConfig
from lstm_jax.tasks.transcription_data import TranscriptionData, TranscriptionMetadata
from lstm_jax.tasks.transcription_fusion import LabelModel, label_model
from lstm_jax.tasks.transcription_search import TranscriptionOptions
from lstm_jax.tasks.transcription_stream import TranscriptStream
from lstm_jax.training.batches import HostBatches
from lstm_jax.training.metrics import Aux, Mean, Metric, Metrics, number

METRICS: Metrics = {
    "loss": Metric("nats per token"),
    "wer": Metric(label="word error rate"),
    "cer": Metric(label="character error rate"),
    "accuracy": Metric(better="higher", label="transcripts without error"),
}
MOVED = frozenset({"data.path", "data.train", "data.valid", "data.test"})
LONG_SECONDS = 600
"""A longer sound is heard as a stream."""
PIECE_SECONDS = 20
"""A long sound is heard in pieces of so many seconds."""
MOST_GROUPS = 50
"""More groups than these have no metrics of their own."""
OTHER = "(other)"
"""Stands for all other words in the confusion matrix."""
MOST_WORDS = 100
"""The confusion matrix has the most frequent words, so many at the most."""


class Transcription:
    """Recordings, transcripts and a recogniser: a `lstm_jax.training.task.Task`.

    Args:
        config: see `TranscriptionConfig`.
        metadata: the metadata of a run that exists. Its vocabulary and standardisation
            are used.
    """

    items = "recordings"
    moved = MOVED
    metadata_type = TranscriptionMetadata
    metrics = METRICS

    def __init__(
        self, config: TranscriptionConfig, metadata: Mapping[str, Any] | None = None
    ):
        self.config = config
        self.data = data = TranscriptionData(config, metadata)
        build = config.model.build
        sizes = config.features, data.scale, data.classes
        self.model = Functional(lambda key: build(*sizes, nnx.Rngs(key)))
        self.items_per_step = config.train.batch_size
        hop = config.features.hop_size / config.features.rate
        self.transcribing = Transcribing(
            self.model,
            data.tokenizer,
            self.rate,
            hop * config.model.stack_frames,
        )

    @property
    def tokenizer(self):
        """Transcripts to tokens and back."""
        return self.data.tokenizer

    # Training

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    def batches(self) -> HostBatches:
        train, config = self.config.train, self.config
        source = TranscriptionBatches(
            self.data.split("train"),
            train.batch_size,
            train.buckets,
            rate=self.rate,
            sounds=config.sounds,
            seed=config.seed,
        )
        return HostBatches(source, train.block)

    def loss(self, params, carry, batch, key):
        """The mean CTC loss of a token in nats."""
        logits, steps = self.model(params)(
            batch.signal, batch.lengths, key=key, deterministic=False
        )
        mean = self._nats(logits, steps, batch)
        return mean.total / jnp.maximum(mean.weight, 1), Aux(carry, {}, mean.weight)

    def _nats(self, logits, steps, batch) -> Mean:
        """Nats and tokens of the recordings that have a step for every token."""
        labels, lengths = batch.labels, batch.label_lengths
        nats = ctc_nats(logits, labels, steps, lengths, blank=self.data.blank)
        counted = (batch.weights > 0) & ctc_fits(labels, steps, lengths)
        total = jnp.where(counted, nats, 0).sum()
        tokens = jnp.where(counted, jnp.maximum(lengths, 1), 0).sum()
        return Mean(total, tokens.astype(total.dtype))

    # Evaluation

    @property
    def final_split(self) -> str:
        return self.data.final_split

    @property
    def rate(self) -> int:
        """Samples a second of the sounds that the model hears."""
        return self.config.features.rate

    @property
    def transcription_options(self) -> TranscriptionOptions:
        """How transcripts are searched for unless the user asks for something else."""
        return TranscriptionOptions(self.config.evaluation.beams)

    def language(self, generator: TextGeneration, params) -> LabelModel:
        """A language model for the options of a search; see `label_model`."""
        return label_model(generator, params, self.tokenizer)

    def evaluate(self, params, split):
        """Loss, error rates of words and characters, transcripts without any error; and
        the word error rate of every group as ``wer_GROUP``."""
        nats, said = self._read(params, split)
        texts = self.data.split(split).texts
        words = [
            count_edits(a.split(), b.split()) for a, b in zip(texts, said, strict=True)
        ]
        letters = [count_edits(a, b) for a, b in zip(texts, said, strict=True)]
        nothing = Edits(0, 0)
        found = {
            "loss": nats,
            "wer": sum(words, nothing).rate,
            "cer": sum(letters, nothing).rate,
            "accuracy": float(np.mean([edits.edits == 0 for edits in words])),
        }
        for group, members in self._groups(split).items():
            found[f"wer_{group}"] = sum((words[n] for n in members), nothing).rate
        return found

    def _groups(self, split):
        found = collections.defaultdict(list)
        for n, group in enumerate(self.data.split(split).groups):
            found[group].append(n)
        return dict(sorted(found.items())) if len(found) <= MOST_GROUPS else {}

    def _read(self, params, split) -> tuple[float, list[str]]:
        """Mean nats of a token, and the transcript of every recording."""
        recordings, config = self.data.split(split), self.config
        batches = TranscriptionBatches(
            recordings,
            config.evaluation.batch_size,
            config.train.buckets,
            rate=self.rate,
        )
        texts, nats = [""] * len(recordings), Mean(0.0, 0.0)
        for members, batch in batches.in_order():
            log_p, steps, mean = self._forward(params, batch)
            nats += Mean(float(mean.total), float(mean.weight))
            found = self.transcribing.search(log_p, steps, self.transcription_options)
            for row, member in enumerate(members):
                if member >= 0:
                    texts[member] = self._text(found[row])
        if not nats.weight:
            raise DataError(
                f"none of the {len(recordings):,} recordings of the {split} split has "
                f"a loss: {'; '.join(self.data.describe()['notes'])}; take others."
            )
        return nats.total / nats.weight, texts

    def _text(self, found):
        best = self.tokenizer.decode(found[0].tokens)
        return " ".join(best.split())

    @functools.cached_property
    def _forward(self):
        @jax.jit
        def forward(params, batch):
            logits, steps = self.model(params)(batch.signal, batch.lengths)
            log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
            return log_p, steps, self._nats(logits, steps, batch)

        return forward

    def sentence(self, metrics):
        return (
            f"word error rate {metrics['wer']:.2%}, character error rate "
            f"{metrics['cer']:.2%}, {metrics['accuracy']:.2%} of the transcripts "
            f"without error, {number(metrics['loss'])} nats per token"
        )

    def baselines(self, split, every=False):
        del every
        counts = collections.Counter(self.data.split("train").texts)
        best, _ = counts.most_common(1)[0]
        texts = self.data.split(split).texts
        rate = float(np.mean([text == best for text in texts]))
        said = (
            f"always {best!r}, the most frequent transcript: {rate:.2%} without error"
        )
        yield said, {"most_frequent_accuracy": rate}

    # Metadata

    def describe(self):
        return self.data.describe() | {"parameters": self.model.size}

    def summary(self, metadata):
        return self.data.summary(metadata)

    def check_same_data(self, metadata, directory):
        self.data.check_same(metadata, directory)

    # Abilities

    def example(self) -> Example:
        """A recording of the valid split."""
        recordings = self.data.split("valid")
        source = TranscriptionBatches(recordings, 1, 1, rate=self.rate)
        members, batch = next(source.in_order())
        samples = int(batch.lengths[0])
        sound, lengths = jnp.asarray(batch.signal)[:samples], jnp.array([samples])
        of, stacked = self.config.features, self.config.model.stack_frames
        steps = int(frame_lengths(lengths, of)[0]) // stacked
        seconds = of.hop_size * stacked / of.rate
        return Example(
            f"a recording of the valid split, {recordings.texts[int(members[0])]!r}",
            lambda model: model(sound, lengths, deterministic=True),
            [f"{n * seconds:.3f} s" for n in range(steps)],
        )

    def details(self, params, split) -> Details:
        """Precision, recall and F1 of the most frequent words, and which word was heard
        as which."""
        texts = self.data.split(split).texts
        _, said = self._read(params, split)
        pairs = [
            pair
            for right, heard in zip(texts, said, strict=True)
            for pair in aligned(right.split(), heard.split())
        ]
        counts = collections.Counter(word for word, _ in pairs if word != NONE)
        kept = sorted(word for word, _ in counts.most_common(MOST_WORDS))
        others = {word for pair in pairs for word in pair} - {*kept, NONE}
        classes = [*kept, *([OTHER] if others else []), NONE]
        known = lambda word: OTHER if word in others else word
        pairs = [(known(right), known(heard)) for right, heard in pairs]
        confusion = word_confusion(pairs, classes)
        scores = class_scores(confusion)
        rows = [(name, *of) for name, of in zip(kept, scores, strict=False)]
        columns = ["word", "precision", "recall", "F1", "times said"]
        return Details(columns, rows, confusion, classes)

    def transcribe(
        self,
        params: PyTree,
        sounds: Sequence[np.ndarray],
        options: TranscriptionOptions | None = None,
    ) -> list[list[Transcript]]:
        """The transcripts of every sound, in order, the best first; see `Transcribing`.

        A model that streams hears a long sound piece by piece, in little memory.

        Raises:
            DataError: a sound is longer than ten minutes, and the model does not
                stream.
        """
        options = options or self.transcription_options
        rate = self.rate
        found: list[Any] = [None] * len(sounds)
        for n, sound in enumerate(sounds):
            if len(sound) > LONG_SECONDS * rate:
                found[n] = self._heard_in_pieces(params, sound, options, n)
        rest = [n for n, one in enumerate(found) if one is None]
        several = [sounds[n] for n in rest]
        transcribed = self.transcribing.transcribe(params, several, options)
        for n, one in zip(rest, transcribed, strict=True):
            found[n] = one
        return found

    def posteriors(self, params: PyTree, sound: np.ndarray) -> Posteriors:
        """What the model heard at every step of a sound, ``[N]``."""
        of = self.config.features
        signal, lengths = jnp.asarray(sound)[:, None], jnp.array([len(sound)])
        log_p, steps = self.transcribing.log_p(params, signal, lengths)
        frame = of.hop_size / of.rate
        decode = self.tokenizer.decode
        return Posteriors(
            np.asarray(features(signal[:, 0], of)),
            frame,
            np.exp(np.asarray(log_p)[: int(steps[0]), 0]),
            frame * self.config.model.stack_frames,
            [decode([token]) for token in range(len(self.tokenizer))],
        )

    def _heard_in_pieces(self, params, sound, options, n):
        rate = self.rate
        if not self.config.model.streams:
            raise DataError(
                f"sound {n + 1} has {len(sound) / rate / 60:.1f} minutes, and this "
                f"model reads the whole sound at once, up to {LONG_SECONDS // 60}; cut "
                f"it into pieces, or train a model with model.bidirectional=false and "
                f'model.normalise "train" or "running".'
            )
        stream = self.stream(params, options=options)
        for start in range(0, len(sound), PIECE_SECONDS * rate):
            stream.feed(sound[start : start + PIECE_SECONDS * rate])
        stream.finish()
        return stream.transcripts

    def stream(
        self,
        params: PyTree,
        rate: int | None = None,
        options: TranscriptionOptions | None = None,
    ) -> TranscriptStream:
        """A transcript that grows while the sound comes; see `TranscriptStream`.

        Raises:
            DataError: the model needs the whole sound.
        """
        model = self.config.model
        if not model.streams:
            directions = str(model.bidirectional).lower()
            raise DataError(
                f"this model has model.bidirectional={directions} and model.normalise="
                f'"{model.normalise}", which need the whole sound; train one with '
                f'model.bidirectional=false and model.normalise "train" or "running".'
            )
        return TranscriptStream(
            self.transcribing,
            self.model,
            params,
            self.config.features,
            model.stack_frames,
            self.rate if rate is None else rate,
            options or self.transcription_options,
        )
