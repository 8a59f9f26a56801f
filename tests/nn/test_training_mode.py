"""Nothing is dropped in evaluation, and no call trains without by accident."""

import jax
import numpy as np
import pytest
from flax import linen as fl
from flax import nnx

import lstm_jax
from lstm_jax import (
    CandidateDropout,
    LSTMCell,
    RecurrentDropout,
    Stack,
    Zoneout,
    linen,
    nn,
)

B, T, D, H = 2, 5, 3, 4
XS = jax.random.normal(jax.random.key(1), (B, T, D))
KEY, OLD = jax.random.key(2), jax.random.PRNGKey(2)
RANDOM = {
    "dropout=0.5": Stack([LSTMCell(H)] * 2, dropout=0.5),
    "input_dropout=0.5": Stack([LSTMCell(H)], input_dropout=0.5),
    "output_dropout=0.5": Stack([LSTMCell(H)], output_dropout=0.5, locked=True),
    "weight_drop=0.5": Stack([LSTMCell(H)], weight_drop=0.5, bidirectional=True),
    "Zoneout": Stack([LSTMCell(H), Zoneout(LSTMCell(H), c=0.5)]),
    "RecurrentDropout": Stack([RecurrentDropout(LSTMCell(H), 0.5)]),
    "CandidateDropout": Stack([CandidateDropout(LSTMCell(H), 0.5)]),
}
NO_KEY = "a call in training has no key for {}; pass .*deterministic=True"


def module(name, **options):
    return nn.Recurrent(RANDOM[name], D, rngs=nnx.Rngs(0), **options)


def in_linen(name, **options):
    model = linen.Recurrent(stack=RANDOM[name], **options)
    variables = model.init(jax.random.key(0), XS)
    return lambda *args, **call: model.apply(variables, XS, *args, **call)


def equal(a, b):
    return bool((a == b).all())


@pytest.mark.parametrize("name", RANDOM)
def test_nnx_follows_its_own_dropout(name):
    model, no_key = module(name), NO_KEY.format(name)
    still = model(XS, deterministic=True)
    drawn = model(XS, key=KEY)
    assert not equal(drawn, still)
    stream = jax.random.key_data(nnx.Rngs(dropout=5).dropout())
    for rngs in (nnx.Rngs(dropout=5), nnx.Rngs(dropout=5).dropout, stream):
        other = model(XS, rngs=rngs)
        assert equal(other, model(XS, key=jax.random.wrap_key_data(stream)))
    for mode in (lambda: None, model.train):
        mode()
        with pytest.raises(ValueError, match=no_key):
            model(XS)
        assert equal(model(XS, key=KEY), drawn)
    model.eval()
    assert equal(model(XS), still)
    assert equal(model(XS, key=KEY), still)
    assert equal(model(XS, key=KEY, deterministic=False), drawn)
    with pytest.raises(ValueError, match=no_key):
        model(XS, deterministic=False)
    assert equal(nnx.view(model, deterministic=False)(XS, key=KEY), drawn)
    assert equal(module(name, deterministic=True)(XS), still)


@pytest.mark.parametrize("name", RANDOM)
def test_linen_follows_its_own_dropout(name):
    apply, no_key = in_linen(name), NO_KEY.format(name)
    still = apply(deterministic=True)
    drawn = apply(rngs={"dropout": KEY})
    assert not equal(drawn, still)
    assert equal(apply(rngs={"dropout": OLD}), drawn)
    assert equal(apply(key=OLD), apply(key=KEY))
    for mode in ({}, {"deterministic": False}):
        with pytest.raises(ValueError, match=no_key):
            apply(**mode)
        assert equal(apply(rngs={"dropout": KEY}, **mode), drawn)
    assert equal(apply(rngs={"dropout": KEY}, deterministic=True), still)
    still_too = in_linen(name, deterministic=True)
    assert equal(still_too(), still)
    assert equal(still_too(rngs={"dropout": KEY}, deterministic=False), drawn)
    with pytest.raises(ValueError, match=no_key):
        in_linen(name, deterministic=False)


def test_nothing_random_needs_no_key():
    off = [wrap(LSTMCell(H)) for wrap in (Zoneout, RecurrentDropout, CandidateDropout)]
    for cell in (LSTMCell(H), *off):
        stack = Stack([cell] * 2)
        assert not stack.is_random
        model = nn.Recurrent(stack, D, keep_rngs=True, rngs=nnx.Rngs(0))
        model.train()
        assert equal(model(XS), model(XS, key=KEY))
        assert model.rngs is None


