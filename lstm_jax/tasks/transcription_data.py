"""Recordings as a task has them: their samples, their tokens, what train has taught.

Vocabulary and standardisation are learned from the training split alone. They are part
of the metadata of a run, so that it is used without its training data.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.audio import FeatureConfig, features, frame_count
from lstm_jax.audio.frames import power_of_two
from lstm_jax.data.sounds import (
    Recordings,
    by_group,
    read_recordings,
    split_recordings,
)
from lstm_jax.data.standardise import Standardisation
from lstm_jax.data.text import DataError, counted
from lstm_jax.data.tokens import Tokenizer, learn, restore
from lstm_jax.models.acoustic import at_level
from lstm_jax.tasks.same_data import check_same_sha256
from lstm_jax.tasks.splits_config import check_leave_some
from lstm_jax.tasks.transcription_config import TranscriptionConfig
from lstm_jax.tasks.transcription_sounds import Sounds, Utterances, needed_steps
from lstm_jax.training.metadata import Metadata

KEPT_BYTES = 2**31
"""Samples are kept in memory up to so many bytes; others are read again."""
FITTED = 1000
"""Recordings that the standardisation is computed from, at the most."""


class TranscriptionMetadata(Metadata):
    """The types of what `TranscriptionData.describe` says."""

    data: str
    recordings: dict[str, int]
    minutes: dict[str, float]
    notes: list[str]
    groups: list[str]
    sha256: str
    tokenizer: dict[str, Any]
    standardisation: dict[str, list[float]]


class TranscriptionData:
    """The splits of a config, and what is learned from them.

    Args:
        config: where they are, and which features are computed.
        metadata: of a run that exists: what it had learned is used again.
    """

    def __init__(
        self, config: TranscriptionConfig, metadata: Mapping[str, Any] | None = None
    ):
        self._config, self._known = config, metadata or {}
        self._of: FeatureConfig = config.features
        self._notes: list[str] = []

    # What is learned

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Transcripts to tokens and back."""
        if known := self._known.get("tokenizer"):
            return restore(known)
        config, texts = self._config.data, self._texts["train"]
        joined = config.tokens != "characters" or self._config.sounds.join > 1
        between = " " if joined else ""
        if not (text := between.join(texts)).strip():
            raise DataError(
                "all transcripts of the training recordings are empty; expected some "
                "text."
            )
        return learn(
            config.tokens,
            text,
            limit=config.vocabulary_limit,
            min_count=config.min_count,
        )

    @property
    def classes(self) -> int:
        """Tokens, and the blank, which is the last class."""
        return len(self.tokenizer) + 1

    @property
    def blank(self) -> int:
        """The class that stands for no token."""
        return len(self.tokenizer)

    @functools.cached_property
    def scale(self) -> Standardisation:
        """Of the features, over some of the training recordings."""
        if known := self._known.get("standardisation"):
            return Standardisation.restore(known)
        train = self.split("train")
        some = np.unique(np.linspace(0, len(train) - 1, FITTED).round().astype(int))
        found = [self._features_of(train.sound(n)) for n in some]
        names = [f"{n}" for n in range(self._of.size)]
        return Standardisation.fit(found, names)

    def _features_of(self, samples):
        # In a few compiled sizes.
        size = power_of_two(len(samples))
        count = frame_count(len(samples), self._of)
        padded: Any = np.pad(samples, (0, size - len(samples)))
        length: Any = np.int32(len(samples))
        if self._config.model.normalise == "level":
            padded = at_level(padded, length)
        return np.asarray(features(padded, self._of, length))[:count]

    # The splits

    @functools.cached_property
    def _recordings(self) -> dict[str, Recordings]:
        config = self._config.data
        first = config.path or config.train
        if not first:
            raise DataError(
                "data.path is empty; set it to a folder with a folder of recordings "
                "for each label, or to a manifest, JSONL or CSV, with a path and a "
                "text in every row."
            )
        named = {"audio": config.audio, "text": config.text, "group": config.group}
        rest, splits = read_recordings(first, **named), {}
        for name in ("valid", "test"):
            if path := getattr(config, name):
                splits[name] = read_recordings(path, **named)
            elif groups := getattr(config, f"{name}_groups"):
                splits[name], rest = by_group(rest, groups)
        if not len(rest):
            raise DataError(
                "data.valid_groups and data.test_groups take all recordings, which "
                "leaves none to train on; take a group out of them."
            )
        cut = {
            "valid": 0.0 if "valid" in splits else config.valid_fraction,
            "test": config.test_fraction if config.path else 0.0,
        }
        if "test" in splits:
            cut["test"] = 0.0
        found = _cut(rest, cut, config.split_seed) | splits
        if "valid" not in found:
            raise DataError(
                f"data.valid_fraction={config.valid_fraction:g} of "
                f"{counted(len(rest), 'recording')} is no recording, and data.valid is "
                f"not set; training needs validation data."
            )
        return {
            name: found[name] for name in ("train", "valid", "test") if name in found
        }

    @functools.cached_property
    def _sounds(self) -> dict[str, Sounds]:
        found, room = {}, KEPT_BYTES
        for name, recordings in self._recordings.items():
            found[name] = Sounds(recordings, self._of.rate, room)
            room = found[name].room
        return found

    @functools.cached_property
    def _texts(self) -> dict[str, list[str]]:
        as_is = str.lower if self._config.data.lowercase else str
        return {
            name: [as_is(text) for text in recordings.texts or ()]
            for name, recordings in self._recordings.items()
        }

    @functools.cached_property
    def _tokens(self) -> dict[str, list[np.ndarray | None]]:
        """The tokens of all transcripts, before any sound is read."""
        found = {}
        for name, texts in self._texts.items():
            sources = self._recordings[name].sources
            found[name] = [
                self._encoded(text, source, name == "train")
                for text, source in zip(texts, sources, strict=True)
            ]
            strange = [n for n, tokens in enumerate(found[name]) if tokens is None]
            if strange:
                self._notes.append(
                    f"{name}: {counted(len(strange), 'transcript')} with characters "
                    f"that training has not, counted as errors; first: "
                    f"{sources[strange[0]]}"
                )
        return found

    def _encoded(self, text, source, required):
        try:
            return self.tokenizer.encode(text)
        except DataError as error:
            if not required:
                return None
            raise DataError(f"{source}: {error}") from error

    @functools.cached_property
    def _splits(self) -> dict[str, Utterances]:
        tokens, found = self._tokens, {}
        for name, sounds in self._sounds.items():
            chosen = self._usable(name, sounds, tokens[name])
            of = sounds, self._texts[name], tokens[name], chosen, self.tokenizer
            found[name] = Utterances(*of, self._steps_of)
        return found

    def _steps_of(self, samples: int) -> int:
        return frame_count(samples, self._of) // self._config.model.stack_frames

    def _usable(self, name, sounds, tokens):
        """The recordings of a split: all, but those that training cannot use. Notes
        are kept of those, and of others without a loss."""
        lengths, most = sounds.lengths, self._config.data.max_seconds
        train = name == "train"
        long = (lengths > most * self._of.rate) & train
        pairs = zip(tokens, lengths.tolist(), strict=True)
        short = [
            t is not None and needed_steps(t) > self._steps_of(n) for t, n in pairs
        ]
        short = np.array(short, bool) & ~long
        loss = "left out" if train else "counted without a loss"
        self._note(long, sounds, name, f"longer than data.max_seconds={most:g}, {loss}")
        self._note(short, sounds, name, f"too short for their transcripts, {loss}")
        chosen = np.flatnonzero(~(long | short)) if train else np.arange(len(sounds))
        if not len(chosen):
            raise DataError(
                f"none of the {counted(len(sounds), 'recording')} can be used: "
                f"{'; '.join(self._notes)}."
            )
        return chosen

    def _note(self, which, sounds, name, what):
        if which.any():
            first = sounds.recordings.sources[int(which.argmax())]
            count = counted(int(which.sum()), "recording")
            self._notes.append(f"{name}: {count} {what}; first: {first}")

    def split(self, name: str) -> Utterances:
        """A split; DataError where there is no such split."""
        if name not in self._recordings:
            raise DataError(
                f"the data have no split {name}, only {', '.join(self._recordings)}."
            )
        return self._splits[name]

    # Metadata

    @property
    def final_split(self) -> str:
        """The split whose metrics are the result."""
        config = self._config.data
        by_path = config.path and config.test_fraction
        return "test" if config.test or config.test_groups or by_path else "valid"

    def describe(self) -> dict[str, Any]:
        """What a run keeps of its data, to use a model without them."""
        self.split("train")
        config, rate = self._config.data, self._of.rate
        notes = [*self._notes]
        for name, sounds in self._sounds.items():
            for what, sources in sounds.notes.items():
                if sources:
                    notes.append(
                        f"{name}: {counted(len(sources), 'recording')} {what}, the "
                        f"first is {sources[0]}"
                    )
        groups = {g for of in self._recordings.values() for g in of.groups}
        return {
            "data": config.path or config.train,
            "recordings": {name: len(of) for name, of in self._splits.items()},
            "minutes": {
                name: round(float(of.lengths.sum()) / rate / 60, 2)
                for name, of in self._splits.items()
            },
            "notes": notes,
            "groups": sorted(groups),
            "sha256": self.sha256,
            "tokenizer": self.tokenizer.facts(),
            "standardisation": self.scale.facts(),
        }

    def summary(self, metadata: Mapping[str, Any]) -> str:
        """Recordings, minutes and tokens in a line, and every note in one more."""
        counts = ", ".join(
            f"{n:,} {name} ({metadata['minutes'][name]:g} minutes)"
            for name, n in metadata["recordings"].items()
        )
        tokenizer = restore(metadata["tokenizer"])
        said = f"{metadata['data']}: {counts} recordings; "
        said += f"{len(tokenizer):,} tokens ({tokenizer.name})"
        return "\n".join([said, *metadata["notes"]])

    @functools.cached_property
    def sha256(self) -> str:
        """Of all samples and transcripts."""
        digest = hashlib.sha256()
        for name, sounds in self._sounds.items():
            digest.update(f"{name} {len(sounds)}\n".encode())
            digest.update(sounds.digest.digest())
            for text in self._texts[name]:
                digest.update(f"{text}\n".encode())
            for group in self._recordings[name].groups:
                digest.update(f"{group}\n".encode())
        return digest.hexdigest()

    def check_same(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Raises RunError if a run was trained on other data."""
        check_same_sha256(metadata, self.sha256, directory)


def _cut(recordings, fractions, seed):
    """Train, and at random what has a fraction."""
    valid, test = fractions["valid"], fractions["test"]
    check_leave_some(valid, test)
    if not valid and not test:
        return {"train": recordings}
    found = split_recordings(recordings, (1 - valid - test, valid, test), seed)
    return {name: of for name, of in found.items() if len(of)}
