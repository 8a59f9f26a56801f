"""Classifiers and taggers: exact sums, whatever fills up a batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from pydantic import ValidationError

from lstm_jax.data.standardise import Standardisation
from lstm_jax.models.classifier import ClassifierConfig
from lstm_jax.models.encoder import Tokens
from lstm_jax.models.tagger import TaggerConfig

T, D, V, C = 5, 3, 7, 4
LENGTHS = [T, 2, 1]
B = len(LENGTHS)
INPUTS = {
    "real": Standardisation(mean=(1.0, -2.0, 0.0), std=(0.5, 3.0, 1.0)),
    "tokens": Tokens(V),
}
CONFIGS = {
    "last": ClassifierConfig(hidden_size=4, pooling="last"),
    "ends": ClassifierConfig(hidden_size=4, bidirectional=True, cell="gru"),
    "mean": ClassifierConfig(hidden_size=4, pooling="mean", cell="rnn"),
    "max": ClassifierConfig(hidden_size=4, pooling="max", num_layers=2),
    "attention": ClassifierConfig(hidden_size=4, pooling="attention"),
    "tags": TaggerConfig(hidden_size=4),
    "crf": TaggerConfig(hidden_size=4, crf=True),
}
CASES = [(name, "real") for name in CONFIGS] + [
    (name, "tokens") for name in ("attention", "ends", "crf")
]
cases = pytest.mark.parametrize(("name", "inputs"), CASES)


def rows(inputs, name):
    """``(xs, labels)`` of every sequence alone."""
    rng = np.random.default_rng(0)
    tags = isinstance(CONFIGS[name], TaggerConfig)
    for n in LENGTHS:
        xs = rng.normal(size=(n, D)).astype(np.float32)
        xs = rng.integers(0, V, n) if inputs == "tokens" else xs
        yield xs, rng.integers(0, C, n) if tags else rng.integers(0, C)


def batch(inputs, name):
    """All sequences, and a row that fills up; the padding holds nonsense."""
    pairs = list(rows(inputs, name))
    shape = (T, B + 1) if inputs == "tokens" else (T, B + 1, D)
    kind = np.int32 if inputs == "tokens" else np.float32
    xs = np.full(shape, -5 if inputs == "tokens" else np.nan, kind)
    tags = isinstance(CONFIGS[name], TaggerConfig)
    labels = np.full((T, B + 1) if tags else B + 1, -1)
    for b, (x, y) in enumerate(pairs):
        xs[: len(x), b] = x
        labels[(slice(len(x)), b) if tags else b] = y
    options = dict(lengths=[*LENGTHS, 0], weights=jnp.array([1.0, 0.5, 2.0, 0.0]))
    return jnp.asarray(xs), jnp.asarray(labels), options


def built(name, inputs):
    model = CONFIGS[name].build(INPUTS[inputs], C, T, nnx.Rngs(0))
    if name == "crf":  # scores of 0 would hide a wrong transition
        for param in model.crf.values():
            shape = param[...].shape
            param[...] = jnp.cos(jnp.arange(np.prod(shape))).reshape(shape)
    return model


@cases
def test_a_batch_is_the_sum_of_its_rows(name, inputs):
    model = built(name, inputs)
    graph, params = nnx.split(model, nnx.Param)  # nothing else, or this raises
    xs, labels, options = batch(inputs, name)

    def together(params):
        return nnx.merge(graph, params).loss(xs, labels, **options)

    def one_by_one(params):
        model, total = nnx.merge(graph, params), (0.0, 0.0)
        for (x, y), m in zip(rows(inputs, name), (1.0, 0.5, 2.0), strict=True):
            y = jnp.asarray(y)[:, None] if np.ndim(y) else jnp.asarray(y)[None]
            one = model.loss(jnp.asarray(x)[:, None], y, weights=jnp.array([m]))
            total = total[0] + one.nats, total[1] + one.weight
        return total

    @functools.partial(jax.jit, static_argnums=0)
    def measured(f, params):
        nats, pull, weight = jax.vjp(f, params, has_aux=True)
        return nats, weight, pull(jnp.ones_like(nats))[0]

    got = measured(lambda p: tuple(together(p)), params)
    want = measured(one_by_one, params)
    assert got[1] == want[1] == (3.5 if name not in ("tags", "crf") else T + 1 + 2)
    for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
        assert np.any(np.asarray(b) != 0) or name == "attention"


def test_last_is_the_final_state_of_both_directions():
    model = built("ends", "real")
    xs, _, options = batch("real", "ends")
    layers = model.encoder.layers
    layers.return_carry = True
    standard = INPUTS["real"].apply(np.asarray(xs)).astype(np.float32)
    carries, _ = layers(jnp.asarray(standard), lengths=options["lengths"])
    layers.return_carry = False
    final = jnp.concatenate([carries[-1].forward.h, carries[-1].backward.h], axis=-1)
    got = model(xs, lengths=options["lengths"])
    np.testing.assert_allclose(got, model.head(final), atol=1e-6)


def test_features_are_standardised():
    raw, plain = built("mean", "real"), built("mean", "real")
    plain.encoder.inputs = Standardisation((0.0,) * D, (1.0,) * D)
    xs = jnp.ones((T, 2, D))
    by_hand = jnp.asarray(INPUTS["real"].apply(np.asarray(xs)), jnp.float32)
    np.testing.assert_allclose(raw(xs), plain(by_hand), atol=1e-6)
    assert (raw(xs) != plain(xs)).all()


def test_chrono_is_drawn_for_the_longest_sequence():
    config = ClassifierConfig(cell="lstm_chrono", hidden_size=128)
    model = config.build(INPUTS["real"], C, 100, nnx.Rngs(0))
    forget = jnp.split(model.encoder.layers.params[0].b, 4)[1]
    assert 95 < jnp.exp(forget).max() < 99.1


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_needs_a_key_and_ends_with_eval(variational):
    config = ClassifierConfig(hidden_size=8, input_dropout=0.5, variational=variational)
    model, xs = config.build(INPUTS["real"], C, T, nnx.Rngs(0)), jnp.ones((T, 2, D))
    assert model.encoder.layers.stack.locked == variational
    with pytest.raises(ValueError, match=r"no key for input_dropout=0\.5"):
        model(xs)
    trained = model(xs, key=jax.random.key(1))
    assert (trained != model(xs, deterministic=True)).any()
    model.eval()
    assert (model(xs) == model(xs, deterministic=True)).all()


@pytest.mark.parametrize("name", ["tags", "crf"])
def test_decoded_tags(name):
    model = built(name, "real")
    xs, _, options = batch("real", name)
    tags = model.decode(xs, lengths=options["lengths"])
    logits = np.asarray(model(xs, lengths=options["lengths"]))
    for b, n in enumerate(options["lengths"]):
        assert (tags[n:, b] == -1).all()
        if name == "tags":
            assert (tags[:n, b] == logits[:n, b].argmax(axis=-1)).all()
    if name == "crf":  # no other tags of the row of two steps have less nats
        of = lambda y: float(
            model.loss(xs[:2, 1:2], jnp.array(y)[:, None], lengths=[2]).nats
        )
        nats = {(a, b): of([a, b]) for a in range(C) for b in range(C)}
        assert min(nats, key=nats.__getitem__) == tuple(tags[:2, 1].tolist())
        assert sum(np.exp(-n) for n in nats.values()) == pytest.approx(1, abs=1e-5)


def test_tokens_outside_of_the_vocabulary_are_not_hidden():
    model = built("attention", "tokens")
    for wrong in (-1, V):
        logits = model(jnp.array([[0, 1], [2, wrong]]))
        assert jnp.isnan(logits).any(axis=-1).tolist() == [False, True]


@pytest.mark.usefixtures("optax_promotion")
def test_it_learns():
    """Which of two tokens comes first, nineteen steps before the end."""
    config = ClassifierConfig(hidden_size=8, bidirectional=True, embed_size=4)
    model = config.build(Tokens(3), 2, 20, nnx.Rngs(0))
    labels = jnp.arange(16) % 2
    tokens = jnp.full((20, 16), 2).at[0].set(labels)
    graph, params = nnx.split(model, nnx.Param)
    optimizer = optax.adam(0.05)

    def mean(params):
        total = nnx.merge(graph, params).loss(tokens, labels)
        return total.nats / total.weight

    def step(state, _):
        params, moments = state
        nats, gradient = jax.value_and_grad(mean)(params)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), nats

    nats = jax.lax.scan(step, (params, optimizer.init(params)), None, 40)[1]
    assert nats[-1] < 0.1 < 0.5 < nats[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ClassifierConfig(dropout=0.5), "num_layers is 1"),
        (lambda: ClassifierConfig(variational=True), "variational=true needs"),
        (lambda: ClassifierConfig(chrono_steps=1), "expected 2 or more, or 0"),
        (
            lambda: TaggerConfig(crf=True, label_smoothing=0.1),
            "cannot be used with crf",
        ),
    ],
)
def test_configs_that_do_not_go_together(make, said):
    with pytest.raises(ValidationError, match=said):
        make()


@pytest.mark.parametrize(
    ("name", "inputs", "xs", "options", "error", "said"),
    [
        ("mean", "real", jnp.ones((T, 1, 2)), {}, ValueError, "expected 3 features"),
        ("mean", "real", jnp.ones((T, 1, D), int), {}, TypeError, "floating-point"),
        ("crf", "tokens", jnp.ones((T, 1)), {}, TypeError, "expected integers"),
        (
            "crf",
            "tokens",
            jnp.ones((T, 1), int),
            dict(smoothing=0.1),
            ValueError,
            "cannot be used with a CRF",
        ),
    ],
)
def test_what_does_not_fit(name, inputs, xs, options, error, said):
    labels = jnp.zeros((T, 1), int) if name == "crf" else jnp.zeros(1, int)
    with pytest.raises(error, match=said):
        built(name, inputs).loss(xs, labels, **options)
