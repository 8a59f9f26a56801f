"""Classes, splits and images."""

import gzip
import json

import numpy as np
import pytest

from lstm_jax.data.labelled import (
    Examples,
    label,
    label_splits,
    learn_classes,
    random_order,
    read_idx,
    read_images,
    split_by_fractions,
)
from lstm_jax.data.text import DataError


def examples(*labels, name="train.csv", features=()):
    sources = [f"{name}, line {n}" for n in range(len(labels))]
    return Examples(range(len(labels)), labels, sources, features)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("b a b", "a b"),
        ("10 9 10 -1", "-1 9 10"),
        ("10 9 x", "10 9 x"),
        ("01 1 2", "01 1 2"),
    ],
)
def test_classes_and_their_order(labels, classes):
    train = examples(*labels.split())
    assert learn_classes(train) == tuple(classes.split())
    found = label(train, learn_classes(train))
    assert [found.classes[y] for y in found.labels] == labels.split()
    assert found.counts.sum() == len(found) == len(train)
    assert found.labels.dtype == np.int32


def test_tags_are_classes_of_tokens():
    train = examples(("B", "O"), ("O",), ("O", "O", "I"))
    splits = label_splits({"train": train, "valid": examples(("I",))})
    assert splits["train"].classes == ("B", "I", "O")
    assert [y.tolist() for y in splits["train"].labels] == [[0, 2], [2], [2, 2, 1]]
    assert splits["train"].counts.tolist() == [1, 1, 4]


def test_labels_that_training_has_not():
    train, valid = examples("a", "b"), examples("a", "c", name="valid.csv")
    said = (
        "valid.csv, line 1: label 'c' does not occur in the training data, whose "
        "labels are a, b; correct the label"
    )
    with pytest.raises(DataError, match=said):
        label_splits({"train": train, "valid": valid})
    with pytest.raises(DataError, match="one label 'a', expected two or more"):
        label_splits({"train": examples("a", "a"), "valid": valid})
    unlabelled = Examples(("x",), None, ("f",))
    with pytest.raises(DataError, match="the data have no labels"):
        label(unlabelled, ("a", "b"))
    with pytest.raises(DataError, match="training data have no labels"):
        learn_classes(unlabelled)


def test_features_that_training_has_not():
    train = examples("a", "b", features=("x", "y"))
    for features in (("x",), ("y", "x")):
        valid = examples("a", features=features)
        with pytest.raises(
            DataError, match=r"expected the 2 .* \(x, y\), in this orde"
        ):
            label_splits({"train": train, "valid": valid})


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.5, 0.5, 0), (0.6, 0, 0.4)])
@pytest.mark.parametrize("seed", range(3))
def test_every_split_has_its_part_of_every_class(fractions, seed):
    counts = {"a": 100, "b": 37, "c": 10, "d": 1}
    rng = np.random.default_rng(seed)
    every = examples(*rng.permutation([n for n, k in counts.items() for _ in range(k)]))
    splits = split_by_fractions(every, fractions, seed=seed)
    again = split_by_fractions(every, fractions, seed=seed)
    other = split_by_fractions(every, fractions, seed=seed + 1)
    at = {name: split.sequences for name, split in splits.items()}
    assert at == {name: split.sequences for name, split in again.items()}
    assert at != {name: split.sequences for name, split in other.items()}
    assert sorted(sum(at.values(), ())) == list(range(len(every)))
    names = ("train", "valid", "test")
    assert list(splits) == [n for n, f in zip(names, fractions, strict=True) if f]
    for name, fraction in zip(names, fractions, strict=True):
        if not fraction:
            continue
        split = splits[name]
        assert list(split.sequences) == sorted(split.sequences)
        assert split.labels == tuple(every.labels[i] for i in split.sequences)
        for label_of, count in counts.items():
            found = split.labels.count(label_of)
            assert abs(found - fraction * count) <= 2
            assert found or name != "train"


