"""Pairs of sentences as a task has them: encoded, with what train has taught.

The vocabularies are learned from the training split alone. They are part of the
metadata of a run, so that it is used without its training data.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.parallel import (
    EncodedPairs,
    Pairs,
    SentenceTokens,
    encode_pairs,
    learn_pair,
    read_pairs,
    without_empty,
    without_long,
)
from lstm_jax.data.text import DataError, counted
from lstm_jax.data.tokens import restore
from lstm_jax.tasks.same_data import check_same_sha256
from lstm_jax.tasks.translation_config import TranslationDataConfig
from lstm_jax.training.metadata import Metadata


class TranslationMetadata(Metadata):
    """The types of what `TranslationData.describe` says."""

    data: str
    pairs: dict[str, int]
    left_out: list[str]
    longest: int
    sha256: str
    source_tokenizer: dict[str, Any]
    target_tokenizer: dict[str, Any] | None = None
    """``None`` where both sides share the tokenizer of the source."""


class TranslationData:
    """The splits of a config, and what is learned from them.

    Args:
        config: where they are.
        metadata: of a run that exists: its vocabularies are used again.
    """

    def __init__(
        self, config: TranslationDataConfig, metadata: Mapping[str, Any] | None = None
    ):
        self._config, self._known = config, metadata or {}
        self._encoded: dict[str, EncodedPairs] = {}

    # What is learned

    @functools.cached_property
    def _tokens(self) -> tuple[SentenceTokens, SentenceTokens]:
        if known := self._known.get("source_tokenizer"):
            source = restore(known)
            other = self._known.get("target_tokenizer")
            target = source if other is None else restore(other)
        else:
            config = self._config
            limit = 0 if config.tokens == "bytes" else config.vocabulary_limit
            source, target = learn_pair(
                config.tokens,
                self.splits["train"],
                shared=config.shared,
                limit=limit,
                min_count=config.min_count,
            )
        return SentenceTokens(source), SentenceTokens(target)

    @property
    def source(self) -> SentenceTokens:
        """Sentences of the source to tokens and back."""
        return self._tokens[0]

    @property
    def target(self) -> SentenceTokens:
        """Sentences of the target to tokens and back."""
        return self._tokens[1]

    # The splits

    @functools.cached_property
    def _read(self) -> tuple[dict[str, Pairs], str]:
        """The pairs of every split, and a note of those left out of training."""
        config = self._config
        train = self._file(config.source, config.target, config.path)
        if train is None:
            raise DataError(
                "data.source and data.target are empty; set them to two aligned files "
                "of sentences, or set data.path to one file of both sides."
            )
        valid = self._file(config.valid_source, config.valid_target, config.valid)
        test = self._file(config.test_source, config.test_target, config.test)
        splits = {"train": train, "valid": valid, "test": test}
        train, note = without_empty(train)
        splits["train"] = train
        cut = {
            "valid": config.valid_fraction if valid is None else 0.0,
            "test": config.test_fraction if test is None else 0.0,
        }
        splits |= _cut(train, cut, config.split_seed)
        if splits["valid"] is None:
            raise DataError(
                f"data.valid_fraction={config.valid_fraction:g} of "
                f"{counted(len(train), 'pair')} is no pair, and no validation files "
                f"are set; training needs validation data."
            )
        return {name: of for name, of in splits.items() if of is not None}, str(note)

    def _file(self, source, target, alone):
        keys = {"source": self._config.source_key, "target": self._config.target_key}
        if alone:
            return read_pairs(alone, **keys)
        return read_pairs(source, target) if source else None

    @property
    def splits(self) -> dict[str, Pairs]:
        """The pairs of every split as their files have them; train without those that
        are empty on a side."""
        return self._read[0]

    def split(self, name: str) -> Pairs:
        """One of `splits`; DataError where there is no such split."""
        if name not in self.splits:
            raise DataError(
                f"the data have no split {name}, only {', '.join(self.splits)}."
            )
        return self.splits[name]

    def encoded(self, name: str) -> EncodedPairs:
        """The tokens of a split; of train without pairs that are too long."""
        if name not in self._encoded:
            found = encode_pairs(self.split(name), self.source, self.target)
            if name == "train":
                found, self._long = without_long(found, self._config.max_length)
            self._encoded[name] = found
        return self._encoded[name]

    # Metadata

    @property
    def final_split(self) -> str:
        """Test, or validation where there is no test split."""
        return (
            "test" if "test" in (self._known.get("pairs") or self.splits) else "valid"
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest source sentence of training, its end included."""
        # A run that starts from another knows its vocabularies, but not its pairs.
        known = self._known.get("longest") if "pairs" in self._known else None
        return known or int(self.encoded("train").lengths[:, 0].max())

    def describe(self) -> dict[str, Any]:
        """Metadata of the data, and what is needed to use a run without them."""
        config = self._config
        pairs = {name: len(self.encoded(name)) for name in self.splits}
        source, target = self.source.tokenizer, self.target.tokenizer
        notes = (self._read[1], str(self._long))
        return {
            "data": config.path or f"{config.source} to {config.target}",
            "pairs": pairs,
            "left_out": [note for note in notes if note],
            "longest": self.longest,
            "sha256": self.sha256,
            "source_tokenizer": source.facts(),
            "target_tokenizer": None if target is source else target.facts(),
        }

    def summary(self, metadata: Mapping[str, Any]) -> str:
        """Pairs and vocabularies in a line, and what is left out."""
        counts = ", ".join(f"{n:,} {name}" for name, n in metadata["pairs"].items())
        sizes = f"{len(self.source.tokenizer):,}"
        if self.target.tokenizer is not self.source.tokenizer:
            sizes += f" and {len(self.target.tokenizer):,}"
        said = f"{counts} pairs; {sizes} tokens ({self.source.tokenizer.name})"
        notes = "".join(f"\n{note}" for note in metadata["left_out"])
        return (
            f"{metadata['data']}: {said}; up to {metadata['longest']} tokens a "
            f"source sentence{notes}"
        )

    @functools.cached_property
    def sha256(self) -> str:
        """Of all sentences."""
        digest = hashlib.sha256()
        for name, pairs in self.splits.items():
            digest.update(f"{name} {len(pairs)}\n".encode())
            for sentence in (*pairs.sources, *pairs.targets):
                digest.update(f"{sentence}\n".encode())
        return digest.hexdigest()

    def check_same(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Raises RunError if a run was trained on other data."""
        check_same_sha256(metadata, self.sha256, directory)


def _cut(train, fractions, seed):
    """Pairs cut from train at random, and those that remain."""
    counts = {name: round(part * len(train)) for name, part in fractions.items()}
    if not any(counts.values()):
        return {}
    if (left := len(train) - sum(counts.values())) < 1:
        raise DataError(
            f"data.valid_fraction and data.test_fraction leave {left} of "
            f"{len(train):,} pairs to train on; lower them."
        )
    order, at, found = np.random.default_rng(seed).permutation(len(train)), 0, {}
    for name, count in counts.items():
        if count:
            found[name] = train.take(np.sort(order[at : at + count]))
        at += count
    return {"train": train.take(np.sort(order[at:]))} | found
