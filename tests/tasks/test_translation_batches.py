"""Every pair once an epoch, in few shapes of so many tokens, lengths mixed in time."""

import itertools

import numpy as np
import pytest

from lstm_jax.data.parallel import EncodedPairs, Pairs
from lstm_jax.data.text import DataError
from lstm_jax.tasks.translation_batches import TranslationBatches, source_batches
from lstm_jax.training.batches import HostBatches

BEGIN, END = 90, 91


def drawn(count, seed=0, longest=40):
    """Pairs whose tokens say which one they are."""
    rng = np.random.default_rng(seed)
    sources = np.minimum(rng.geometric(0.08, count), longest - 1)
    targets = np.clip(sources + rng.integers(-3, 4, count), 0, longest - 1)
    end = lambda tokens: np.append(tokens, END).astype(np.int32)
    texts = [str(n) for n in range(count)]
    return EncodedPairs(
        Pairs(texts, texts, "drawn", range(count)),
        [end(1 + (n + np.arange(k)) % 89) for n, k in enumerate(sources)],
        [end(1 + (n * 7 + np.arange(k)) % 89) for n, k in enumerate(targets)],
        BEGIN,
    )


@pytest.mark.parametrize("count", [1, 5, 40, 1000])
@pytest.mark.parametrize("buckets", [1, 6])
def test_every_pair_once_an_epoch(count, buckets):
    pairs = drawn(count)
    batches = TranslationBatches(pairs, 256, buckets, seed=3)
    plans = [batches.plan(epoch) for epoch in range(3)]
    assert len({len(plan) for plan in plans}) == 1
    shapes = set()
    for plan in plans:
        members = np.concatenate([batch.members for batch in plan])
        assert sorted(members[members >= 0]) == [*range(count)]
        assert sum((batch.members < 0).any() for batch in plan) <= 1
        for batch in plan:
            loaded = batches.load(batch)
            (s, b), (t, _) = loaded.source.shape, loaded.inputs.shape
            assert b * max(s, t) <= 256
            assert b % 8 == 0 or b < 32
            shapes.add((s, t, b))
    assert len(shapes) <= buckets
    if count > 100:
        flat = [np.concatenate([b.members for b in plan]).tolist() for plan in plans]
        assert flat[0] != flat[1]
        assert flat[0] != sorted(flat[0])


def test_what_a_batch_holds():
    pairs = drawn(100)
    batches = TranslationBatches(pairs, 256, 4)
    for members, batch in [*batches.in_order()] + [
        (planned.members, batches.load(planned)) for planned in batches.plan(0)
    ]:
        assert all(a.dtype == np.int32 for a in batch[:-1])
        for row, member in enumerate(members):
            k, n = batch.source_lengths[row], batch.lengths[row]
            source, target = batch.source[:, row], batch.outputs[:, row]
            if member >= 0:
                assert source[:k].tolist() == pairs.sources[member].tolist()
                assert target[:n].tolist() == pairs.targets[member].tolist()
                assert batch.inputs[:n, row].tolist() == [BEGIN, *target[: n - 1]]
            else:
                assert k == n == 0
            for rest in (source[k:], target[n:], batch.inputs[n:, row]):
                assert not rest.any()


def test_a_pair_fits_the_shape_that_it_moves_to():
    """The long sources have short targets; the pair that moves to them has not."""
    short, long = (np.ones(6), np.ones(8)), (np.ones(30), np.ones(2))
    sources, targets = zip(*[short] * 5, *[long] * 3, strict=True)
    texts = [""] * 8
    pairs = Pairs(texts, texts, "made", range(8))
    batches = TranslationBatches(EncodedPairs(pairs, sources, targets, BEGIN), 32, 2)
    loaded = [batches.load(batch) for batch in batches.plan(0)]
    assert sorted(x.outputs.shape for x in loaded) == [(8, 1)] * 4 + [(8, 4)]
    assert sum(x.outputs.sum() for x in loaded) == 5 * 8 + 3 * 2


def test_in_order_of_length():
    """Every pair once; what a batch gives returns to its place by the members."""
    pairs = drawn(300)
    found, longer = np.full(300, -1), []
    for members, batch in TranslationBatches(pairs, 256, 4).in_order():
        real = members >= 0
        assert (found[members[real]] == -1).all()
        found[members[real]] = batch.source.sum(axis=0)[real]
        longer += np.maximum(batch.source_lengths, batch.lengths)[real].tolist()
    assert longer == sorted(longer)
    assert found.tolist() == [tokens.sum() for tokens in pairs.sources]


def test_seeds_and_epochs():
    pairs = drawn(200)

    def order(seed, epoch):
        plan = TranslationBatches(pairs, 128, 4, seed).plan(epoch)
        return [batch.members.tolist() for batch in plan]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


def test_lengths_are_mixed_over_an_epoch():
    """In runs of one shape, and yet no part of an epoch has short pairs alone."""
    batches = TranslationBatches(drawn(5000), 256, 5, seed=1)
    steps = [batch.steps for batch in batches.plan(0)]
    runs = 1 + sum(a != b for a, b in itertools.pairwise(steps))
    assert runs < len(steps) / 2
    parts = np.array_split(steps, 4)
    means = [part.mean() for part in parts]
    assert max(means) < 1.25 * min(means)
    assert all({*part} == {*steps} for part in parts)


def test_a_block_of_host_batches():
    source = TranslationBatches(drawn(300), 256, 3)
    host = HostBatches(source, 8)
    try:
        held, count = host.take(0, 8)
        assert count > 1
        first, _ = host.at(held, None, 0, None)
        expected = source.load(source.plan(0)[0])
        for got, want in zip(first, expected, strict=True):
            np.testing.assert_array_equal(got, want)
    finally:
        host.close()


def test_sources_alone():
    sources = [*drawn(100).sources, np.arange(300), np.array([END])]
    found, shapes = {}, set()
    for members, batch in source_batches(sources, 256, 5):
        shapes.add(batch.source.shape)
        for row, member in enumerate(members):
            tokens = batch.source[: batch.source_lengths[row], row].tolist()
            if member >= 0:
                assert member not in found
                found[member] = tokens
            else:
                assert tokens == []
    assert [found[n] for n in range(102)] == [tokens.tolist() for tokens in sources]
    assert len(shapes) <= 5
    assert [*source_batches([], 256, 5)] == []


def test_batches_that_are_too_small():
    with pytest.raises(DataError, match="batch_tokens=20 is less than the 40 tokens"):
        TranslationBatches(drawn(300), 20, 3)
