"""Where labelled sequences come from: a table of the config for every kind of data."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax.config import config
from lstm_jax.data.labelled import (
    Columns,
    Examples,
    read_images,
    read_series,
    read_tagged,
    read_texts,
    split_by_fractions,
)
from lstm_jax.data.text import DataError
from lstm_jax.tasks.splits_config import SplitsConfig, check_leave_some


@config
class FilesConfig(SplitsConfig):
    """Which files hold train, valid and test."""

    def read(self, path: str) -> Examples:
        """The labelled examples of a file."""
        raise NotImplementedError

    def read_new(
        self, path: str, features: tuple[str, ...], classes: tuple[str, ...]
    ) -> Examples:
        """The examples of a file without labels, for a trained run.

        Args:
            features: the names of its features.
            classes: the names of its classes.
        """
        raise NotImplementedError

    def read_splits(self) -> dict[str, Examples]:
        """Train, valid and, where there is one, test.

        Raises:
            DataError: a file cannot be used, or none is named.
        """
        if self.path:
            valid, test = self.valid_fraction, self.test_fraction
            check_leave_some(valid, test)
            return self._cut(self.read(self.path), valid, test)
        if not self.train:
            raise DataError(
                "data.path is empty; set it to your file, or set data.train and "
                "data.valid to one file each."
            )
        train = self.read(self.train)
        splits = (
            {"train": train, "valid": self.read(self.valid)}
            if self.valid
            else (self._cut(train, self.valid_fraction, 0.0))
        )
        return splits | ({"test": self.read(self.test)} if self.test else {})

    def _cut(self, examples, valid, test):
        if valid == 0:
            raise DataError(
                "data.valid_fraction is 0 and data.valid is not set, but training "
                "needs a valid split; set data.valid_fraction above 0."
            )
        fractions = (1 - valid - test, valid, test)
        return split_by_fractions(examples, fractions, seed=self.split_seed)


@config
class SeriesConfig(FilesConfig):
    """Series of real numbers: CSV or Parquet with a row per step, NPZ, or a folder."""

    kind: Literal["series"] = "series"
    """This kind of data."""
    id: str = "id"
    """The column that says which sequence a row belongs to."""
    time: str = ""
    """The column that orders the rows of a sequence, a number; empty: the rows are in
    order, and a column of times is a feature like the others."""
    label: str = "label"
    """The column of the label."""
    features: tuple[str, ...] = ()
    """The columns of the features; empty for all but `id`, `time` and `label`."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """What stands between the cells of a CSV file. If the first line of a file lacks
    it, a comma, semicolon, tab or bar in that line counts instead."""

    def __post_init__(self):
        super().__post_init__()
        for n, name in enumerate(self.features):
            if name in (self.id, self.label, self.time, *self.features[:n]):
                raise ValueError(
                    f"features has {name!r} twice, or it is the column of id, label or "
                    f"time; name every feature once"
                )

    @property
    def _columns(self):
        return Columns(
            sequence=self.id,
            time=self.time or None,
            label=self.label,
            features=self.features,
            delimiter=self.delimiter,
        )

    def read(self, path):
        return read_series(path, self._columns)

    def read_new(self, path, features, classes):
        # By name: a file may have labels and other columns, too.
        known = {"label": None, "features": features, "trained": True}
        return read_series(path, dataclasses.replace(self._columns, **known))


@config
class _TokensConfig(FilesConfig):
    tokens: Literal["characters", "bytes", "words", "bpe"] = "words"
    """What a text is cut into; words are what stands between white space."""
    vocabulary_limit: NonNegativeInt = 0
    """Maximum number of tokens; 0: no limit (4096 for `bpe`). Other words are
    `<unk>`."""
    min_count: PositiveInt = 1
    """How often a word, or a pair of `bpe`, must occur in the training split."""


@config
class TextsConfig(_TokensConfig):
    """Texts with a label each: JSONL, CSV or Parquet."""

    kind: Literal["texts"] = "texts"
    """This kind of data."""
    text: str = "text"
    """The key or column of the text."""
    label: str = "label"
    """The key or column of the label."""

    def read(self, path):
        return read_texts(path, text=self.text, label=self.label)

    def read_new(self, path, features, classes):
        return read_texts(path, text=self.text, label=None)


@config
class ImagesConfig(FilesConfig):
    """Images of the MNIST format, read as series of pixels."""

    kind: Literal["images"] = "images"
    """This kind of data. `path` is the folder with `train-images-idx3-ubyte` and the
    three files that belong to it, plain or .gz."""
    order: Literal["rows", "pixels", "permuted"] = "rows"
    """A row of pixels a step; a pixel a step; or a pixel a step in an order drawn from
    `order_seed`."""
    order_seed: NonNegativeInt = 0
    """Seed of the order for `permuted`."""

    def read(self, path):
        path = Path(path)
        beside = path.name.replace("images-idx3", "labels-idx1")
        answers = path.with_name(beside)
        return read_images(path, answers, self.order, seed=self.order_seed)

    def read_new(self, path, features, classes):
        return read_images(path, None, self.order, seed=self.order_seed)

    def read_splits(self):
        if not self.path:
            raise DataError(
                "data.path is empty; set it to the folder with the files "
                "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz and the two "
                "that begin with t10k."
            )
        train = self.read(_idx(self.path, "train-images-idx3-ubyte"))
        splits = self._cut(train, self.valid_fraction, 0.0)
        return splits | {"test": self.read(_idx(self.path, "t10k-images-idx3-ubyte"))}


@config
class SentencesConfig(_TokensConfig):
    """Sentences with a tag for every token: JSONL, or CoNLL columns."""

    kind: Literal["sentences"] = "sentences"
    """This kind of data."""
    tokens: Literal["words"] = "words"
    """What a sentence is cut into."""
    tokens_key: str = "tokens"
    """The key of the tokens in JSONL."""
    tags_key: str = "tags"
    """The key of the tags in JSONL."""

    def read(self, path):
        return read_tagged(path, tokens=self.tokens_key, tags=self.tags_key)

    def read_new(self, path, features, classes):
        return read_tagged(path, tokens=self.tokens_key, tags=None, classes=classes)


def _idx(folder: Any, name: str) -> str:
    plain = Path(folder) / name
    packed = plain.with_name(f"{name}.gz")
    return str(packed if packed.exists() else plain)
