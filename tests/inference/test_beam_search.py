"""Beam search against all sequences there are."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.inference import Sampling, beam_search, generate_all
from tests.inference import models
from tests.inference.models import V

PROMPT, LENGTH, END = (1, 0, 2), 4, 2
SEEDS = (1, 9, 13)
MODELS = [models.make(seed) for seed in SEEDS]
"""Their likeliest tokens are not the same at every step."""


def search(model, width, length=LENGTH, **options):
    return beam_search(model.step, *model.after(PROMPT), width, length, **options)


def every(model, length=LENGTH, end=None, alpha=0.0):
    """All sequences and what they are ranked by, best first."""
    rows = np.array(list(itertools.product(range(V), repeat=length)))
    nats = models.continuation_nats(model, PROMPT, rows)
    ended = np.cumsum(rows == (-1 if end is None else end), axis=1) > 0
    late = np.concatenate([np.zeros((len(rows), 1), bool), ended[:, :-1]], axis=1)
    rows = np.where(late, end if end is not None else 0, rows)
    rows, first = np.unique(rows, axis=0, return_index=True)
    late = late[first]
    scores = np.where(late, 0, nats[first]).sum(1)
    scores /= ((5 + (~late).sum(1)) / 6) ** alpha
    order = np.argsort(-scores)
    return rows[order], scores[order]


def check(found, want):
    rows, scores = (a[: len(found.tokens)] for a in want)
    alive = len(rows)
    np.testing.assert_array_equal(found.tokens[:alive], rows)
    np.testing.assert_allclose(found.scores[:alive], scores, atol=1e-4)
    assert np.isneginf(found.scores[alive:]).all()
    assert found.tokens.dtype == jnp.int32


@pytest.mark.parametrize("alpha", [None, 0.0, 0.6, 2.0])
@pytest.mark.parametrize("model", MODELS, ids=map(str, SEEDS))
def test_wide_enough_is_exact(model, alpha):
    """The best of all, and all the others that are kept, with and without ends."""
    options = {} if alpha is None else dict(end=END, alpha=alpha)
    want = every(model, **options)
    # Apart by more than rounding, or the order would be chance.
    assert np.diff(-want[1]).min() > 1e-4
    check(search(model, V ** (LENGTH - 1), **options), want)


def test_wider_than_there_are_sequences():
    for model in MODELS:
        check(search(model, 13, 2), every(model, 2))


@pytest.mark.parametrize("model", MODELS, ids=map(str, SEEDS))
def test_one_is_greedy(model):
    found = search(model, 1, 12)
    key = jax.random.key(0)
    greedy = generate_all(model.step, *model.after(PROMPT), key, 12, Sampling(0.0))
    assert len(set(greedy[0].tolist())) > 1
    np.testing.assert_array_equal(found.tokens, greedy)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_scores_are_log_probabilities(width):
    for model in MODELS:
        found = search(model, width, 12)
        nats = models.continuation_nats(model, PROMPT, found.tokens).sum(1)
        np.testing.assert_allclose(found.scores, nats, atol=1e-4)
        assert (np.diff(found.scores) <= 0).all()
        assert len({row.tobytes() for row in np.asarray(found.tokens)}) == width


def test_wider_finds_better():
    """A model whose likeliest first token leads nowhere."""
    table = jnp.log(jnp.array([[0.6, 0.4, 0.0], [0.4, 0.3, 0.3], [0.0, 0.1, 0.9]]))
    step = lambda carry, tokens: (carry, table[1 + tokens])
    best = lambda width: beam_search(step, (), table[:1], width, 2).tokens[0].tolist()
    assert best(1) == [0, 0]
    assert best(2) == [1, 2]


def test_an_end_is_an_end():
    """Token 0 ends at once with 0.5; going on has 0.5 * 0.9 ** t."""
    table = jnp.log(jnp.array([[0.5, 0.5], [1.0, 0.0], [0.1, 0.9]]))
    step = lambda carry, tokens: (carry, table[1 + tokens])
    run = lambda **more: beam_search(step, (), table[:1], 3, 6, end=0, **more)
    found = run()
    assert found.tokens[0].tolist() == [0] * 6
    assert found.tokens[1].tolist() == [1] * 6
    assert found.tokens[2].tolist() == [1, 0, 0, 0, 0, 0]
    chances = [0.5, 0.5 * 0.9**5, 0.5 * 0.1]
    np.testing.assert_allclose(jnp.exp(found.scores), chances, rtol=1e-5)
    longer = run(alpha=1.0)
    assert longer.tokens[0].tolist() == [1] * 6
    np.testing.assert_allclose(
        longer.scores[:2], [np.log(chances[1]) * 6 / 11, np.log(0.5)], rtol=1e-5
    )


def test_tokens_that_cannot_come():
    """Logits of -inf are no sequences, and make no NaN."""
    table = jnp.array([[0.0, -jnp.inf, 0.0], [0.0, -jnp.inf, -jnp.inf]])
    step = lambda carry, tokens: (carry, table[jnp.minimum(1 + tokens, 1)])
    found = beam_search(step, (), table[:1], 3, 3, end=1)
    assert found.tokens[:2].tolist() == [[0, 0, 0], [2, 0, 0]]
    np.testing.assert_allclose(found.scores, [np.log(0.5)] * 2 + [-np.inf], rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_float64_stays_float64():
    chances = np.array([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]])
    table = jnp.log(chances)
    step = lambda carry, tokens: (carry, table[1 + tokens])
    found = beam_search(step, (), table[:1], 2, 9, end=0)
    want = [np.log(0.6), np.log(0.4) + 8 * np.log(0.9)]
    np.testing.assert_allclose(found.scores, want, rtol=1e-14)


def test_many_prompts_and_jit():
    """Under `jit` and `vmap` every prompt has the beams it has alone."""
    model = MODELS[0]
    prompts = [model.after(prompt) for prompt in (PROMPT, (0, 0), (2, 1))]
    carries, logits = jax.tree.map(lambda *a: jnp.stack(a), *prompts)
    one = lambda carry, logits: beam_search(model.step, carry, logits, 5, 6, end=END)
    many = jax.jit(jax.vmap(one))(carries, logits)
    for n, prompt in enumerate(prompts):
        alone = one(*prompt)
        np.testing.assert_array_equal(many.tokens[n], alone.tokens)
        np.testing.assert_allclose(many.scores[n], alone.scores, atol=1e-4)


def test_one_program():
    """Other parameters, prompts, ends and exponents are no new program."""
    traces = []

    def step(params, carry, tokens):
        traces.append(None)
        model = models.Model(MODELS[0].graph, params)
        return model.step(carry, tokens)

    counts = []
    for model, end, alpha in [(MODELS[0], 1, 0.0), (MODELS[1], 2, 0.5)]:
        bound = jax.tree_util.Partial(step, model.params)
        beam_search(bound, *model.after(PROMPT), 4, 5, end=end, alpha=alpha)
        counts.append(len(traces))
    # The first call looks at the shapes and compiles, the second looks at most.
    assert counts[0] > 1
    assert counts[1] - counts[0] <= 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(width=0), "width is 0, expected an integer"),
        (dict(length=2.0), "length is 2.0, expected an integer"),
        (dict(end=V), r"end is 3, expected a token in \[0, 3\)"),
        (dict(end=-1), "end is -1"),
        (dict(end=True), "end is True"),
        (dict(end=0, alpha=-1.0), "alpha is -1.0, expected a number, 0 or more"),
        (dict(end=0, alpha=np.nan), "alpha is nan"),
        (dict(alpha=0.5), "alpha is 0.5 without end"),
    ],
)
def test_arguments_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        search(MODELS[0], **{"width": 2, **wrong})


def test_one_sequence_is_expected():
    model = MODELS[0]
    with pytest.raises(ValueError, match=r"logits has shape \(2, 3\), expected \(1,"):
        beam_search(model.step, *model.after(PROMPT, 2), 2, 3)