def test_tagged_sentences_are_not_stratified():
    tags = [("O",) * n for n in range(1, 11)]
    splits = split_by_fractions(examples(*tags), (0.6, 0.2, 0.2))
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 6,
        "valid": 2,
        "test": 2,
    }


@pytest.mark.parametrize(
    ("fractions", "said"),
    [
        ((0.5, 0.6, 0.1), r"3 numbers that add up to 1\.2, expected three"),
        ((0.5, 0.5), "2 numbers that add up to 1"),
        ((0.0, 0.5, 0.5), "0 as a fraction, expected"),
        ((0.9, 0.2, -0.1), r"-0\.1 as a fraction"),
        (
            (0.98, 0.01, 0.01),
            r"4 examples leave none for valid, whose fraction is 0\.01 .*; raise "
            r"data\.valid_fraction\.",
        ),
    ],
)
def test_fractions_that_cannot_be_used(fractions, said):
    with pytest.raises(DataError, match=said):
        split_by_fractions(examples(*"abab"), fractions)


def test_too_few_examples():
    with pytest.raises(DataError, match=r"1 example leaves none for valid.*add exampl"):
        split_by_fractions(examples("a"))
    said = r"20 examples leave none for test.*data\.test_fraction, or set data\.test_f"
    with pytest.raises(DataError, match=said):
        split_by_fractions(examples(*"ab" * 10), (0.89, 0.1, 0.01))


def test_the_order_of_a_seed_is_fixed():
    """Permuted images, and every reported number on them, hang on it."""
    assert random_order(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert sorted(random_order(784, 1)) == list(range(784))


def idx(path, array, code=8):
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def digits(tmp_path):
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4) * 10
    images = idx(tmp_path / "images.gz", pixels)
    return pixels, images, idx(tmp_path / "labels", np.array([7, 1], np.uint8))


def test_images_as_series(digits):
    pixels, images, labels = digits
    flat = pixels.reshape(2, 12, 1) / np.float32(255)
    for order, want in [
        ("pixels", flat),
        ("permuted", flat[:, random_order(12, 5)]),
        ("rows", flat.reshape(2, 3, 4)),
    ]:
        found = read_images(images, labels, order, seed=5)
        np.testing.assert_array_equal(np.stack(found.sequences), want, strict=True)
        assert found.labels == ("7", "1")
        assert len(found.features) == want.shape[-1]
        assert found.sources[1] == f"{images}, image 1"
    assert read_images(images, None).labels is None
    with pytest.raises(ValueError, match="order is 'columns', expected one of pixels"):
        read_images(images, labels, "columns")


@pytest.mark.parametrize(
    ("code", "dtype"), [(9, "i1"), (11, "i2"), (12, "i4"), (14, "f8")]
)
def test_numbers_of_idx_files(tmp_path, code, dtype):
    array = np.array([[-1, 2], [3, 4]], dtype)
    found = read_idx(idx(tmp_path / "a", array, code))
    np.testing.assert_array_equal(found, array, strict=True)


def test_idx_files_that_cannot_be_used(tmp_path, digits):
    _, images, labels = digits
    with pytest.raises(
        DataError, match=r"dtype uint8, expected bytes \[2\], one label"
    ):
        read_images(images, images)
    with pytest.raises(
        DataError, match=r"shape \(2,\) and dtype uint8, expected bytes"
    ):
        read_images(labels, labels)
    data = labels.read_bytes()
    for wrong, said in [
        (data[:-1], r"has 9 bytes, expected 10 for an array of shape \(2,\); fetch"),
        (data + b"1", "has 11 bytes, expected 10"),
        (data[:6], "ends within its first 8 bytes"),
        (b"\x00\x00\x07\x01" + data[4:], "is not an idx file"),
        (json.dumps({}).encode(), "is not an idx file"),
    ]:
        labels.write_bytes(wrong)
        with pytest.raises(DataError, match=said):
            read_idx(labels)
