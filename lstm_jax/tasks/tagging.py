"""Tagging: one tag for every token of a sentence, by a linear layer or a CRF."""

import functools
import importlib.util
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import numpy as np
from flax import nnx
from pydantic import Field

from lstm_jax.config import config
from lstm_jax.data.text import DataError
from lstm_jax.models.functional import Functional
from lstm_jax.models.tagger import TaggerConfig
from lstm_jax.scores import (
    accuracy,
    confusion_matrix,
    entity_scores,
    macro_f1,
)
from lstm_jax.tasks.abilities import Details, Example, Predictions, details_of
from lstm_jax.tasks.classification import MOVED, EvaluationConfig, LabelledTrainConfig
from lstm_jax.tasks.labelled_batches import LabelledBatches, training_batches
from lstm_jax.tasks.labelled_config import SentencesConfig
from lstm_jax.tasks.labelled_data import (
    LabelledData,
    LabelledMetadata,
    count_weights,
    most_frequent,
)
from lstm_jax.training.batches import HostBatches
from lstm_jax.training.metrics import Aux, Mean, Metric, Metrics, number
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.parallel import ParallelConfig
from lstm_jax.training.run_folder import RunConfig


@config
class TaggingConfig:
    """A tagger, from files to checkpoint."""

    task: Literal["tagging"] = "tagging"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    data: SentencesConfig = SentencesConfig()
    model: TaggerConfig = TaggerConfig()
    optimizer: OptimizerConfig = Adam()
    train: LabelledTrainConfig = LabelledTrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self):
        if self.model.crf and self.train.class_weights != "none":
            raise ValueError(
                f"train.class_weights={self.train.class_weights} cannot be used with "
                f"model.crf=true, whose loss is that of a whole sentence; set one of "
                f"them"
            )


METRICS: Metrics = {
    "loss": Metric("nats per tag"),
    "accuracy": Metric(better="higher"),
    "macro_f1": Metric(better="higher", label="macro F1"),
    "entity_f1": Metric(better="higher", label="F1 of entities"),
}


