"""Labelled sequences: as they are read, and with their labels as classes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.data.labelled.table import listed
from lstm_jax.data.text import DataError, counted


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Sequences and labels as their file says, in its order.

    >>> import numpy as np
    >>> from lstm_jax.data.labelled import Examples
    >>> series = [np.ones((5, 2)), np.ones((3, 2))]
    >>> examples = Examples(series, ["up", "down"], ["line 1", "line 6"], ("x", "y"))
    >>> len(examples), examples.take([1]).labels
    (2, ('down',))
    """

    sequences: Sequence[Any]
    """Arrays ``[T_i, D]``, texts, or tuples of tokens."""
    labels: Sequence[Any] | None
    """A name for each sequence, or a tuple of names with one for each token; ``None``
    where the file has no labels."""
    sources: Sequence[str]
    """The file and the line that each sequence comes from, for errors."""
    features: tuple[str, ...] = ()
    """The names of the ``D`` features; none of texts."""
    ids: tuple[str, ...] = ()
    """The name of each sequence, where its file has one."""

    def __post_init__(self):
        object.__setattr__(self, "sequences", tuple(self.sequences))
        object.__setattr__(self, "sources", tuple(self.sources))
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))

    def __len__(self):
        return len(self.sequences)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Examples":
        """The examples at ``indices``, in that order."""
        pick = lambda values: tuple(values[i] for i in indices)
        labels = None if self.labels is None else pick(self.labels)
        sequences, sources = pick(self.sequences), pick(self.sources)
        ids = pick(self.ids) if self.ids else ()
        return Examples(sequences, labels, sources, self.features, ids)

    @property
    def has_tags(self) -> bool:
        """Whether labels are tags, one for each token."""
        return bool(self.labels) and isinstance(self.labels[0], tuple)


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Sequences with the indices of their classes, in the order of their file."""

    sequences: Sequence[Any]
    """As in `Examples`."""
    labels: Any
    """int32 ``[N]``; for tags a tuple of int32 ``[T_i]``."""
    classes: tuple[str, ...]
    """The names of the classes; a label is an index into them."""
    sources: Sequence[str]
    features: tuple[str, ...] = ()

    def __len__(self):
        return len(self.sequences)

    @property
    def counts(self) -> np.ndarray:
        """How many labels each class has, ``[C]``."""
        tags = isinstance(self.labels, tuple)
        labels = np.concatenate(self.labels) if tags else self.labels
        return np.bincount(labels, minlength=len(self.classes))


def learn_classes(train: Examples) -> tuple[str, ...]:
    """The names of the classes of the training split: whole numbers by value, other
    names in alphabetical order.

    Raises:
        DataError: there are no labels, or a single class.

    >>> learn_classes(Examples(("a", "b", "c"), ("10", "9", "10"), ("", "", "")))
    ('9', '10')
    """
    if not train.labels:
        raise DataError("the training data have no labels, expected one per sequence.")
    tags = train.has_tags
    names = {n for y in train.labels for n in y} if tags else {*train.labels}
    if len(names) < 2:
        raise DataError(
            f"the training data have the one label {min(names)!r}, expected two or "
            f"more to tell apart (the first is from {train.sources[0]})."
        )
    whole = all(n.removeprefix("-").isdecimal() and n.isascii() for n in names)
    return tuple(sorted(names, key=(lambda n: (int(n), n)) if whole else None))


def label(examples: Examples, classes: Sequence[str]) -> Labelled:
    """Labels as indices into ``classes``, those of the training split.

    Raises:
        DataError: there are no labels, or one does not occur in ``classes``.

    >>> examples = Examples(("one", "two"), ("b", "a"), ("f, line 1", "f, line 2"))
    >>> label(examples, ["a", "b"]).labels
    array([1, 0], dtype=int32)
    """
    if examples.labels is None:
        raise DataError("the data have no labels, expected one per sequence.")
    index = {name: n for n, name in enumerate(classes)}

    def of(name, source):
        if name not in index:
            raise DataError(
                f"{source}: label {name!r} does not occur in the training data, whose "
                f"labels are {listed(classes)}; correct the label, or add examples of "
                f"it to the training data."
            )
        return index[name]

    pairs = zip(examples.labels, examples.sources, strict=True)
    if examples.has_tags:
        ids = tuple(np.array([of(n, s) for n in y], np.int32) for y, s in pairs)
    else:
        ids = np.array([of(n, s) for n, s in pairs], np.int32)
    return Labelled(
        examples.sequences, ids, tuple(classes), examples.sources, examples.features
    )


def label_splits(splits: Mapping[str, Examples]) -> dict[str, Labelled]:
    """Every split with the classes and the features of ``train``.

    Raises:
        DataError: ``train`` has a single class, or another split has a label or
            features that ``train`` has not.

    >>> train = Examples(("one", "two"), ("b", "a"), ("f, line 1", "f, line 2"))
    >>> valid = Examples(("three",), ("b",), ("g, line 1",))
    >>> label_splits({"train": train, "valid": valid})["valid"].labels
    array([1], dtype=int32)
    """
    train = splits["train"]
    classes = learn_classes(train)
    for name, examples in splits.items():
        check_features(examples, train.features, name)
    return {name: label(examples, classes) for name, examples in splits.items()}


def check_features(examples: Examples, features: Sequence[str], split: str) -> None:
    """Raises DataError where the features are not those of the training data.

    Raises:
        DataError: the features, or their order, differ.

    >>> import numpy as np
    >>> from lstm_jax.data.labelled import Examples, check_features
    >>> examples = Examples([np.ones((5, 2))], None, ["line 1"], ("x", "y"))
    >>> check_features(examples, ["x", "y"], "new")
    """
    if examples.features != tuple(features):
        came, want = len(examples.features), len(features)
        raise DataError(
            f"the {split} data have {counted(came, 'feature')} "
            f"({listed(examples.features)}), expected the {want} of the training data "
            f"({listed(features)}), in this order; bring the {split} data into this "
            f"form."
        )
