"""Labelled sequences as a task has them: encoded, with what train has taught.

Classes, standardisation and vocabulary are learned from the training split alone. They
are part of the metadata of a run, so that it is used without its training data.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lstm_jax.data.labelled import (
    Examples,
    Labelled,
    check_features,
    encode,
    label,
    label_splits,
    text_of,
)
from lstm_jax.data.standardise import Standardisation
from lstm_jax.data.text import DataError, counted
from lstm_jax.data.tokens import Tokenizer, Words, learn, restore
from lstm_jax.models.encoder import Inputs, Tokens
from lstm_jax.tasks.abilities import Example
from lstm_jax.tasks.labelled_config import FilesConfig, ImagesConfig
from lstm_jax.tasks.same_data import check_same_sha256
from lstm_jax.training.metadata import Metadata

SHOWN = 8
"""So many features are named when training starts."""


class LabelledMetadata(Metadata):
    """The types of what `LabelledData.describe` says."""

    data: str
    examples: dict[str, int]
    classes: list[str]
    features: list[str]
    longest: int
    sha256: str
    standardisation: dict[str, list[float]] | None = None
    tokenizer: dict[str, Any] | None = None


class LabelledData:
    """The splits of a config, and what is learned from them.

    Args:
        config: where they are; see `lstm_jax.tasks.labelled_config`.
        metadata: of a run that exists: what it had learned is used again.
    """

    def __init__(self, config: FilesConfig, metadata: Mapping[str, Any] | None = None):
        self._config, self._known = config, metadata or {}

    # What is learned

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        known = self._known.get("classes")
        return tuple(known) if known else self.splits["train"].classes

    @functools.cached_property
    def features(self) -> tuple[str, ...]:
        """The names of the features; none of texts."""
        known = self._known.get("features")
        return tuple(self._examples["train"].features if known is None else known)

    @functools.cached_property
    def longest(self) -> int:
        """Steps of the longest training sequence."""
        known = self._known.get("longest")
        return known or max(map(len, self.splits["train"].sequences))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Text to tokens and back; ``None`` of series."""
        if known := self._known.get("tokenizer"):
            return restore(known)
        config: Any = self._config
        if self._known or not hasattr(config, "tokens"):
            return None
        return learn(
            config.tokens,
            text_of(self._examples["train"]),
            limit=config.vocabulary_limit,
            min_count=config.min_count,
        )

    @functools.cached_property
    def inputs(self) -> Inputs:
        """What the model reads."""
        if self.tokenizer is not None:
            return Tokens(len(self.tokenizer))
        if known := self._known.get("standardisation"):
            return Standardisation.restore(known)
        train = self._examples["train"]
        if isinstance(self._config, ImagesConfig):
            # One scale for all pixels: those at the rim are nearly constant.
            pixels = [x.reshape(-1, 1) for x in train.sequences]
            one, count = Standardisation.fit(pixels), len(train.features)
            return Standardisation(one.mean * count, one.std * count)
        return Standardisation.fit(train.sequences, train.features)

    # The splits

    @functools.cached_property
    def _examples(self) -> dict[str, Examples]:
        return self._config.read_splits()

    @functools.cached_property
    def splits(self) -> dict[str, Labelled]:
        """The encoded examples of every split, with their labels."""
        encoded = {name: self._encode(of) for name, of in self._examples.items()}
        if known := self._known.get("classes"):
            for name, examples in encoded.items():
                check_features(examples, self.features, name)
            return {name: label(of, known) for name, of in encoded.items()}
        return label_splits(encoded)

    def split(self, name: str) -> Labelled:
        """One of `splits`; DataError where there is no such split."""
        if name not in self.splits:
            raise DataError(
                f"the data have no split {name}, only {', '.join(self.splits)}."
            )
        return self.splits[name]

    def read(self, path: str | Path) -> tuple[Examples, Examples]:
        """New examples without labels: as their file has them, and encoded."""
        found = self._config.read_new(str(path), self.features, self.classes)
        encoded = self._encode(found)
        check_features(encoded, self.features, "new")
        return found, encoded

    def _encode(self, examples):
        if self.tokenizer is not None:
            return encode(examples, self.tokenizer)
        for sequence, source in zip(examples.sequences, examples.sources, strict=True):
            if (np.abs(sequence) > np.finfo(np.float32).max).any():
                raise DataError(
                    f"{source}: the value {np.abs(sequence).max():g} is beyond the "
                    f"range of 32-bit numbers; scale this feature."
                )
        return examples

    def example(self) -> Example:
        """The first sequence of the valid split."""
        sequence = np.asarray(self.split("valid").sequences[0])
        row, tokenizer = jnp.asarray(sequence)[:, None], self.tokenizer
        if tokenizer is not None:
            words = [tokenizer.decode([token]) for token in sequence.tolist()]
        else:
            words = [_values(self.features, values) for values in sequence.tolist()]
        return Example(
            "the first sequence of the valid split",
            lambda model: model(row, deterministic=True),
            words,
            is_text=tokenizer is not None,
            between=" " * isinstance(tokenizer, Words),
        )

    # Metadata

    @property
    def final_split(self) -> str:
        """Test, or validation where there is no test split."""
        names = self._known.get("examples") or self.splits
        return "test" if "test" in names else "valid"

    def describe(self) -> dict[str, Any]:
        """Metadata of the data, and what is needed to use a run without them."""
        inputs, tokenizer = self.inputs, self.tokenizer
        said = {
            "data": self._config.path or self._config.train,
            "examples": {name: len(split) for name, split in self.splits.items()},
            "classes": [*self.classes],
            "features": [*self.features],
            "longest": self.longest,
            "sha256": self.sha256,
        }
        if tokenizer is not None:
            return said | {"tokenizer": tokenizer.facts()}
        assert isinstance(inputs, Standardisation)
        return said | {"standardisation": inputs.facts()}

    def summary(self, metadata: Mapping[str, Any]) -> str:
        """Examples, classes and features in a line."""
        examples = metadata["examples"]
        counts = ", ".join(f"{n:,} {name}" for name, n in examples.items())
        said = f"{counts}; {len(metadata['classes'])} classes"
        if features := metadata["features"]:
            said += f"; {_features(features)}"
        return (
            f"{metadata['data']}: {said}; up to {counted(metadata['longest'], 'step')}"
        )

    @functools.cached_property
    def sha256(self) -> str:
        """Of all sequences and labels."""
        digest = hashlib.sha256()
        for name, split in self.splits.items():
            tags = isinstance(split.labels, tuple)
            digest.update(f"{name} {len(split)} {split.classes}".encode())
            for sequence in split.sequences:
                digest.update(f"{sequence.shape} {sequence.dtype}".encode())
                digest.update(sequence.tobytes())
            labels = np.concatenate(split.labels) if tags else split.labels
            digest.update(np.asarray(labels).tobytes())
        return digest.hexdigest()

    def check_same(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Raises RunError if a run was trained on other data."""
        check_same_sha256(metadata, self.sha256, directory)


def _values(names, values):
    """The first values of a step, with their names."""
    pairs = [*zip(names, values, strict=False)][:SHOWN]
    said = ", ".join(f"{name} {value:.4g}" for name, value in pairs)
    return said + ", ..." * (len(values) > SHOWN)


def _features(names):
    """The names of features; of many their number and the first ones."""
    if len(names) > SHOWN:
        first = ", ".join(names[: SHOWN // 2])
        return f"{len(names):,} features: {first}, ..."
    return f"feature{'s' * (len(names) > 1)} {', '.join(names)}"


def count_weights(data: Labelled, how: str) -> Any:
    """The weight of every class ``[C]``; ``None`` where all are 1.

    balanced    N / (C n_c), which gives all classes the same weight in sum
    """
    if how == "none":
        return None
    counts = np.maximum(data.counts, 1)
    return (counts.sum() / (len(counts) * counts)).astype(np.float32)


def most_frequent(train: Labelled, split: Labelled) -> tuple[str, float]:
    """The most frequent class of ``train``, and its fraction of the labels of
    ``split``."""
    best = int(train.counts.argmax())
    return train.classes[best], float(split.counts[best] / split.counts.sum())


def steps_of(sequences: Sequence[Any]) -> np.ndarray:
    """The steps of every sequence."""
    return np.array([len(sequence) for sequence in sequences], np.int64)
