"""Decoding of CTC, against all paths, one by one, and a plain prefix beam search."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lstm_jax.inference import (
    ctc_advance,
    ctc_beam_search,
    ctc_begin,
    ctc_best,
    ctc_greedy,
    ctc_search,
)
from lstm_jax.inference.ctc_greedy import _greedy


def read(path, blank):
    """What a path says."""
    runs = [k for k, _ in itertools.groupby(path)]
    return tuple(k for k in runs if k != blank)


@functools.cache
def readings(steps, classes, blank):
    """All paths, and the labels of each."""
    paths = list(itertools.product(range(classes), repeat=steps))
    texts = [read(path, blank) for path in paths]
    return np.array(paths, int).reshape(len(paths), steps), texts


def no_gain(prefix, label):
    return 0.0


def score_of(labels, gain):
    return sum(gain(labels[:n], k) for n, k in enumerate(labels))


def every(log_p, blank, gain=no_gain):
    """The score of every label sequence that some path reads, best first."""
    steps, classes = log_p.shape
    paths, texts = readings(steps, classes, blank)
    of_paths = log_p.astype(float)[np.arange(steps), paths].sum(axis=1)
    found = {}
    for labels, score in zip(texts, of_paths, strict=True):
        found[labels] = np.logaddexp(found.get(labels, -np.inf), score)
    found = {labels: p + score_of(labels, gain) for labels, p in found.items()}
    possible = {labels: p for labels, p in found.items() if p > -np.inf}
    return dict(sorted(possible.items(), key=lambda item: -item[1]))


def narrow(log_p, blank, beams, capacity=99, gain=no_gain):
    """Prefix beam search in float64: labels, score and times, best first."""
    add, none = np.logaddexp, -np.inf
    rank = lambda item: add(*item[1][:2]) + score_of(item[0], gain)
    found = {(): (0.0, none, ())}  # log b, log l, times
    for t, p in enumerate(log_p.astype(float)):
        after, extended = {}, {}
        for labels, (in_blank, in_label, times) in found.items():
            both = add(in_blank, in_label)
            stays = in_label + p[labels[-1]] if labels else none
            after[labels] = (both + p[blank], stays, times)
            for k in range(len(p)) if len(labels) < capacity else ():
                if k != blank:
                    paths = in_blank if labels[-1:] == (k,) else both
                    extended[(*labels, k)] = (paths + p[k], (*times, t))
        for labels, (paths, times) in extended.items():
            in_blank, in_label, old = after.get(labels, (none, none, ()))
            renewed = paths > add(in_blank, in_label)
            after[labels] = (in_blank, add(in_label, paths), times if renewed else old)
        possible = [item for item in after.items() if rank(item) > none]
        found = dict(sorted(possible, key=rank, reverse=True)[:beams])
    return [(item[0], rank(item), item[1][2]) for item in found.items()]


def example(seed, steps, rows, classes):
    """Rows of all kinds: flat, peaked, sure, and with impossible classes."""
    rng = np.random.default_rng(seed)
    scale = rng.choice([0.5, 2.0, 8.0, 30.0], (rows, 1))
    logits = scale * rng.normal(size=(steps, rows, classes))
    forbidden = rng.random(logits.shape) < rng.choice([0, 0.2], (rows, 1))
    logits[..., 1:][forbidden[..., 1:]] = -np.inf
    log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    log_p = rng.permuted(log_p, axis=-1).astype(np.float32)
    lengths = rng.integers(0, steps + 1, rows)
    lengths[: rows // 2] = steps
    log_p[np.arange(steps)[:, None] >= lengths] = np.nan
    return log_p, lengths


def row(found, n):
    return jax.tree.map(lambda a: np.asarray(a[n]), found)


def labels_of(found):
    """The label sequences of one row as tuples; and that nothing follows their end."""
    count = int((found.scores > -np.inf).sum())
    for labels, size in zip(found.labels, found.sizes, strict=True):
        assert (labels[:size] >= 0).all()
        assert (labels[size:] == -1).all()
    assert not found.sizes[count:].any()
    return [
        tuple(labels[:size].tolist())
        for labels, size in zip(found.labels, found.sizes, strict=True)
    ][:count]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5)


def check_every(found, wanted):
    """All sequences of one row, their scores and their order."""
    texts = labels_of(found)
    assert len(texts) == len(set(texts))
    assert set(texts) == set(wanted)
    scores = [wanted[labels] for labels in texts]
    close(found.scores[: len(texts)], scores)
    close(scores, list(wanted.values()))
    assert np.isneginf(found.scores[len(texts) :]).all()


@pytest.mark.parametrize(
    ("steps", "classes", "rows", "beams"),
    [(5, 3, 60, 63), (4, 4, 60, 125), (5, 4, 12, 364), (5, 2, 20, 6), (3, 1, 4, 2)],
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_wide_enough_is_exact(steps, classes, rows, beams, place):
    blank = 0 if place == "first" else classes - 1
    log_p, lengths = example(classes, steps, rows, classes)
    found = ctc_beam_search(log_p, lengths, blank=blank, beams=beams, results=beams)
    for n, length in enumerate(lengths):
        check_every(row(found, n), every(log_p[:length, n], blank))


@pytest.mark.parametrize("beams", [1, 2, 3, 8])
@pytest.mark.parametrize("capacity", [None, 3])
def test_narrow_is_plain_prefix_search(beams, capacity):
    """Prefixes that are given up may come again, and merge with longer ones."""
    log_p, lengths = example(beams, 14, 200, 4)
    options = dict(blank=2, beams=beams, results=beams, capacity=capacity)
    found = ctc_beam_search(log_p, lengths, **options)
    for n, length in enumerate(lengths):
        check_narrow(row(found, n), log_p[:length, n], 2, beams, capacity or 99)


def check_narrow(found, log_p, blank, beams, capacity=99, gain=no_gain):
    wanted = narrow(log_p, blank, beams, capacity, gain)
    assert labels_of(found) == [labels for labels, _, _ in wanted]
    close(found.scores[: len(wanted)], [score for _, score, _ in wanted])
    for n, (labels, _, times) in enumerate(wanted):
        size = len(labels)
        assert tuple(found.times[n, :size].tolist()) == times
        assert (found.times[n, size:] == -1).all()
        of_labels = log_p[list(times), list(labels)] if size else []
        np.testing.assert_array_equal(found.label_log_p[n, :size], of_labels)
        assert not found.label_log_p[n, size:].any()


UNITS = 3


def language_step(params, carry, tokens):
    a, e, w = params
    h = jnp.tanh(carry[0] @ a + e[tokens])
    return (h, carry[1] + 1), h @ w


def language(labels, rows):
    """A language model that depends on all labels, the start of every row, and the gain
    of a label of a row as a function, from the definition.
    """
    rng = np.random.default_rng(labels)
    a = rng.normal(size=(UNITS, UNITS)).astype(np.float32)
    e, w = rng.normal(size=(2, labels, UNITS)).astype(np.float32)
    params, w = (a, e, 2 * w.T), 2 * w.T
    h = rng.normal(size=(rows, UNITS)).astype(np.float32)
    options = dict(
        language_model=Partial(language_step, tuple(map(jnp.asarray, params))),
        carry=(jnp.asarray(h), jnp.zeros(rows, jnp.int32)),
        logits=jnp.asarray(h @ w),
    )

    def gain(n, blank, weight, bonus, prefix, label):
        at = h[n]
        token = lambda k: k - (k > blank)
        for k in prefix:
            at = np.tanh(at @ a + e[token(k)])
        z = at @ w
        return weight * (z[token(label)] - np.logaddexp.reduce(z)) + bonus

    return options, gain


@pytest.mark.parametrize("blank", [0, 1, 3])
@pytest.mark.parametrize(("weight", "bonus"), [(0.7, 0.5), (2.0, -1.0)])
def test_language_model_wide_enough_is_exact(blank, weight, bonus):
    log_p, lengths = example(blank, 4, 20, 4)
    options, gain = language(3, 20)
    options.update(blank=blank, beams=125, results=125, weight=weight, bonus=bonus)
    found = ctc_beam_search(log_p, lengths, **options)
    for n, length in enumerate(lengths):
        of_row = functools.partial(gain, n, blank, weight, bonus)
        check_every(row(found, n), every(log_p[:length, n], blank, of_row))


def test_language_model_narrow_is_plain_prefix_search():
    log_p, lengths = example(7, 10, 40, 5)
    options, gain = language(4, 40)
    options.update(blank=4, beams=3, results=3, weight=0.6, bonus=0.4)
    found = ctc_beam_search(log_p, lengths, **options)
    for n, length in enumerate(lengths):
        of_row = functools.partial(gain, n, 4, 0.6, 0.4)
        check_narrow(row(found, n), log_p[:length, n], 4, 3, gain=of_row)


def test_a_bonus_needs_no_language_model():
    log_p, lengths = example(3, 4, 20, 4)
    options = dict(blank=0, beams=125, results=125, bonus=1.5)
    found = ctc_beam_search(log_p, lengths, **options)
    for n, length in enumerate(lengths):
        gain = lambda prefix, label: 1.5
        check_every(row(found, n), every(log_p[:length, n], 0, gain))


def test_what_the_language_model_forbids():
    """A label of probability 0 is not found, and may lead to NaN. A weight of 0 ignores
    the language model."""
    table = jnp.log(jnp.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [jnp.nan] * 3]))
    options = dict(
        language_model=lambda carry, tokens: (carry, table[tokens]),
        logits=table[:1],
        blank=3,
        beams=40,
        results=40,
    )
    log_p = np.log(np.full((3, 1, 4), 0.25, np.float32))
    found = row(ctc_beam_search(log_p, **options), 0)
    assert {k for labels in labels_of(found) for k in labels} == {0, 1}
    free = row(ctc_beam_search(log_p, weight=0.0, **options), 0)
    check_every(free, every(log_p[:, 0], 3))


def in_pieces(log_p, lengths, cuts, beams, capacity, **options):
    start = {k: options.pop(k) for k in ("carry", "logits") if k in options}
    state = ctc_begin(log_p.shape[1:-1], beams, capacity, **start)
    for begin, end in itertools.pairwise([0, *cuts, len(log_p)]):
        left = np.clip(lengths - begin, 0, end - begin)
        state = ctc_advance(state, log_p[begin:end], left, **options)
    return state


@pytest.mark.parametrize("with_language", [False, True])
def test_any_cut_gives_the_same(with_language):
    """The whole state."""
    log_p, lengths = example(5, 9, 24, 4)
    options = dict(beams=5, capacity=9, blank=3)
    if with_language:
        options |= language(3, 24)[0] | dict(weight=0.5, bonus=0.3)
    whole = in_pieces(log_p, lengths, [], **options)
    assert whole.step.tolist() == lengths.tolist()
    for cuts in ([4], [1, 1, 2, 8], range(1, 9)):
        found = in_pieces(log_p, lengths, cuts, **options)
        for one, other in zip(
            jax.tree.leaves(found), jax.tree.leaves(whole), strict=True
        ):
            if jnp.issubdtype(one.dtype, jnp.integer):
                np.testing.assert_array_equal(one, other)
            else:
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    results = {k: v for k, v in options.items() if k != "capacity"}
    best = ctc_beam_search(log_p, lengths, results=3, **results)
    for one, other in zip(best, ctc_best(whole, 3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_row_does_not_see_its_neighbours():
    """In a batch, alone without padding, and in another order. Other padding too."""
    log_p, lengths = example(2, 8, 6, 5)
    search = functools.partial(ctc_beam_search, blank=0, beams=4, results=4, capacity=6)
    together = search(log_p, lengths)
    reverse = search(log_p[:, ::-1], lengths[::-1])
    finite = search(np.nan_to_num(log_p, nan=0.5), lengths)
    for n, length in enumerate(lengths):
        others = [row(reverse, len(lengths) - 1 - n), row(finite, n)]
        if n in (0, len(lengths) - 1):
            others.append(search(log_p[:length, n]))
        for other in others:
            for a, b in zip(row(together, n), other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_batch_axes_and_transformations():
    log_p, lengths = example(4, 6, 12, 4)
    search = functools.partial(ctc_beam_search, blank=1, beams=4, results=2)
    flat = search(log_p, lengths)
    shaped = search(log_p.reshape(6, 3, 4, 4), lengths.reshape(3, 4))
    one = jax.jit(jax.vmap(search, in_axes=(1, 0)))
    mapped = one(jnp.asarray(log_p), jnp.asarray(lengths))
    for a, b, c in zip(flat, shaped, mapped, strict=True):
        np.testing.assert_array_equal(a, b.reshape(a.shape))
        np.testing.assert_allclose(a, c, rtol=1e-6, atol=1e-6)
    greedy = functools.partial(ctc_greedy, blank=1)
    flat, _ = greedy(log_p, lengths)
    shaped, _ = greedy(log_p.reshape(6, 3, 4, 4), lengths.reshape(3, 4))
    np.testing.assert_array_equal(flat.labels, shaped.labels.reshape(6, 12))


def test_empty_arrays():
    """No steps, and no rows."""
    found = ctc_beam_search(np.zeros((0, 2, 3), np.float32), blank=0, beams=2)
    assert found.sizes.tolist() == [[0], [0]]
    assert found.scores.tolist() == [[0], [0]]
    found = ctc_beam_search(np.zeros((4, 0, 3), np.float32), blank=0, beams=2)
    assert found.labels.shape == (0, 1, 4)
    emitted, previous = ctc_greedy(np.zeros((0, 2, 3), np.float32), blank=2)
    assert emitted.labels.shape == (0, 2)
    assert previous.tolist() == [2, 2]


def path_log_p(path, classes, sure=12.0):
    return jax.nn.log_softmax(sure * jax.nn.one_hot(jnp.array(path), classes))


def test_repeated_labels_need_a_blank():
    paths = [[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1], [1, 2, 1, 0], [2, 2, 0, 2]]
    log_p = path_log_p(paths, 3).swapaxes(0, 1)
    found = ctc_beam_search(log_p, blank=0, beams=8)
    for n, path in enumerate(paths):
        assert labels_of(row(found, n)) == [read(path, 0)]
    certain = jnp.log(jnp.eye(2))[jnp.array([1, 1, 0, 1])]
    found = ctc_beam_search(certain, blank=0, beams=4, results=4)
    assert labels_of(found) == [(1, 1)]
    assert found.scores[0] == 0


def test_the_time_is_that_of_the_likelier_paths():
    """A label that was first possible long before is told where it is likely."""
    log_p = path_log_p([0, 0, 0, 1, 1, 0, 2, 0, 0, 2], 3, sure=7.0)
    found = ctc_beam_search(log_p, blank=0, beams=8)
    assert labels_of(found) == [(1, 2, 2)]
    assert found.times[0, :3].tolist() == [3, 6, 9]
    np.testing.assert_array_equal(
        found.label_log_p[0, :3], log_p.max(-1)[np.r_[3, 6, 9]]
    )


def test_a_full_prefix_is_not_extended():
    """Of three labels the first two remain, with the paths that read nothing more."""
    log_p = np.asarray(path_log_p([1, 2, 1], 3, sure=1.0))
    paths, texts = readings(3, 3, 0)
    short = [n for n, labels in enumerate(texts) if labels == (1, 2)]
    wanted = np.logaddexp.reduce(log_p[np.arange(3), paths[short]].sum(axis=1))
    options = dict(blank=0, beams=7, results=7)
    found = ctc_beam_search(log_p, capacity=2, **options)
    scores = dict(zip(labels_of(found), found.scores.tolist(), strict=True))
    assert found.labels.shape == (7, 2)
    assert max(map(len, scores)) == 2
    assert scores[1, 2] == pytest.approx(wanted, abs=1e-5)
    state = ctc_advance(ctc_begin((), 7, 2), log_p, blank=0)
    more = ctc_advance(state, log_p, blank=0)
    assert int(more.sizes.max()) == 2
    assert (more.blank + more.label < 0).all()


def test_equal_scores_have_one_order():
    """The better beam first, and then the lower class."""
    log_p = np.full((2, 4), np.log(0.25), np.float32)
    found = ctc_beam_search(log_p, blank=3, beams=13, results=13)
    wanted = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), ()]
    assert labels_of(found) == wanted


def test_nan_is_not_silent():
    """At a label and at the blank, at once and later. Other rows do not change."""
    log_p = np.array(jnp.broadcast_to(path_log_p([1, 0, 2, 0], 3)[:, None], (4, 2, 3)))
    search = functools.partial(ctc_beam_search, blank=0, beams=3, results=3)
    sound = search(log_p)
    for t, k in itertools.product(range(4), range(3)):
        broken = log_p.copy()
        broken[t, 0, k] = np.nan
        found = search(broken)
        assert np.isnan(found.scores[0, 0])
        for a, b in zip(row(found, 1), row(sound, 1), strict=True):
            np.testing.assert_array_equal(a, b)
        emitted, _ = ctc_greedy(broken, blank=0)
        assert np.isnan(emitted.log_p[:, 0]).tolist() == [n == t for n in range(4)]


def test_scores_of_long_rows():
    """1,000 steps in float32, and scores of float32 in half precision."""
    log_p, lengths = example(1, 1_000, 2, 4)
    options = dict(blank=0, beams=4, results=4, capacity=20)
    search = functools.partial(ctc_beam_search, **options)
    found = search(log_p, lengths)
    for n, length in enumerate(lengths):
        check_narrow(row(found, n), log_p[:length, n], 0, 4, 20)
    half = search(jnp.asarray(log_p, jnp.bfloat16))
    assert half.scores.dtype == jnp.float32


def test_one_program():
    """Other values, lengths, weights and language models are no new program."""
    programs = []
    for seed in range(3):
        log_p, lengths = example(seed, 5, 4, 4)
        options, _ = language(3, 4)
        params = jax.tree.map(lambda a, by=seed: a + by, options["language_model"])
        options |= dict(language_model=params, weight=seed, bonus=0.5 * seed)
        ctc_beam_search(log_p, lengths, blank=3, beams=3, **options)
        ctc_beam_search(log_p, lengths, blank=3, beams=3, bonus=0.1 * seed)
        ctc_greedy(log_p, lengths, blank=3)
        compiled = ctc_search.advance_rows, ctc_search._best, _greedy
        programs.append([f._cache_size() for f in compiled])
    assert programs[0] == programs[1] == programs[2]


@pytest.mark.parametrize("blank", [0, 2])
def test_greedy_is_the_best_path(blank):
    log_p, lengths = example(0, 12, 60, 3)
    found = ctc_greedy(log_p, lengths, blank=blank)
    emitted, previous = jax.tree.map(np.asarray, found)
    for n, length in enumerate(lengths):
        path = log_p[:length, n].argmax(axis=-1).tolist()
        labels = emitted.labels[:, n]
        assert tuple(labels[labels >= 0].tolist()) == read(path, blank)
        begins = np.flatnonzero(np.diff([blank, *path]))
        wanted = [t for t in begins if path[t] != blank]
        assert np.flatnonzero(labels >= 0).tolist() == wanted
        np.testing.assert_array_equal(
            emitted.log_p[:length, n], log_p[:length, n].max(axis=-1)
        )
        assert (labels[length:] == -1).all()
        assert not emitted.log_p[length:, n].any()
        assert previous[n] == [blank, *path][-1]


def test_greedy_in_pieces():
    log_p, lengths = example(6, 9, 40, 3)
    whole, last = ctc_greedy(log_p, lengths, blank=1)
    for cuts in ([4], [1, 1, 2, 8], range(1, 9)):
        found, previous = [], None
        for begin, end in itertools.pairwise([0, *cuts, 9]):
            left = np.clip(lengths - begin, 0, end - begin)
            emitted, previous = ctc_greedy(log_p[begin:end], left, previous, blank=1)
            found.append(emitted)
        for n, wanted in enumerate(whole):
            pieces = np.concatenate([emitted[n] for emitted in found])
            np.testing.assert_array_equal(pieces, wanted)
        np.testing.assert_array_equal(previous, last)


LOGITS = dict(logits=jnp.zeros((2, 2)))
SAME = dict(language_model=lambda carry, tokens: (carry, jnp.zeros((len(tokens), 2))))
GIVEN = dict(log_p=np.zeros((4, 2, 3), np.float32), blank=0)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (dict(log_p=np.zeros((4, 2, 3), int)), TypeError, "log_p has dtype int"),
        (dict(log_p=np.zeros(3)), ValueError, r"log_p has shape \(3,\).*time-major"),
        (dict(log_p=np.zeros((3, 0))), ValueError, "1 class or more"),
        (dict(blank=3), ValueError, r"blank is 3, expected a class in \[0, 3\)"),
        (dict(blank=True), ValueError, "blank is True"),
        (dict(lengths=[5, 1]), ValueError, "^lengths runs from 1 to 5"),
        (dict(lengths=jnp.array([5, 1])), ValueError, "^lengths runs from 1 to 5"),
        (dict(lengths=[1.0, 2.0]), TypeError, "^lengths has dtype float64"),
        (dict(lengths=[1]), ValueError, r"^lengths has shape \(1,\)"),
    ],
)
def test_wrong_arguments_of_both(change, error, says):
    for function in (ctc_greedy, functools.partial(ctc_beam_search, beams=2)):
        with pytest.raises(error, match=says):
            function(**GIVEN | change)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (dict(beams=0), ValueError, "beams is 0, expected an integer, 1 or more"),
        (dict(results=3), ValueError, "results is 3, expected an integer, from 1 to 2"),
        (dict(capacity=0), ValueError, "capacity is 0, expected an integer, 1 or more"),
        (dict(weight=-1), ValueError, "weight is -1, expected a finite number, 0 or m"),
        (dict(bonus=np.inf), ValueError, "bonus is inf, expected a finite number"),
        (dict(bonus="1"), ValueError, "bonus is '1', expected a finite number"),
        (dict(carry=jnp.zeros(2)), ValueError, "carry is given without logits"),
        (LOGITS, ValueError, "language_model is None, but the state"),
        (SAME, ValueError, "language_model is given, but the state is one without"),
        (LOGITS | dict(language_model=3), TypeError, "language_model is int"),
        (SAME | dict(logits=jnp.zeros((2, 3))), ValueError, "of 3 labels, expected 2"),
        (SAME | dict(logits=jnp.zeros((1, 2))), ValueError, r"expected \(2, V\)"),
        (SAME | dict(logits=jnp.zeros((2, 2), int)), TypeError, "logits has dtype int"),
        (SAME | LOGITS | dict(carry=jnp.zeros(3)), ValueError, r"^carry has shape"),
        (
            dict(language_model=lambda carry, tokens: (carry, carry)) | LOGITS,
            ValueError,
            "step returns logits of",
        ),
    ],
)
def test_wrong_arguments_of_the_search(change, error, says):
    with pytest.raises(error, match=says):
        ctc_beam_search(**GIVEN | dict(beams=2) | change)


def test_wrong_states():
    state = ctc_begin((2,), 2, 4)
    with pytest.raises(ValueError, match=r"batch axes of the state, \(2,\)"):
        ctc_advance(state, np.zeros((4, 3, 3), np.float32), blank=0)
    for call in (ctc_best, functools.partial(ctc_advance, log_p=None, blank=0)):
        with pytest.raises(TypeError, match="state is tuple, expected a CTCState"):
            call(())
    with pytest.raises(TypeError, match="batch is 2, expected a tuple"):
        ctc_begin(2, 2, 4)
    with pytest.raises(ValueError, match=r"batch\[0\] is -1"):
        ctc_begin((-1,), 2, 4)
    with pytest.raises(TypeError, match="previous has dtype float32"):
        ctc_greedy(**GIVEN, previous=jnp.zeros(2))
    with pytest.raises(ValueError, match=r"previous has shape \(3,\), expected \(2,\)"):
        ctc_greedy(**GIVEN, previous=jnp.zeros(3, jnp.int32))
    with pytest.raises(TypeError, match="blank is traced"):
        jax.jit(lambda blank: ctc_greedy(GIVEN["log_p"], blank=blank))(0)