def test_without_kept_rngs_there_are_parameters_alone():
    """So that plain ``jax.jit`` and ``jax.grad`` go over ``nnx.split``."""
    graph, state = nnx.split(module("dropout=0.5"))
    loss = lambda state, key: nnx.merge(graph, state)(XS, key=key).sum()
    d = jax.jit(jax.grad(loss))(state, KEY)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(d))


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "tree"])
def test_kept_rngs_move_on_in_every_transform(graph):
    model = module("dropout=0.5", keep_rngs=True)
    assert set(nnx.state(model, nnx.Not(nnx.Param))) == {"rngs"}
    run = nnx.jit(lambda model: model(XS), graph=graph)
    loss = lambda model: model(XS).sum()
    seen = [model(XS), run(model), run(model)]
    if graph:  # Trees have no way to tell what Flax is to differentiate by.
        nnx.grad(loss)(model)
    seen.append(run(model))
    assert int(model.rngs.count[...]) == 4 + graph
    assert len({float(hs.sum()) for hs in seen}) == 4
    model.eval()
    assert equal(run(model), model(XS, deterministic=True))
    assert int(model.rngs.count[...]) == 4 + graph


def test_rngs_of_a_call_under_jit_and_grad():
    model, rngs = module("dropout=0.5"), nnx.Rngs(dropout=3)

    @nnx.jit
    def step(model, rngs):
        return nnx.value_and_grad(lambda model, rngs: model(XS, rngs=rngs).sum())(
            model, rngs
        )

    losses = {float(step(model, rngs)[0]) for _ in range(3)}
    assert len(losses) == 3
    assert int(rngs.dropout.count[...]) == 3


def test_ensembles_and_layers_of_modules_have_masks_of_their_own():
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        stack = Stack([LSTMCell(D)], input_dropout=0.5)
        return nn.Recurrent(stack, D, keep_rngs=True, rngs=rngs)

    model = make(nnx.Rngs(0))
    run = nnx.vmap(lambda model, xs: model(xs), in_axes=(0, None))
    hs = run(model, XS)
    assert hs.shape == (3, B, T, D)
    assert len({float(one.sum()) for one in hs}) == 3
    through = nnx.scan(
        lambda xs, model: model(xs), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
    )
    assert not equal(through(XS, model), through(XS, model))
    model.eval()
    want = XS
    for n in range(3):
        want = jax.tree.map(lambda a, n=n: a[n], model)(want)
    np.testing.assert_allclose(through(XS, model), want, atol=1e-6)


def test_inside_other_modules():
    """``train`` and ``eval`` of what holds a module reach it, as they reach Dropout."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.lstm = nn.LSTM(D, H, output_dropout=0.5, keep_rngs=True, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, xs):
            return self.dropout(self.lstm(xs))

    net = Net(nnx.Rngs(0))
    assert not equal(net(XS), net(XS))
    net.eval()
    assert equal(net(XS), net(XS))

    class LinenNet(fl.Module):
        @fl.compact
        def __call__(self, xs, train):
            hs = linen.LSTM(hidden_size=H, output_dropout=0.5)(
                xs, deterministic=not train
            )
            return fl.Dropout(0.5, deterministic=not train)(hs)

    model = LinenNet()
    variables = model.init(OLD, XS, train=False)
    still = model.apply(variables, XS, train=False)
    assert not equal(
        model.apply(variables, XS, train=True, rngs={"dropout": OLD}), still
    )


def test_two_sources_of_keys_and_none():
    model = module("dropout=0.5")
    with pytest.raises(ValueError, match="key and rngs are both given"):
        model(XS, key=KEY, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="rngs is int, expected"):
        model(XS, rngs=0)
    with pytest.raises(
        TypeError, match="deterministic is 'no', expected True or False"
    ):
        model(XS, deterministic="no")


def test_dropout_between_layers_needs_two():
    message = "dropout is 0.9 but there is one layer.*set input_dropout or output_drop"
    params = lstm_jax.init_lstm_stack(KEY, D, H)
    for make in (
        lambda: nn.LSTM(D, H, dropout=0.9, rngs=nnx.Rngs(0)),
        lambda: linen.LSTM(hidden_size=H, dropout=0.9).init(KEY, XS),
        lambda: Stack([LSTMCell(H)], dropout=0.9),
        lambda: lstm_jax.lstm_stack(params, None, XS, dropout=0.9, key=KEY),
    ):
        with pytest.raises(ValueError, match=message):
            make()
