"""Classification: one label for every sequence, of numbers, text or pixels."""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field

from lstm_jax.config import Count, config
from lstm_jax.models.classifier import ClassifierConfig
from lstm_jax.models.functional import Functional
from lstm_jax.models.label_loss import label_nats
from lstm_jax.scores import accuracy, confusion_matrix, macro_f1
from lstm_jax.tasks.abilities import Details, Example, Predictions, details_of
from lstm_jax.tasks.labelled_batches import LabelledBatches, training_batches
from lstm_jax.tasks.labelled_config import ImagesConfig, SeriesConfig, TextsConfig
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
from lstm_jax.training.trainer import TrainConfig

DataConfig = Annotated[
    SeriesConfig | TextsConfig | ImagesConfig, Field(discriminator="kind")
]


@config
class LabelledTrainConfig(TrainConfig):
    """How long to train, how often to do what, and what counts how much."""

    buckets: Count = 4
    """Batches hold sequences of similar length, in so many shapes at the most."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs a class by how rare it is in the training split."""


@config
class EvaluationConfig:
    """How a split is evaluated."""

    batch_size: Count = 256
    """Sequences at a time; the metrics do not depend on it."""


@config
class ClassificationConfig:
    """A classifier, from files to checkpoint."""

    task: Literal["classification"] = "classification"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    data: DataConfig = SeriesConfig()
    model: ClassifierConfig = ClassifierConfig()
    optimizer: OptimizerConfig = Adam()
    train: LabelledTrainConfig = LabelledTrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()


METRICS: Metrics = {
    "loss": Metric("nats per label"),
    "accuracy": Metric(better="higher"),
    "macro_f1": Metric(better="higher", label="macro F1"),
}
MOVED = frozenset({"data.path", "data.train", "data.valid", "data.test"})


class Classification:
    """Labelled sequences and a classifier: a `lstm_jax.training.task.Task`.

    Args:
        config: see `ClassificationConfig`.
        metadata: the metadata of a run that exists. Its classes, standardisation and
            vocabulary are used.
    """

    items = "sequences"
    moved = MOVED
    metadata_type = LabelledMetadata
    metrics = METRICS

    def __init__(
        self, config: ClassificationConfig, metadata: Mapping[str, Any] | None = None
    ):
        self.config = config
        self.data = LabelledData(config.data, metadata)
        self.items_per_step = config.train.batch_size
        sizes = self.data.inputs, len(self.data.classes), self.data.longest
        self.model = Functional(lambda key: config.model.build(*sizes, nnx.Rngs(key)))

    @property
    def tokenizer(self):
        """Text to tokens and back; ``None`` of series."""
        return self.data.tokenizer

    # Training

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    def batches(self) -> HostBatches:
        train = self.data.split("train")
        return training_batches(train, self.config.train, self.config.seed)

    @functools.cached_property
    def _class_weights(self) -> Any:
        return count_weights(self.data.split("train"), self.config.train.class_weights)

    def loss(self, params, carry, batch, key):
        """Mean cross-entropy of the labels in nats, weighted and smoothed."""
        logits = self.model(params)(
            batch.xs, lengths=batch.lengths, key=key, deterministic=False
        )
        total = label_nats(
            logits,
            batch.labels,
            weights=batch.weights,
            class_weights=self._class_weights,
            smoothing=self.config.model.label_smoothing,
        )
        right = (logits.argmax(-1) == batch.labels) * batch.weights
        metrics = {"accuracy": Mean(right.sum(), batch.weights.sum())}
        if self._class_weights is not None or self.config.model.label_smoothing:
            # As in evaluation, so that the two curves can be compared.
            plain = label_nats(logits, batch.labels, weights=batch.weights)
            metrics |= {"loss": Mean(*jax.lax.stop_gradient(plain))}
        return total.nats / total.weight, Aux(carry, metrics, total.weight)

    # Evaluation

    @property
    def final_split(self) -> str:
        return self.data.final_split

    def evaluate(self, params, split):
        """Mean nats of a label, accuracy, and the macro F1."""
        labelled = self.data.split(split)
        nats, probabilities = self._predict(params, labelled.sequences, labelled.labels)
        confusion = self._confusion(labelled, probabilities)
        return {
            "loss": nats,
            "accuracy": accuracy(confusion),
            "macro_f1": macro_f1(confusion),
        }

    def _confusion(self, labelled, probabilities):
        count = len(self.data.classes)
        return confusion_matrix(labelled.labels, probabilities.argmax(-1), count)

    def _predict(self, params, sequences, labels=None):
        """Mean nats of the labels, and the probabilities ``[N, C]``."""
        rows = self.config.evaluation.batch_size
        batches = LabelledBatches(sequences, labels, rows, self.config.train.buckets)
        found = np.zeros((len(sequences), len(self.data.classes)), np.float32)
        nats = Mean(0.0, 0.0)
        for members, batch in batches.in_order():
            total, probabilities = self._forward(params, batch)
            real = members >= 0
            found[members[real]] = np.asarray(probabilities)[real]
            nats += Mean(float(total.nats), float(total.weight))
        return nats.value, found

    @functools.cached_property
    def _forward(self):
        def forward(params, batch):
            logits = self.model(params)(batch.xs, lengths=batch.lengths)
            nats = label_nats(logits, batch.labels, weights=batch.weights)
            return nats, jax.nn.softmax(logits.astype(jnp.float32))

        return jax.jit(forward)

    def sentence(self, metrics):
        return (
            f"accuracy {metrics['accuracy']:.2%}, macro F1 {metrics['macro_f1']:.4f}, "
            f"{number(metrics['loss'])} nats per label"
        )

    def baselines(self, split, every=False):
        del every
        name, rate = most_frequent(self.data.split("train"), self.data.split(split))
        said = f"always {name!r}, the most frequent class: accuracy {rate:.2%}"
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
        """Precision, recall and F1 by class, and the confusion matrix."""
        labelled = self.data.split(split)
        _, probabilities = self._predict(params, labelled.sequences)
        confusion = self._confusion(labelled, probabilities)
        return details_of(confusion, self.data.classes, "class", "examples")

    def predict(self, params, path) -> Predictions:
        """The class of every sequence of a file, and the probability of each class.

        A sequence has the id of its file, or else its number in the file, from 0 on.
        """
        examples, encoded = self.data.read(path)
        _, probabilities = self._predict(params, encoded.sequences)
        classes = self.data.classes
        columns = ["id", "source", "prediction", *(f"p({name})" for name in classes)]
        ids = examples.ids or range(len(examples))
        rows = [
            [name, source, classes[p.argmax()], *map(float, p)]
            for name, source, p in zip(
                ids, examples.sources, probabilities, strict=True
            )
        ]
        return Predictions(columns, rows)
