"""A language model: what its regularisers do to training, and nothing to evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from pydantic import ValidationError

from lstm_jax.core.layers.penalties import (
    activation_penalty,
    temporal_activation_penalty,
)
from lstm_jax.models.language_model import LanguageModel

T, B, V = 6, 4, 9
KEY = jax.random.key(3)


def make(seed=0, **options):
    sizes = {"embed_size": 5, "hidden_size": 5, "num_layers": 2} | options
    return LanguageModel(V, rngs=nnx.Rngs(seed), **sizes)


def batch():
    tokens = jax.random.randint(jax.random.key(1), (T + 1, B), 0, V)
    return tokens[:-1], tokens[1:]


REGULARISERS = [
    {"dropout": 0.5},
    {"input_dropout": 0.5},
    {"output_dropout": 0.5},
    {"embedding_dropout": 0.5},
    {"weight_drop": 0.5},
    {"activation_penalty": 2.0},
    {"temporal_penalty": 1.0},
]


@pytest.mark.parametrize("option", REGULARISERS, ids=lambda option: next(iter(option)))
def test_a_regulariser_acts_in_training_alone(option):
    plain, model = make(), make(**option)
    inputs, targets = batch()
    for deterministic in (True, False):
        _, without = plain.loss(inputs, targets, key=KEY)
        _, loss = model.loss(inputs, targets, key=KEY, deterministic=deterministic)
        assert (float(loss) == float(without)) == deterministic
    for call in (model.loss, model.hidden, model):
        given = (inputs, targets) if call == model.loss else (inputs,)
        with pytest.raises(ValueError, match=f"no key for {next(iter(option))}="):
            call(*given)
    model.eval()
    np.testing.assert_array_equal(model(inputs)[1], plain(inputs)[1])


def test_penalties_are_of_the_outputs_after_and_before_dropout():
    inputs, targets = batch()
    loss = lambda **options: float(
        make(output_dropout=0.5, **options).loss(inputs, targets, key=KEY)[1]
    )
    nats = loss()
    # The masks of dropout are those of the key, so a run without shows the outputs.
    _, raw = make().hidden(inputs)
    after = loss(activation_penalty=1.0) - nats
    before = loss(temporal_penalty=1.0) - nats
    np.testing.assert_allclose(before, temporal_activation_penalty(raw), rtol=1e-3)
    assert after > 1.2 * activation_penalty(raw)  # half of them, doubled, squared


@pytest.mark.parametrize("locked", [False, True])
def test_locked_masks_are_those_of_the_whole_window(locked):
    """Equal inputs at every step: outputs differ only by the state and by masks."""
    model = make(input_dropout=0.5, locked=locked, num_layers=1)
    gradient = jax.grad(lambda xs: model.lstm(xs, key=KEY)[1].sum())
    silent = np.asarray(gradient(jnp.ones((T, B, 5)))) == 0
    assert (silent == silent[:1]).all() == locked
    assert silent.any()


def test_tied_weights_are_one_matrix_with_both_gradients():
    inputs, targets = batch()
    graph, params = nnx.split(make(tied=True), nnx.Param)
    assert params["embed"]["embedding"].shape == (V, 5)
    assert "head" not in params

    def untied(params, kernel):
        """The same loss by logits, of the output matrix apart."""
        model = nnx.merge(graph, params)
        _, hs = model.hidden(inputs)
        bias = params["bias"][...]
        logits = hs @ kernel + jnp.broadcast_to(bias, (T, B, V))
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return nats.mean()

    table = params["embed"]["embedding"][...]
    by_params, by_kernel = jax.grad(untied, (0, 1))(params, table.T)
    grads = jax.grad(lambda p: nnx.merge(graph, p).loss(inputs, targets)[1])(params)
    want = by_params["embed"]["embedding"][...] + by_kernel.T
    np.testing.assert_allclose(grads["embed"]["embedding"][...], want, atol=1e-6)


def test_layers_of_their_own_sizes_and_how_they_begin():
    model = make(hidden_size=(7, 3), num_layers=1, init_range=0.1, forget_bias=0.5)
    w_h = [layer.w_h for layer in model.lstm.params]
    assert [w.shape for w in w_h] == [(7, 28), (3, 12)]
    assert model(batch()[0])[1].shape == (T, B, V)
    weights = [w for layer in model.lstm.params for w in (layer.w_x, layer.w_h)]
    weights += [model.embed.embedding[...], model.head_weights[0]]
    for w in weights:
        assert 0.07 < abs(w).max() <= 0.1
    for layer, size in zip(model.lstm.params, (7, 3), strict=True):
        np.testing.assert_array_equal(layer.b[size : 2 * size], 0.5)


def test_steps_equal_the_whole_sequence():
    model, (tokens, _) = make(tied=True), batch()
    _, whole = model(tokens)
    carry = None
    for token, logits in zip(tokens, whole, strict=True):
        carry, one = model(token[None], carry)
        np.testing.assert_allclose(one[0], logits, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tied": True, "embed_size": 4}, "set embed_size=5"),
        ({"dropout": 0.5, "num_layers": 1}, "set output_dropout or input_dropout"),
        ({"hidden_size": (3, 4), "num_layers": 3}, "leave num_layers out"),
        ({"hidden_size": ()}, "hidden_size is empty"),
        ({"weight_drop": 1.0}, "less than 1"),
    ],
)
def test_what_does_not_fit_is_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        make(**options)
