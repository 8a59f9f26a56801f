"""Every sequence once, in few shapes, the fewest padded steps, order restored."""

import itertools

import numpy as np
import pytest

from lstm_jax.data import bucket, bucket_sizes, pad_batch, restore, unpad
from tests.data.ragged import SEEDS, assert_same, draw_lengths, draw_sequences

SIZES = [3, 7, 12]


@SEEDS
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("batch_size", [4, [9, 5, 2]])
def test_there_and_back(seed, shuffled, batch_size):
    """Outputs of a time step and of a sequence return to the order of the inputs."""
    sequences = draw_sequences(seed)
    rng = np.random.default_rng(seed) if shuffled else None
    batches = bucket(draw_lengths(seed), SIZES, batch_size, rng=rng).batches
    outputs, sums = [], []
    for batch in batches:
        xs, lengths = pad_batch(sequences, batch)
        rows = batch_size if batch_size == 4 else batch_size[SIZES.index(batch.steps)]
        assert xs.shape == (batch.steps, rows, 3)
        outputs.append(unpad(xs, lengths))
        sums.append(xs.sum(axis=(0, 2)))
    assert_same(restore(outputs, batches), sequences)
    np.testing.assert_array_equal(restore(sums, batches), [s.sum() for s in sequences])


@SEEDS
def test_everyone_in_the_smallest_that_fits(seed):
    """And only the last batch of a bucket is not full."""
    lengths = draw_lengths(seed)
    buckets = bucket(lengths, SIZES, 4)
    assert buckets.waste == 1 - lengths.sum() / sum(
        4 * b.steps for b in buckets.batches
    )
    for steps, below in zip(SIZES, [-1, *SIZES], strict=False):
        batches = [b for b in buckets.batches if b.steps == steps]
        members = np.concatenate([b.members for b in batches])
        count = ((lengths > below) & (lengths <= steps)).sum()
        assert (members[:count] >= 0).all()
        assert (members[count:] == -1).all()
        assert len(members) - count < 4
        of = lengths[members[:count]]
        assert ((of > below) & (of <= steps)).all()


def test_shuffling():
    """Within buckets and between batches, the same for the same seed."""

    def members(seed):
        rng = None if seed is None else np.random.default_rng(seed)
        batches = bucket([1, 2] * 50, [1, 2], 5, rng=rng).batches
        return [batch.steps for batch in batches], [b.members.tolist() for b in batches]

    assert members(0) == members(0)
    assert members(0)[0] != members(None)[0]
    assert sorted(members(0)[1]) != sorted(members(None)[1])


@SEEDS
@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_sizes_are_optimal(seed, multiple, count):
    """No other sizes, of all there are, leave fewer padded steps."""
    lengths = draw_lengths(seed, count=15)

    def steps(sizes):
        return np.array(sizes)[np.searchsorted(sizes, lengths)].sum()

    sizes = bucket_sizes(lengths, count, multiple=multiple)
    all_sizes = range(multiple, 13, multiple)
    ways = itertools.combinations(all_sizes, min(count, len(all_sizes)))
    best = min(steps(way) for way in ways if way[-1] >= 12)
    assert steps(sizes) == best
    assert len(sizes) <= count
    assert (sizes % multiple == 0).all()
    assert (np.diff(sizes) > 0).all()


def test_sizes_of_empty_sequences():
    assert bucket_sizes([0, 0], 3).tolist() == [1]
    assert bucket([], [1], 3).batches == []
    assert bucket([], [1], 3).waste == 0


@pytest.mark.parametrize("sizes", [[], [0, 3], [3, 3], [5, 3], [1.5], [[1, 2]], 4])
def test_sizes_that_do_not_increase(sizes):
    with pytest.raises(ValueError, match=r"^sizes is .*increase from at least 1; take"):
        bucket([1], sizes, 2)


def test_errors():
    with pytest.raises(ValueError, match=r"sequences\[1\] has 9 .*most sizes\[-1\]=4"):
        bucket([1, 9], [2, 4], 2)
    with pytest.raises(ValueError, match=r"batch_size has 1 entries, expected 2"):
        bucket([1], [2, 4], [2])
    with pytest.raises(ValueError, match=r"batch_size\[1\] is 0, expected 1 or more"):
        bucket([1], [2, 4], [2, 0])
    with pytest.raises(TypeError, match=r"batch_size is 2.5, expected a whole number"):
        bucket([1], [2, 4], 2.5)
    with pytest.raises(ValueError, match="lengths is empty, expected the length of"):
        bucket_sizes([], 2)
    with pytest.raises(ValueError, match="count is 0, expected 1 or more"):
        bucket_sizes([1], 0)


def test_other_sequences_than_those_bucketed():
    (batch,) = bucket([2, 1], [4], 2).batches
    for wrong in ([1, 2, 3], [1, 2, 3, 4, 5], []):
        message = rf"sequences\[1\] has {len(wrong)} steps, expected 1; pass"
        with pytest.raises(ValueError, match=message):
            pad_batch([[1, 2], wrong], batch)
    with pytest.raises(
        ValueError, match="rows has 0 entries, expected 1, one per batch"
    ):
        restore([], [batch])
    with pytest.raises(ValueError, match=r"rows\[0\] has 4 entries, expected 2.*unpad"):
        restore([np.ones((4, 2))], [batch])
