"""Recordings as a task has them: their samples, their tokens, what train has taught.

Vocabulary and standardisation are learned from the training split alone. They are part
of the metadata of a run, so that it is used without its training data.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.audio import FeatureConfig, features, frame_count
from lstm_jax.data.sounds import (
    Recordings,
    by_group,
    fraction_clipped,
    is_silent,
    read_recordings,
    read_sound,
    split_recordings,
)
from lstm_jax.data.standardise import Standardisation
from lstm_jax.data.text import DataError, counted
from lstm_jax.data.tokens import Tokenizer, learn, restore
from lstm_jax.models.ctc import ctc_fits
from lstm_jax.tasks.same_data import check_same_sha256
from lstm_jax.tasks.speech_config import SpeechConfig
from lstm_jax.training.metadata import Metadata

KEPT_BYTES = 2**31
"""Samples are kept in memory up to so many bytes; others are read again."""
CLIPPED = 0.01
"""A recording with this fraction of samples at full scale is called clipped."""
FITTED = 1000
"""Recordings that the standardisation is computed from, at the most."""


class SpeechMetadata(Metadata):
    """The types of what `SpeechData.describe` says."""

    data: str
    recordings: dict[str, int]
    minutes: dict[str, float]
    notes: list[str]
    groups: list[str]
    sha256: str
    tokenizer: dict[str, Any]
    standardisation: dict[str, list[float]]


class Sounds:
    """Samples of recordings, kept in memory as far as they fit.

    Args:
        recordings: their paths.
        rate: samples a second.
        room: bytes that may be kept.
    """

    def __init__(self, recordings: Recordings, rate: int, room: int):
        self.recordings, self._rate = recordings, rate
        self._kept: dict[int, np.ndarray] = {}
        self.lengths = np.zeros(len(recordings), np.int64)
        """Samples of every recording."""
        self.notes: dict[str, list[str]] = {"silent": [], "clipped": []}
        """Recordings that the user should know of."""
        self.digest = hashlib.sha256()
        for n, source in enumerate(recordings.sources):
            samples = self._read(n)
            self.lengths[n] = len(samples)
            self.digest.update(f"{len(samples)} ".encode())
            self.digest.update(samples.tobytes())
            if is_silent(samples):
                self.notes["silent"].append(source)
            elif fraction_clipped(samples) > CLIPPED:
                self.notes["clipped"].append(source)
            room -= samples.nbytes
            if room >= 0:
                self._kept[n] = samples
        self.room = max(room, 0)

    def __len__(self):
        return len(self.recordings)

    def __getitem__(self, n: int) -> np.ndarray:
        """The samples ``[N]`` of one, float32."""
        kept = self._kept.get(n)
        return self._read(n) if kept is None else kept

    def _read(self, n):
        recordings = self.recordings
        return read_sound(recordings.paths[n], self._rate, recordings.sources[n])


class Utterances:
    """A split: samples, transcripts and their tokens.

    Args:
        sounds: the samples.
        texts: the transcripts.
        tokens: their tokens.
        chosen: indices of the recordings that belong to the split.
    """

    def __init__(
        self,
        sounds: Sounds,
        texts: Sequence[str],
        tokens: Sequence[np.ndarray],
        chosen: np.ndarray,
    ):
        self._sounds, self._chosen = sounds, chosen
        self.texts: list[str] = [str(texts[n]) for n in chosen]
        self.tokens = [tokens[n] for n in chosen]
        self.lengths = sounds.lengths[chosen]
        """Samples of every recording."""
        recordings = sounds.recordings.take(chosen)
        self.groups, self.sources = recordings.groups, recordings.sources

    def __len__(self):
        return len(self._chosen)

    def sound(self, n: int) -> np.ndarray:
        """The samples of one."""
        return self._sounds[int(self._chosen[n])]


class SpeechData:
    """The splits of a config, and what is learned from them.

    Args:
        config: where they are, and which features are computed.
        metadata: of a run that exists: what it had learned is used again.
    """

    def __init__(self, config: SpeechConfig, metadata: Mapping[str, Any] | None = None):
        self._config, self._known = config, metadata or {}
        self._of: FeatureConfig = config.features

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
        # One compiled size: rows of zeros would count as silence.
        found = [self._features_of(train.sound(n)) for n in some]
        names = [f"{n}" for n in range(self._of.size)]
        return Standardisation.fit(found, names)

    def _features_of(self, samples):
        size = 1 << (len(samples) - 1).bit_length()
        count = frame_count(len(samples), self._of)
        padded: Any = np.pad(samples, (0, size - len(samples)))
        length: Any = np.int32(len(samples))
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
    def _splits(self) -> dict[str, Utterances]:
        found = {}
        for name, sounds in self._sounds.items():
            texts = self._texts[name]
            tokens = [*self._encoded(texts, sounds.recordings.sources)]
            chosen = np.arange(len(sounds))
            if name == "train":
                chosen = self._usable(sounds, tokens)
            found[name] = Utterances(sounds, texts, tokens, chosen)
        return found

    def _encoded(self, texts, sources) -> Iterator[np.ndarray]:
        for text, source in zip(texts, sources, strict=True):
            try:
                yield self.tokenizer.encode(text)
            except DataError as error:
                raise DataError(f"{source}: {error}") from error

    def _usable(self, sounds, tokens):
        """The recordings that training can use, with notes of the others."""
        lengths, most = sounds.lengths, self._config.data.max_seconds
        long = lengths > most * self._of.rate
        each = self._config.model.stack_frames
        steps = [frame_count(n, self._of) // each for n in lengths]
        short = np.array([not _fits(t, n) for t, n in zip(tokens, steps, strict=True)])
        short &= ~long
        self._notes = [
            _note(long, sounds, f"longer than data.max_seconds={most:g}, left out"),
            _note(short, sounds, "too short for their transcripts, left out"),
        ]
        chosen = np.flatnonzero(~(long | short))
        if not len(chosen):
            raise DataError(
                f"none of the {counted(len(sounds), 'recording')} can be used: "
                f"{'; '.join(filter(None, self._notes))}."
            )
        return chosen

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
        notes = [note for note in self._notes if note]
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
        return digest.hexdigest()

    def check_same(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Raises RunError if a run was trained on other data."""
        check_same_sha256(metadata, self.sha256, directory)


def _fits(tokens, steps):
    labels: Any = np.asarray(tokens, np.int32)[:, None]
    return bool(ctc_fits(labels, np.array([steps], np.int32))[0])


def _note(which, sounds, what):
    if not which.any():
        return ""
    first = sounds.recordings.sources[int(which.argmax())]
    return f"train: {counted(int(which.sum()), 'recording')} {what}; first: {first}"


def _cut(recordings, fractions, seed):
    """Train, and at random what has a fraction."""
    valid, test = fractions["valid"], fractions["test"]
    if valid + test >= 1:
        raise DataError(
            f"data.valid_fraction={valid:g} and data.test_fraction={test:g} add up to "
            f"{valid + test:g}, which leaves nothing to train on; lower one of them."
        )
    if not valid and not test:
        return {"train": recordings}
    found = split_recordings(recordings, (1 - valid - test, valid, test), seed)
    return {name: of for name, of in found.items() if len(of)}
