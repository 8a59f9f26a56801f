"""Beam search over a batch, against all sequences there are and a plain beam search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lstm_jax.inference import beam_search_batch, coverage_penalty
from tests.inference.beam_reference import NO_LIMIT, Model, Options, every, narrow


def say(model, h):
    p = jax.nn.softmax(jnp.einsum("bu,bsu->bs", h, model.m))
    return p, jnp.einsum("bi,biv->bv", jnp.concatenate([h, p], axis=1), model.w)


def step(carry, tokens):
    """As `Model`. Every sentence has its own, so the carry holds the parameters."""
    model, seen = carry
    given = model.e[jnp.arange(len(tokens)), tokens]
    h = jnp.tanh(jnp.einsum("bi,bij->bj", model.h, model.a) + given)
    p, logits = say(model, h)
    return (model._replace(h=h), seen + p), logits


def start(models, dtype=None):
    """Carry and logits of a batch."""
    stack = Model(*(jnp.asarray(np.stack(a), dtype) for a in zip(*models, strict=True)))
    seen, logits = say(stack, stack.h)
    return (stack, seen), logits


def penalise(beta, carry):
    return beta * coverage_penalty(carry[1])


def search(models, options, width, length, dtype=None, **more):
    """`beam_search_batch` with the options of each sentence."""
    one = options[0]
    # What is not forced has no meaning.
    prefix = [[*o.prefix, *[-7] * (length - len(o.prefix))] for o in options]
    more = {
        "end": one.end,
        "alpha": one.alpha,
        "no_repeat": one.no_repeat,
        "prefix": prefix,
        "prefix_lengths": [len(o.prefix) for o in options],
        **more,
    }
    if one.end is not None:
        more["min_lengths"] = [o.least for o in options]
        more["max_lengths"] = [o.most for o in options]
    if one.beta:
        more["penalty"] = Partial(penalise, one.beta)
    return beam_search_batch(step, *start(models, dtype), width, length, **more)


def check(found, wanted, options):
    """The sequences, scores and lengths of one sentence."""
    alive = wanted[: len(found.scores)]
    length = found.tokens.shape[1]
    for n, (text, rank) in enumerate(alive):
        filled = [*text, *[options.end] * (length - len(text))]
        assert found.tokens[n].tolist() == filled, (n, options)
        assert found.lengths[n] == len(text), (n, options)
        np.testing.assert_allclose(found.scores[n], rank, rtol=1e-11, atol=1e-12)
    assert np.isneginf(found.scores[len(alive) :]).all()


def sentence(found, n):
    return jax.tree.map(lambda a: np.asarray(a[n]), found)


def draw(rng, kind, vocabulary, length):
    """Random options: those of the whole batch, and then those of a sentence."""
    end = int(rng.integers(vocabulary))
    one = Options(
        end,
        alpha=rng.choice([0.0, 0.6, 2.0]) if "alpha" in kind else 0.0,
        beta=rng.choice([0.2, 3.0]) if "beta" in kind else 0.0,
        no_repeat=int(kind[-1]) if "repeat" in kind else 0,
    )
    if "open" in kind:
        one = one._replace(end=None)

    def of_sentence():
        options = one
        if "least" in kind:
            options = options._replace(least=int(rng.integers(length + 1)))
        if "most" in kind:
            most = int(rng.choice([*range(1, length + 1), NO_LIMIT]))
            options = options._replace(most=most)
        if "prefix" in kind:
            size = rng.integers(length)
            prefix = rng.integers(vocabulary, size=size)
            options = options._replace(prefix=tuple(prefix.tolist()))
        return options

    return of_sentence


KINDS = [
    "open",
    "alpha",
    "alpha beta",
    "alpha least most",
    "prefix",
    "open prefix repeat2",
    "alpha beta least most prefix repeat1",
    "alpha beta least most prefix repeat3",
]
"""Names of options; the number is that of the n-grams that may not come twice."""
BATCH, ROUNDS = 9, 3


def cases(kind, vocabulary, length):
    """Batches of random models and random options."""
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(ROUNDS):
        of_sentence = draw(rng, kind, vocabulary, length)
        yield (
            [Model.make(rng, vocabulary) for _ in range(BATCH)],
            [of_sentence() for _ in range(BATCH)],
        )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", KINDS)
def test_wide_enough_is_exact(kind):
    """All sequences, all scores and their order."""
    vocabulary, length = (4, 4) if "open" in kind else (3, 6)
    for models, options in cases(kind, vocabulary, length):
        found = search(models, options, vocabulary ** (length - 1), length)
        for n, of_sentence in enumerate(options):
            wanted = every(models[n], of_sentence, length)
            check(sentence(found, n), wanted, of_sentence)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_is_plain_beam_search(kind, width):
    """The same sequences are given up."""
    for models, options in cases(kind, 6, 7):
        found = search(models, options, width, 7)
        for n, of_sentence in enumerate(options):
            wanted = narrow(models[n], of_sentence, 7, width)
            check(sentence(found, n), wanted, of_sentence)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", [KINDS[1], KINDS[-1]])
def test_fewer_results_are_the_first(kind):
    """One sentence at a time, since others would keep the loop going."""
    for models, options in cases(kind, 6, 7):
        all_of_them = search(models, options, 4, 7)
        for n, results in itertools.product(range(BATCH), (1, 2)):
            one = slice(n, n + 1)
            found = search(models[one], options[one], 4, 7, results=results)
            first = jax.tree.map(lambda a, n=one, k=results: a[n, :k], all_of_them)
            np.testing.assert_array_equal(found.tokens, first.tokens)
            np.testing.assert_array_equal(found.lengths, first.lengths)
            np.testing.assert_allclose(found.scores, first.scores, rtol=1e-11)


FULL = Options(end=1, alpha=0.6, beta=0.3, least=2, no_repeat=2)
"""Options that all sentences have, beside a maximum and a prefix."""


def sentences(seed=3, count=6, vocabulary=7):
    rng = np.random.default_rng(seed)
    models = [Model.make(rng, vocabulary) for _ in range(count)]
    limits = [FULL._replace(most=5 + n, prefix=(n,) * (n % 3)) for n in range(count)]
    return models, limits


def equal(found, wanted):
    np.testing.assert_array_equal(found.tokens, wanted.tokens)
    np.testing.assert_array_equal(found.lengths, wanted.lengths)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5, atol=1e-6)


def test_a_sentence_does_not_see_its_neighbours():
    """In a batch, alone, and in another order."""
    models, limits = sentences()
    together = search(models, limits, 3, 8)
    assert len({text.tobytes() for text in np.asarray(together.tokens[:, 0])}) > 3
    for n in range(len(models)):
        alone = search(models[n : n + 1], limits[n : n + 1], 3, 8)
        equal(sentence(alone, 0), sentence(together, n))
    reverse = search(models[::-1], limits[::-1], 3, 8)
    equal(reverse, jax.tree.map(lambda a: a[::-1], together))


def test_rows_of_padding_change_nothing():
    """Not even with NaN in them. Their results are empty."""
    models, limits = sentences()
    together = search(models, limits, 3, 8)
    nothing = models[0]._replace(h=np.full(3, np.nan))
    none = FULL._replace(most=0, prefix=(2, 3))
    padded = search([nothing, *models, nothing], [none, *limits, none], 3, 8)
    equal(jax.tree.map(lambda a: a[1:-1], padded), together)
    for n in (0, -1):
        empty = sentence(padded, n)
        assert empty.tokens[0].tolist() == [1] * 8
        assert empty.lengths[0] == 0
        assert empty.scores.tolist() == [0, -np.inf, -np.inf]


def test_one_is_greedy():
    models, _ = sentences()
    found = search(models, [Options(end=1)] * len(models), 1, 9)
    carry, logits = start(models)
    texts = []
    for _ in range(9):
        texts.append(logits.argmax(axis=-1))
        carry, logits = step(carry, texts[-1])
    for n, text in enumerate(np.stack(texts, axis=1).tolist()):
        stop = text.index(1) + 1 if 1 in text else 9
        assert found.tokens[n, 0, :stop].tolist() == text[:stop]
        assert found.lengths[n, 0] == stop


taken = []


def counted_step(table, carry, tokens):
    jax.debug.callback(lambda: taken.append(None))
    return carry, table[tokens]


def steps_taken(width=2, length=50, first=(0, 2, 0), end=0, **options):
    """Steps of a model that ends a sequence with 0.9, or else goes on to its end."""
    table = jnp.log(jnp.array([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]]))
    logits, step = table[jnp.array(first)], Partial(counted_step, table)
    taken.clear()
    found = beam_search_batch(step, (), logits, width, length, end=end, **options)
    jax.block_until_ready(found)
    jax.effects_barrier()
    return len(taken)


def test_the_loop_ends_early():
    """With the last step that can change a result."""
    assert steps_taken() == 49
    assert steps_taken(max_lengths=[3, 7, 5]) == 6
    # Sentences 0 and 2 are known at once. Sentence 1 says 2 until 0.8 ** t < 0.1.
    assert steps_taken(results=1, max_lengths=[50, 0, 50]) == 0
    assert 8 <= steps_taken(results=1) <= 12
    # A higher alpha lets a longer sequence come back.
    assert steps_taken(results=1, alpha=2.0) > 20


def test_what_does_not_keep_the_loop_going():
    """Rows of padding, and places without a sequence."""
    assert steps_taken(width=1, max_lengths=[9, 0, 9]) == 0
    assert steps_taken(first=(1, 1), end=1) == 0


def test_what_cannot_be_said_may_lead_to_nan():
    """Token 2 is impossible, so that what follows it does not matter."""
    table = jnp.log(jnp.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [jnp.nan] * 3]))
    step = lambda carry, tokens: (carry, table[tokens])
    found = beam_search_batch(step, (), table[:1], 3, 3)
    assert found.tokens[0, 0].tolist() == [0, 0, 0]
    assert np.isfinite(found.scores).all()


def test_what_never_changes_is_in_the_step():
    """Memory of ``[B, ...]`` is for the rows of its sentence, and is not rearranged."""
    memory = jnp.log(jnp.array([[0.1, 0.7, 0.2], [0.2, 0.1, 0.7]]))

    def step(memory, carry, tokens):
        rows = len(tokens) // len(memory)
        return carry, jnp.repeat(memory, rows, axis=0)

    found = beam_search_batch(Partial(step, memory), (), memory, 2, 3, end=0)
    assert found.tokens[:, 0].tolist() == [[1, 1, 1], [2, 2, 2]]


def test_nan_is_not_silent():
    """Of either sign, at once and later. Other sentences do not change."""
    rows = np.log([[0.5, 0.4, 0.1], [0.3, 0.3, 0.4], [0.2, 0.3, 0.5]])
    step = lambda table, carry, tokens: (carry, table[carry, tokens])

    def run(now, later):
        table = jnp.asarray(np.stack([rows, rows]))
        table = table.at[0, 0, 1].set(now).at[0, 2, 1].set(later)
        bound, at = Partial(step, table), jnp.arange(2)
        return beam_search_batch(bound, at, table[:, 0], 2, 4, end=0)

    sound = run(rows[0, 1], rows[2, 1])
    assert np.isfinite(sound.scores).all()
    for nan in (np.nan, -np.nan, np.inf):
        for found in (run(nan, rows[2, 1]), run(rows[0, 1], nan)):
            assert np.isnan(found.scores[0]).all(), nan
            equal(sentence(found, 1), sentence(sound, 1))


def test_a_penalty_above_0_is_not_silent():
    models, limits = sentences()
    reward = lambda carry: jnp.where(carry[1][:, 0] > 0.5, 0.1, 0.0)
    found = search(models, [o._replace(beta=0) for o in limits], 3, 8, penalty=reward)
    assert np.isnan(found.scores[:, 0]).any()


def test_a_traced_prefix_outside_the_vocabulary_is_not_silent():
    models, _ = sentences(count=4)
    run = jax.jit(
        lambda prefix: beam_search_batch(step, *start(models), 2, 4, prefix=prefix)
    )
    scores = run(jnp.array([[1], [7], [-1], [6]])).scores
    assert np.isnan(scores).any(axis=1).tolist() == [False, True, True, False]


def test_one_program():
    """Other models, limits, prefixes, ends and exponents are no new program."""
    traces = []

    def counted(carry, tokens):
        traces.append(None)
        return step(carry, tokens)

    counts = []
    for seed, end, alpha, limit in [(0, 1, 0.0, 3), (1, 2, 0.5, 6)]:
        carry, logits = start(sentences(seed)[0])
        beam_search_batch(
            counted,
            carry,
            logits,
            3,
            8,
            end=end,
            alpha=alpha,
            max_lengths=limit,
            min_lengths=[end] * 6,
            prefix=np.full((6, 2), end + 1),
        )
        counts.append(len(traces))
    # The first call looks at the shapes and compiles, the second looks at most.
    assert counts[1] - counts[0] <= 1 < counts[0]


def test_limits_may_be_traced():
    models, limits = sentences()

    @jax.jit
    def run(most, prefix, size):
        more = dict(max_lengths=most, prefix=prefix, prefix_lengths=size)
        return beam_search_batch(step, *start(models), 3, 8, end=1, **more)

    plain = [o._replace(alpha=0, beta=0, least=0, no_repeat=0) for o in limits]
    prefix = np.array([[*o.prefix, 0, 0][:2] for o in plain])
    sizes = np.array([len(o.prefix) for o in plain])
    found = run(np.array([o.most for o in plain]), prefix, sizes)
    equal(found, search(models, plain, 3, 8))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_has_scores_of_float32(dtype):
    table = jnp.log(jnp.array([[0.6, 0.4], [0.5, 0.5]])).astype(dtype)
    step = lambda carry, tokens: (carry, table[tokens])
    found = beam_search_batch(step, (), table, 2, 3, end=0, alpha=0.5)
    assert found.scores.dtype == jnp.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(results=4), "results is 4, expected an integer, from 1 to 3"),
        (dict(no_repeat=-1), "no_repeat is -1, expected an integer, 0 or more"),
        (dict(end=None, max_lengths=5), "max_lengths is 5 without end"),
        (dict(end=None, min_lengths=[1, 2]), r"min_lengths is \[1, 2\] without end"),
        (dict(end=None, results=1), "results is 1 without end"),
        (dict(max_lengths=-1), "max_lengths holds -1, expected 0 or more"),
        (
            dict(max_lengths=[1, 2, 3]),
            r"max_lengths has shape \(3,\), expected one num",
        ),
        (dict(min_lengths=1.5), "min_lengths has dtype float64, expected integers"),
        (dict(prefix_lengths=1), "prefix_lengths is given without prefix"),
        (dict(prefix=[[1], [7]]), r"prefix holds tokens from 1 to 7, .* in \[0, 7\)"),
        (dict(prefix=[1, 2]), r"prefix has shape \(2,\), expected \(2, P\)"),
        (dict(prefix=np.zeros((2, 9), int)), r"\(2, 9\), .* P at most length, 8"),
        (dict(prefix=[[0.5], [1.0]]), "prefix has dtype float64, expected integers"),
        (
            dict(prefix=[[1], [2]], prefix_lengths=[1, 2]),
            "prefix_lengths holds 2, expected at most 1",
        ),
        (dict(penalty=0.5), "penalty is float, expected a function of the carry"),
        (dict(penalty=lambda carry: 0.5), "penalty returns .*, expected one floating"),
    ],
)
def test_arguments_that_do_not_fit(wrong, message):
    models, _ = sentences(count=2)
    with pytest.raises((TypeError, ValueError), match=message):
        beam_search_batch(step, *start(models), 3, 8, **{"end": 1, **wrong})


def test_a_step_that_takes_other_rows():
    memory = jnp.zeros((2, 3))
    step = lambda carry, tokens: (carry, memory)
    with pytest.raises(ValueError, match=r"float32\[2, 3\], but those given are of f"):
        beam_search_batch(step, (), memory, 2, 3)