class Tagging:
    """Tagged sentences and a tagger: a `lstm_jax.training.task.Task`.

    Tags in the form ``B-TYPE``, ``I-TYPE`` and ``O`` also give the F1 of entities.

    Args:
        config: see `TaggingConfig`.
        metadata: the metadata of a run that exists. Its tags and vocabulary are used.
    """

    items = "sentences"
    moved = MOVED
    metadata_type = LabelledMetadata

    def __init__(
        self, config: TaggingConfig, metadata: Mapping[str, Any] | None = None
    ):
        self.config = config
        self.data = LabelledData(config.data, metadata)
        self.items_per_step = config.train.batch_size
        sizes = self.data.inputs, len(self.data.classes), self.data.longest
        self.model = Functional(lambda key: config.model.build(*sizes, nnx.Rngs(key)))
        self.has_entities = all(
            tag == "O" or (tag[:2] in ("B-", "I-") and tag[2:])
            for tag in self.data.classes
        )
        measured = METRICS.items()
        self.metrics = {
            n: m for n, m in measured if n != "entity_f1" or self.has_entities
        }

    @property
    def tokenizer(self):
        """Text to tokens and back."""
        return self.data.tokenizer

    # Training

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    def _check_library(self):
        if self.has_entities and importlib.util.find_spec("nervaluate") is None:
            raise DataError(
                "the F1 of entities needs the package nervaluate: "
                "pip install 'lstm-jax[entities]'."
            )

    def batches(self) -> HostBatches:
        self._check_library()
        train = self.data.split("train")
        return training_batches(train, self.config.train, self.config.seed)

    @functools.cached_property
    def _class_weights(self) -> Any:
        return count_weights(self.data.split("train"), self.config.train.class_weights)

    def loss(self, params, carry, batch, key):
        """Mean nats of a tag; with a CRF, of whole sentences divided by their tags."""
        nats = functools.partial(
            self.model(params).loss,
            batch.xs,
            batch.labels,
            lengths=batch.lengths,
            weights=batch.weights,
            key=key,
            deterministic=False,
        )
        weights, smoothing = self._class_weights, self.config.model.label_smoothing
        total = nats(class_weights=weights, smoothing=smoothing)
        metrics = {}
        if weights is not None or smoothing:
            # As in evaluation, so that the two curves can be compared.
            metrics = {"loss": Mean(*jax.lax.stop_gradient(nats()))}
        return total.nats / total.weight, Aux(carry, metrics, total.weight)

    # Evaluation

    @property
    def final_split(self) -> str:
        return self.data.final_split

    def evaluate(self, params, split):
        """Mean nats of a tag, accuracy, macro F1, and the F1 of entities."""
        self._check_library()
        labelled = self.data.split(split)
        nats, tags = self._predict(params, labelled.sequences, labelled.labels)
        confusion = self._confusion(labelled, tags)
        metrics = {
            "loss": nats,
            "accuracy": accuracy(confusion),
            "macro_f1": macro_f1(confusion),
        }
        if self.has_entities:
            name = self.data.classes.__getitem__
            named = lambda rows: [[*map(name, row)] for row in rows]
            scores = entity_scores(named(labelled.labels), named(tags))
            metrics["entity_f1"] = scores.overall.f1
        return metrics

    def _confusion(self, labelled, tags):
        right, said = np.concatenate(labelled.labels), np.concatenate(tags)
        return confusion_matrix(right, said, len(self.data.classes))

    def _predict(self, params, sequences, labels=None):
        """Mean nats of the tags, and the predicted ones of every sentence."""
        rows = self.config.evaluation.batch_size
        if labels is None:
            labels = tuple(np.zeros(len(s), np.int32) for s in sequences)
        batches = LabelledBatches(sequences, labels, rows, self.config.train.buckets)
        found: list[Any] = [None] * len(sequences)
        nats = Mean(0.0, 0.0)
        for members, batch in batches.in_order():
            total, tags = self._forward(params, batch)
            tags = np.asarray(tags)
            for row in np.flatnonzero(members >= 0):
                found[members[row]] = tags[: batch.lengths[row], row]
            nats += Mean(float(total.nats), float(total.weight))
        return nats.value, found

    @functools.cached_property
    def _forward(self):
        def forward(params, batch):
            model, lengths = self.model(params), batch.lengths
            nats = model.loss(
                batch.xs, batch.labels, lengths=lengths, weights=batch.weights
            )
            return nats, model.decode(batch.xs, lengths=lengths)

        return jax.jit(forward)

    def sentence(self, metrics):
        said = f"accuracy {metrics['accuracy']:.2%}, macro F1 {metrics['macro_f1']:.4f}"
        if "entity_f1" in metrics:
            said += f", F1 of entities {metrics['entity_f1']:.4f}"
        return f"{said}, {number(metrics['loss'])} nats per tag"

    def baselines(self, split, every=False):
        del every
        name, rate = most_frequent(self.data.split("train"), self.data.split(split))
        said = f"always {name!r}, the most frequent tag: accuracy {rate:.2%}"
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
        """The first sequence of the valid split."""
        return self.data.example()

    def details(self, params, split) -> Details:
        """Precision, recall and F1 by tag, and the confusion matrix."""
        labelled = self.data.split(split)
        _, tags = self._predict(params, labelled.sequences)
        confusion = self._confusion(labelled, tags)
        return details_of(confusion, self.data.classes, "tag", "tokens")

    def predict(self, params, path) -> Predictions:
        """The tag of every token of a file; its sentences are numbered from 0 on."""
        examples, encoded = self.data.read(path)
        _, tags = self._predict(params, encoded.sequences)
        rows = [
            [n, source, token, self.data.classes[tag]]
            for n, (source, sentence, found) in enumerate(
                zip(examples.sources, examples.sequences, tags, strict=True)
            )
            for token, tag in zip(sentence, found, strict=True)
        ]
        return Predictions(["sentence", "source", "token", "tag"], rows)
