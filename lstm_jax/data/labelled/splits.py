"""Train, valid and test by fractions, each with its part of every class."""

from collections.abc import Sequence

import numpy as np

from lstm_jax.data.checks import check_count
from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.text import DataError, counted

SPLITS = ("train", "valid", "test")


def split_by_fractions(
    examples: Examples, fractions: Sequence[float] = (0.8, 0.1, 0.1), *, seed: int = 0
) -> dict[str, Examples]:
    """``train``, ``valid`` and ``test`` at random, stratified by label.

    Each split has its fraction of every class as nearly as whole examples allow, and
    of every class at least one example is in ``train``. Tagged sentences are not
    stratified. Examples keep their order; none is dropped. The same seed gives the same
    splits under every version of numpy.

    Args:
        examples: all of them.
        fractions: of ``train``, ``valid`` and ``test``, 1 in all; a split with a
            fraction of 0 is left out.
        seed: of the random numbers.

    Raises:
        DataError: ``fractions`` cannot be used, or leave a split without an example.

    >>> examples = Examples(("a", "b", "c", "d"), ("x", "y", "x", "y"), ("",) * 4)
    >>> splits = split_by_fractions(examples, (0.5, 0.5, 0.0))
    >>> [(name, split.labels) for name, split in splits.items()]
    [('train', ('x', 'y')), ('valid', ('x', 'y'))]
    """
    _check_fractions(fractions)
    stratified = examples.labels is not None and not examples.has_tags
    names = examples.labels if stratified and examples.labels else ("",) * len(examples)
    groups: dict[str, list[int]] = {}
    for i in random_order(len(examples), seed).tolist():
        groups.setdefault(names[i], []).append(i)
    found: list[list[int]] = [[] for _ in SPLITS]
    done = 0
    for name in sorted(groups):
        for n, i in enumerate(groups[name]):
            done += 1
            pairs = zip(fractions, found, strict=True)
            missing = [f * done - len(s) if f else -np.inf for f, s in pairs]
            found[0 if n == 0 else int(np.argmax(missing))].append(i)
    for name, fraction, members in zip(SPLITS, fractions, found, strict=True):
        if fraction and not members:
            count = counted(len(examples), "example")
            few = len(examples) - len(groups) < sum(f > 0 for f in fractions[1:])
            advice = "add examples" if few else f"raise data.{name}_fraction"
            if name == "test":
                advice += ", or set data.test_fraction=0"
            raise DataError(
                f"{count} leave{'s' * (len(examples) == 1)} none for {name}, whose "
                f"fraction is {fraction:g} (of every class, one goes to train first); "
                f"{advice}."
            )
    pairs = zip(SPLITS, fractions, found, strict=True)
    return {name: examples.take(sorted(at)) for name, f, at in pairs if f}


def random_order(count: int, seed: int) -> np.ndarray:
    """A permutation of ``count`` numbers, a function of the seed alone.

    The raw numbers of a bit generator stay the same under every version of numpy, which
    ``Generator.permutation`` does not promise.

    Raises:
        TypeError: ``seed`` is not a whole number.
        ValueError: ``seed`` is negative.

    >>> random_order(5, 0)
    array([3, 2, 1, 0, 4])
    """
    check_count("seed", seed, least=0)
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def _check_fractions(fractions):
    total = sum(fractions)
    if len(fractions) != len(SPLITS) or not abs(total - 1) < 1e-6:
        problem = f"{len(fractions)} numbers that add up to {total:g}"
    elif min(fractions) < 0 or fractions[0] == 0:
        problem = f"{min(fractions):g} as a fraction"
    else:
        return
    raise DataError(
        f"fractions={list(fractions)} has {problem}, expected three that add up to 1: "
        f"train above 0, valid and test 0 or more."
    )
