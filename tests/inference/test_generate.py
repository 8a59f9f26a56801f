"""Generation: the tokens of a loop without batches, however it is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lstm_jax.inference import Sampling, draw, generate, generate_all, spread
from tests.inference import models
from tests.inference.models import V

KEY, PROMPT, LENGTH = jax.random.key(3), (1, 0, 2), 19
WARM, COLD = Sampling(1.3, 2, 0.95), Sampling(0.0)
MODEL = models.make(9)
CARRY, LOGITS = MODEL.after(PROMPT)


def run(count=1, *, sampling=WARM, length=LENGTH, key=KEY, step=MODEL.step, chunk=16):
    carry, logits = spread((CARRY, LOGITS), count)
    return generate_all(step, carry, logits, key, length, sampling, chunk=chunk)


def test_steps_are_the_whole():
    """Of smaller weights, so that rounding does not grow from step to step."""
    model = models.make(0, size=0.5)
    tokens = np.random.default_rng(0).integers(V, size=(LENGTH, 4)).astype(np.int32)
    whole = model.whole(tokens)
    carry, logits = models.run(model.graph, model.params, None, tokens[:1])
    steps = [logits[0]]
    for now in tokens[1:]:
        carry, logits = model.step(carry, jnp.asarray(now))
        steps.append(logits)
    np.testing.assert_allclose(np.stack(steps), whole, atol=1e-6)
    assert np.std(whole, axis=0).min() > 1e-2


def test_the_coldest_takes_the_likeliest_of_the_whole():
    tokens = run(2, sampling=COLD)
    rows = np.concatenate([np.tile(PROMPT, (2, 1)), tokens], axis=1).astype(np.int32)
    likeliest = MODEL.whole(rows.T).argmax(-1)[len(PROMPT) - 1 : -1]
    np.testing.assert_array_equal(tokens, likeliest.T)
    assert len(set(tokens[0].tolist())) > 1


def loop(b, carry, logits):
    """Sample ``b`` by itself, a token at a time, with the key of (key, b, t)."""
    for t in range(LENGTH):
        key = jax.random.fold_in(jax.random.fold_in(KEY, b), t)
        token = draw(logits, key[None], WARM)
        yield int(token[0])
        carry, logits = MODEL.step(carry, token)


def test_tokens_of_a_loop():
    tokens = run(3).tolist()
    assert [list(loop(b, CARRY, LOGITS)) for b in range(3)] == tokens
    assert len(set(map(tuple, tokens))) == 3


def test_more_samples_change_nothing():
    np.testing.assert_array_equal(run(1), run(4)[:1])


def test_samples_have_states_of_their_own():
    """Two prompts in a batch are each as it would be alone."""
    other = MODEL.after((0, 0))
    both = jax.tree.map(lambda *a: jnp.concatenate(a), (CARRY, LOGITS), other)
    tokens = generate_all(MODEL.step, *both, KEY, LENGTH, WARM).tolist()
    assert [list(loop(0, CARRY, LOGITS)), list(loop(1, *other))] == tokens
    assert tokens[1] != run(2)[1].tolist()


@pytest.mark.parametrize("chunk", [1, 5, LENGTH])
def test_the_chunk_changes_nothing(chunk):
    np.testing.assert_array_equal(run(2, chunk=chunk), run(2))


def test_a_mapped_step_changes_nothing():
    """A model without a batch axis, under `jax.vmap`."""

    def one(params, carry, token):
        carry, logits = models.run(MODEL.graph, params, carry, token[None])
        return carry, logits[0]

    step = Partial(jax.vmap(one, (None, 0, 0)), MODEL.params)
    np.testing.assert_array_equal(run(4, step=step), run(4))


def test_float64_at_hand_changes_nothing():
    want = run(2)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(run(2), want)


def test_chunks_come_as_they_are_made():
    carry, logits = spread((CARRY, LOGITS), 2)
    parts = generate(MODEL.step, carry, logits, KEY, LENGTH, WARM, chunk=8)
    parts = list(parts)
    assert [part.shape for part in parts] == [(2, 8), (2, 8), (2, 3)]
    assert all(part.dtype == np.int32 for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), run(2))


def test_keys_and_parameters_are_arguments():
    """Another key, length or model of the same shapes is no new program."""
    traces = []

    def step(params, carry, tokens):
        traces.append(tokens)
        return models.take_step(Partial(models.run, MODEL.graph), params, carry, tokens)

    tokens, counts = [], []
    for model, length, key in [
        (MODEL, 16, KEY),
        (MODEL, 5, KEY),
        (MODEL, 40, jax.random.key(4)),
        (models.make(1), 16, KEY),
    ]:
        bound = Partial(step, model.params)
        tokens.append(run(2, step=bound, length=length, key=key))
        counts.append(len(traces))
    # The first call looks at the shapes and compiles, the others look at most.
    assert counts[0] > 1
    assert (np.diff(counts) <= 1).all()
    assert not np.array_equal(tokens[0], tokens[2][:, :16])
    assert not np.array_equal(tokens[0], tokens[3])
    np.testing.assert_array_equal(tokens[0][:, :5], tokens[1])


def test_nan_is_told():
    """The carry counts down to a step whose logits are broken: when it comes to that,
    since tokens are made as they are asked for."""

    def step(carry, tokens):
        broken = jnp.where(carry == 0, jnp.nan, 0.0)
        return carry - 1, jnp.broadcast_to(broken[:, None], (2, V))

    parts = generate(step, jnp.array([9, 3]), jnp.zeros((2, V)), KEY, 6, WARM, chunk=2)
    assert [next(parts).shape for _ in range(2)] == [(2, 2), (2, 2)]
    with pytest.raises(ValueError, match="sample 1 at step 4 hold NaN"):
        next(parts)
    for value in (jnp.inf, -jnp.inf):
        with pytest.raises(ValueError, match="sample 0 at step 0"):
            generate_all(step, jnp.ones(2), jnp.full((2, V), value), KEY, 1, COLD)


def test_arguments_that_do_not_fit():
    good = dict(step=MODEL.step, carry=CARRY, logits=LOGITS, key=KEY, length=2)
    one = jnp.zeros((1, 2))
    keys = jax.random.split(KEY, 2)
    for wrong, kind, message in [
        (dict(length=0), ValueError, "length is 0, expected an integer"),
        (dict(chunk=1.5), ValueError, "chunk is 1.5, expected an integer"),
        (dict(step=None), TypeError, "step is NoneType, expected a function"),
        (dict(logits=LOGITS[0]), ValueError, r"use logits\[None\]"),
        (dict(logits=LOGITS[:, :0]), ValueError, "neither of them 0"),
        (dict(logits=jnp.zeros((1, V), jnp.int32)), TypeError, "logits has dtype"),
        (dict(logits=LOGITS[:, :2]), ValueError, r"float32\[1, 3\], but those given"),
        (dict(carry={"h": jnp.zeros((2, 5))}), ValueError, r"carry\['h'\] has shape"),
        (dict(carry=jnp.float32(0)), ValueError, "carry has shape"),
        (dict(key=keys), ValueError, r"key is of shape \(2,\), expected one"),
        (dict(key=None), ValueError, "key is None, expected one"),
        (dict(key=0), TypeError, "key is int, expected a typed key"),
        (dict(step=lambda c, t: t), TypeError, r"expected \(carry, logits\)"),
        (dict(step=lambda c, t: (one, LOGITS)), ValueError, "step turns a carry"),
        (dict(step=lambda c, t: (c, t)), ValueError, r"logits of int32\[1\]"),
    ]:
        with pytest.raises(kind, match=message):
            generate(**{**good, "sampling": WARM, **wrong})


def test_spread():
    carry, _ = spread((CARRY, LOGITS), 3)
    jax.tree.map(
        lambda got, want: np.testing.assert_array_equal(got, np.tile(want, (3, 1))),
        carry,
        CARRY,
    )
    with pytest.raises(ValueError, match=r"tree\[0\] has shape \(2, 4\)"):
        spread([jnp.zeros((2, 4))], 3)
    with pytest.raises(ValueError, match="count is 0"):
        spread(CARRY, 0)
