"""Every public name is documented."""

import inspect

import pytest

import lstm_jax
from lstm_jax import audio, data, diagnostics, inference, interop, linen, nn, scores
from lstm_jax.data import baselines, labelled, panel, parallel, sounds
from lstm_jax.scores import forecast

MODULES = (
    lstm_jax,
    audio,
    data,
    baselines,
    labelled,
    panel,
    parallel,
    sounds,
    scores,
    forecast,
    diagnostics,
    inference,
    interop,
    linen,
    nn,
)
NAMES = [(m, name) for m in MODULES for name in m.__all__]


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=[f"{m.__name__}.{n}" for m, n in NAMES]
)
def test_is_documented(module, name):
    thing = getattr(module, name)
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        methods = inspect.getmembers(thing, inspect.isfunction)
        own = [m for n, m in methods if n in vars(thing) and not n.startswith("_")]
        assert all(inspect.getdoc(m) for m in own), name
