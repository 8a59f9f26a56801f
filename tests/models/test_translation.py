"""The translator against its equations, row by row in float64, and its properties."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.models.functional import Functional
from lstm_jax.models.translation import Attention, PairBatch, TranslatorConfig
from lstm_jax.models.translation.decoder import advance, decode
from tests.reference import lstm_gates

SIZES = dict(embed_size=6, hidden_size=8)
KINDS = {
    "general": {},
    "dot": dict(attention="dot", input_feeding=False),
    "additive": dict(attention="additive", num_layers=2),
    "coverage": dict(attention="additive", coverage=True),
    "heads": dict(heads=4, num_layers=2),
    "tied": dict(tied="target", embed_size=8),
    "tied both": dict(tied="both", embed_size=8),
}
SOURCE, TARGET = 11, 11
LENGTHS, TARGET_LENGTHS = [7, 3, 1], [5, 2, 4]


def config_of(kind):
    return TranslatorConfig(**{**SIZES, **KINDS[kind]})


def functional(config):
    return Functional(lambda key: config.build(SOURCE, TARGET, nnx.Rngs(key)))


def made(kind, seed=0):
    """A model, its parameters, away from their zeros, and a batch."""
    model = functional(config_of(kind))
    rng = np.random.default_rng(seed)
    nudge = lambda a: a + 0.3 * rng.standard_normal(a.shape).astype(np.float32)
    params = jax.tree.map(nudge, model.init(jax.random.key(seed)))
    return model, params, pairs_of(rng)


def pairs_of(rng):
    draw = lambda steps: jnp.asarray(rng.integers(0, 11, (steps, 3)), jnp.int32)
    lengths = lambda of: jnp.array(of, jnp.int32)
    return PairBatch(
        draw(7), lengths(LENGTHS), draw(5), draw(5), lengths(TARGET_LENGTHS)
    )


# The oracle


def softmax(e):
    e = np.exp(e - e.max())
    return e / e.sum()


def attend(config, weights, h, states, covered):
    """The context and the weights of one row, from the equations."""
    heads = np.split(h, config.heads), np.split(states, config.heads, axis=1)
    found, means = [], []
    keys = states
    if config.attention == "general":
        keys = states @ weights.w_k
    for n, (query, values) in enumerate(zip(*heads, strict=True)):
        key = np.split(keys, config.heads, axis=1)[n]
        if config.attention == "additive":
            hidden = h @ weights.w_q + states @ weights.w_k
            if config.coverage:
                hidden = hidden + covered[:, None] * weights.w_coverage
            e = np.tanh(hidden) @ weights.v
        else:
            e = key @ query
        if config.heads > 1:
            e = e / np.sqrt(len(query))
        a = softmax(e)
        found.append(a @ values)
        means.append(a)
    return np.concatenate(found), np.mean(means, axis=0)


def oracle(model, pairs, row):
    """The logits of one row ``[T, V]``."""
    wide = lambda tree: jax.tree.map(lambda a: np.asarray(a, np.float64), tree)
    config, size = model.config, model.config.hidden_size
    targets = wide(model.target_embed.embedding[...])
    sources = targets
    if config.tied != "both":
        sources = wide(model.source_embed.embedding[...])
    n = int(pairs.source_lengths[row])
    xs = sources[np.asarray(pairs.source)[:n, row]]
    states = []
    for layer in wide(model.encoder.params):
        ways, last = [], []
        for way, params in zip((1, -1), layer, strict=True):
            h = c = np.zeros(size // 2)
            hs = []
            for x in xs[::way]:
                *_, c, h = lstm_gates(tuple(params), h, c, x)
                hs.append(h)
            ways.append(np.array(hs[::way]))
            last.append((h, c))
        xs = np.concatenate(ways, axis=1)
        states.append(tuple(np.concatenate(pair) for pair in zip(*last, strict=True)))
    linear = lambda x, of: x @ wide(of.kernel[...]) + wide(of.bias[...])
    layers = [
        (np.tanh(linear(h, of_h)), linear(c, of_c))
        for (h, c), of_h, of_c in zip(
            states, model.bridge_h, model.bridge_c, strict=True
        )
    ]
    params = wide(model.decoder.params)
    s, covered, logits = np.zeros(size), np.zeros(n), []
    kernel, bias = wide(model.head_weights)
    for token in np.asarray(pairs.inputs)[: int(pairs.lengths[row]), row]:
        x = targets[token]
        below = np.concatenate([x, s]) if config.input_feeding else x
        for k, ((h, c), w, b) in enumerate(
            zip(layers, params.w, params.b, strict=True)
        ):
            w_x, w_h = w[:-size], w[-size:]
            if k == 0:
                w_x = np.concatenate([params.w_x, w_x])
            *_, c, h = lstm_gates((w_x, w_h, b), h, c, below)
            layers[k], below = (h, c), h
        context, a = attend(config, params.attention, below, xs, covered)
        covered = covered + a
        s = np.tanh(np.concatenate([context, below]) @ params.w_c + params.b_c)
        logits.append(s @ kernel + bias)
    return np.array(logits)


@pytest.mark.parametrize("kind", KINDS)
def test_the_equations(kind):
    model, params, pairs = made(kind)
    logits = model(params)(pairs)
    for row, length in enumerate(TARGET_LENGTHS):
        expected = oracle(model(params), pairs, row)
        np.testing.assert_allclose(logits[:length, row], expected, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rule_is_the_derivative_of_the_steps(kind):
    """Gradients of all parameters, those of the memory's among them, against JAX's own
    derivative of a loop of single steps."""
    model, params, pairs = made(kind)

    def by_rule(params):
        return model(params).loss(pairs)[0]

    def by_steps(params):
        translator = model(params)
        memory, carry = translator.encode(pairs.source, pairs.source_lengths)
        nats = 0.0
        for t, tokens in enumerate(pairs.inputs):
            carry, logits, _ = translator.step(memory, carry, tokens)
            log_p = jax.nn.log_softmax(logits)
            picked = jnp.take_along_axis(log_p, pairs.outputs[t][:, None], axis=1)
            nats -= jnp.where(t < pairs.lengths, picked[:, 0], 0.0).sum()
        return nats / sum(TARGET_LENGTHS)

    expected, found = jax.grad(by_steps)(params), jax.grad(by_rule)(params)
    np.testing.assert_allclose(by_rule(params), by_steps(params), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected
    )


def test_padding_changes_nothing():
    """Neither what stands in the padding, nor how much there is, nor the other rows."""
    model, params, pairs = made("coverage")
    value = jax.jit(jax.value_and_grad(lambda p, pairs: model(p).loss(pairs)[0]))
    more = lambda tokens, by: jnp.concatenate([tokens, tokens[:by]])
    padded = pairs._replace(
        source=more(pairs.source, 2),
        inputs=more(pairs.inputs, 3),
        outputs=more(pairs.outputs, 3),
    )
    real = np.arange(9)[:, None] < np.array(LENGTHS)
    padded = padded._replace(source=jnp.where(real, padded.source, 10**6))
    for one, other in zip(
        *map(jax.tree.leaves, (value(params, pairs), value(params, padded))),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    alone = jax.tree.map(lambda a: a[..., 1:2], pairs)
    logits, whole = model(params)(alone), model(params)(pairs)
    np.testing.assert_allclose(logits[:2, 0], whole[:2, 1], atol=1e-6)


def test_a_row_of_padding_alone():
    model, params, pairs = made("general")
    none = jnp.zeros(3, jnp.int32)
    empty = pairs._replace(source_lengths=none, lengths=none)
    (loss, count), grads = jax.value_and_grad(
        lambda p: model(p).loss(empty), has_aux=True
    )(params)
    assert (loss, count) == (0, 0)
    assert all((g == 0).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("kind", ["additive", "heads"])
def test_rows_of_a_search_read_one_memory(kind):
    """Several rows for a sentence, side by side, as single sentences."""
    model, params, pairs = made(kind)
    translator = model(params)
    memory, carry = translator.encode(pairs.source, pairs.source_lengths)
    tokens = jnp.arange(6, dtype=jnp.int32)
    twice = jax.tree.map(lambda a: jnp.repeat(a, 2, axis=0), carry)
    found = translator.step(memory, twice, tokens)
    for n in range(2):
        alone = translator.step(memory, carry, tokens[n::2])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[n::2], b, atol=1e-6),  # noqa: B023
            found,
            alone,
        )


def test_dropout_is_of_training_alone():
    config = TranslatorConfig(
        **SIZES,
        num_layers=2,
        dropout=0.3,
        input_dropout=0.3,
        memory_dropout=0.3,
        output_dropout=0.3,
        weight_drop=0.3,
        label_smoothing=0.1,
    )
    pairs = pairs_of(np.random.default_rng(0))
    plain = dataclasses.replace(
        config,
        dropout=0.0,
        input_dropout=0.0,
        memory_dropout=0.0,
        output_dropout=0.0,
        weight_drop=0.0,
    )
    params = functional(config).init(jax.random.key(0))
    loss = lambda config, key=None: functional(config)(params).loss(pairs, key=key)[0]
    assert loss(config) == loss(plain)
    key = jax.random.key(1)
    assert loss(config, key) == loss(config, key) != loss(plain, key)
    for name in ("dropout", "input_dropout", "memory_dropout", "output_dropout"):
        one = dataclasses.replace(plain, **{name: 0.3})
        assert loss(one, key) != loss(plain, key), name
    one = dataclasses.replace(plain, weight_drop=0.3)
    assert loss(one, key) != loss(plain, key)
    # The same units at every step, if variational.
    masks = lambda config: functional(config)(params)._masks(key, jnp.ones((5, 3, 6)))
    for variational in (False, True):
        made = masks(dataclasses.replace(config, variational=variational))
        assert [bool((m[1:] == m[:-1]).all()) for m in made] == [variational] * 2


def test_label_smoothing():
    """The loss of training, against the definition."""
    config = TranslatorConfig(**SIZES, label_smoothing=0.1)
    model, pairs = functional(config), pairs_of(np.random.default_rng(0))
    params = model.init(jax.random.key(0))
    log_p = np.asarray(jax.nn.log_softmax(model(params)(pairs)), np.float64)
    real = np.arange(5)[:, None] < np.array(TARGET_LENGTHS)
    picked = np.take_along_axis(log_p, np.asarray(pairs.outputs)[..., None], -1)[..., 0]
    smooth = -(0.9 * picked + 0.1 * log_p.mean(-1))[real].mean()
    loss = model(params).loss(pairs, key=jax.random.key(0))[0]
    np.testing.assert_allclose(loss, smooth, rtol=1e-5)
    np.testing.assert_allclose(
        model(params).loss(pairs)[0], -picked[real].mean(), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(heads=3), "heads=3"),
        (dict(attention="additive", heads=2), "heads=2 with score='additive'"),
        (dict(coverage=True), "coverage=True with score='general'"),
        (dict(tied="target"), "tied='target' needs embed_size"),
        (dict(dropout=0.1), "num_layers is 1"),
    ],
)
def test_what_does_not_fit(options, said):
    with pytest.raises(ValueError, match=said):
        TranslatorConfig(**{**SIZES, **options})


def test_sizes_of_a_score():
    with pytest.raises(ValueError, match="use 'general'"):
        Attention("dot", 4, 6)
    model, params, pairs = made("general")
    translator = model(params)
    memory, carry = translator.encode(pairs.source, pairs.source_lengths)
    with pytest.raises(ValueError, match="4 rows and the memory 3 sentences"):
        advance(
            translator.cell,
            translator.decoder.params,
            memory,
            carry,
            jnp.ones((4, 6)),
        )


def test_no_step_is_no_output():
    model, params, pairs = made("general")
    translator = model(params)
    memory, carry = translator.encode(pairs.source, pairs.source_lengths)
    xs = jnp.ones((0, 3, 6))
    hs = decode(translator.cell, translator.decoder.params, memory, carry, xs)
    assert hs.shape == (0, 3, 8)


@pytest.mark.usefixtures("optax_promotion")
@pytest.mark.parametrize("attention", ["general", "additive"])
def test_sixteen_bits(attention):
    """Near float32; only ``c`` and what attends are wide."""
    sizes = dict(embed_size=16, hidden_size=32, attention=attention)
    wide = TranslatorConfig(**sizes).build(20, 24, nnx.Rngs(0))
    narrow = TranslatorConfig(**sizes, dtype="bfloat16").build(20, 24, nnx.Rngs(0))
    rng = np.random.default_rng(0)
    tokens = lambda steps: jnp.asarray(rng.integers(3, 20, (steps, 5)), jnp.int32)
    lengths = jnp.array([7, 3, 1, 5, 7])
    pairs = PairBatch(tokens(7), lengths, tokens(6), tokens(6), lengths - 1)
    memory, carry = narrow.encode(pairs.source, pairs.source_lengths)
    (layer,) = carry.layers
    assert (layer.h.dtype, layer.c.dtype) == (jnp.bfloat16, jnp.float32)
    assert {a.dtype for a in (carry.fed, narrow.hidden(pairs))} == {
        jnp.dtype("bfloat16")
    }
    assert {a.dtype for a in memory} == {jnp.dtype("float32")}
    assert narrow(pairs).dtype == jnp.float32

    def measured(model):
        graph, params = nnx.split(model, nnx.Param)
        loss = lambda params: nnx.merge(graph, params).loss(pairs)[0]
        return jax.jit(jax.value_and_grad(loss))(params)

    (a, found), (b, expected) = measured(narrow), measured(wide)
    assert a != b
    assert float(a) == pytest.approx(float(b), rel=5e-3)
    for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert x.dtype == jnp.float32
        assert np.linalg.norm(x - y) <= 0.05 * np.linalg.norm(y) + 1e-6
