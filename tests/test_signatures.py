"""An editor shows every argument of a public function, class or method."""

import dataclasses
import inspect
from typing import get_type_hints

import jax
import pytest
from flax import nnx

import lstm_jax
from lstm_jax import data, diagnostics, inference, interop, linen, nn, scores
from lstm_jax.data import baselines, labelled, panel, tokens
from lstm_jax.interop.weights.stack import stack_of
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.encoder import Encoder
from lstm_jax.models.language_model import LanguageModel, LanguageModelConfig
from lstm_jax.models.sequence_reader import SequenceReader
from lstm_jax.models.tagger import SequenceTagger
from lstm_jax.scores import forecast

MODULES = (
    lstm_jax,
    lstm_jax.init,
    data,
    baselines,
    labelled,
    panel,
    tokens,
    scores,
    forecast,
    diagnostics,
    inference,
    interop,
    linen,
    nn,
)
MODELS = (Encoder, LanguageModel, SequenceClassifier, SequenceReader, SequenceTagger)

NO_SIGNATURE = (Exception,)
"""Exceptions take a message, as every exception does."""


def public():
    """Everything that can be called, by its full name."""
    things = {f"models.{model.__name__}": model for model in MODELS}
    for module in MODULES:
        names = getattr(module, "__all__", None) or [*vars(module)]
        for name in names:
            thing = getattr(module, name)
            ours = str(getattr(thing, "__module__", "")).startswith("lstm_jax")
            if callable(thing) and ours and not name.startswith("_"):
                things[f"{module.__name__}.{name}"] = thing
    for name, thing in list(things.items()):
        if inspect.isclass(thing):
            things |= {f"{name}.{n}": method for n, method in own_methods(thing)}
    return things


def own_methods(cls):
    for name in dir(cls):
        if not name.startswith("_") or name in ("__init__", "__call__"):
            method = inspect.getattr_static(cls, name)
            method = getattr(method, "__func__", method)
            if inspect.isfunction(method) and method.__module__.startswith("lstm_jax"):
                yield name, method


PUBLIC = public()


def test_everything_public_is_looked_at():
    """Faults of the walk itself would hide faults of the functions."""
    for name in ("lstm", "Stack.init", "nn.LSTM.__call__", "interop.stack_of"):
        assert f"lstm_jax.{name}" in PUBLIC
    assert len(PUBLIC) > 200


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_is_written_out(name):
    thing = PUBLIC[name]
    if inspect.isclass(thing) and issubclass(thing, NO_SIGNATURE):
        return
    parameters = inspect.signature(thing).parameters.values()
    assert not [p.name for p in parameters if p.kind is p.VAR_KEYWORD], name


def test_a_class_of_a_user_has_its_own_arguments():
    class Mine(nn.LSTM):
        def __init__(self, size: int, *, rngs: nnx.Rngs):
            super().__init__(size, size, rngs=rngs)

    assert list(inspect.signature(Mine).parameters) == ["size", "rngs"]
    assert list(inspect.signature(nn.LSTM).parameters)[:2] == ["in_size", "hidden_size"]
    assert Mine(3, rngs=nnx.Rngs(0)).params[0].w_h.shape == (3, 12)


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match="'dropuot'"):
        nn.LSTM(3, 5, dropuot=0.5, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="'embed'"):
        LanguageModel(7, embed=3, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="'skipp'"):
        stack_of(lstm_jax.init_lstm_stack(jax.random.key(0), 3, 5), skipp="dense")


def defaults(thing, names):
    parameters = inspect.signature(thing).parameters
    return {name: parameters[name].default for name in names}


def test_what_is_written_twice_agrees():
    """Arguments with their defaults, of one thing under several names."""
    fields = {f.name: f.default for f in dataclasses.fields(LanguageModelConfig)}
    assert defaults(LanguageModel, fields) == fields
    stack = {f.name: f.default for f in dataclasses.fields(lstm_jax.Stack)}
    stack.pop("cells"), stack.pop("bidirectional"), stack.pop("stacked")
    for thing in (lstm_jax.lstm_stack, interop.stack_of, nn.LSTM, linen.LSTM):
        assert defaults(thing, stack) == stack, thing
    hints = get_type_hints(LanguageModel.__init__)
    assert hints.keys() - {"return"} == {*fields, "vocabulary_size", "rngs"}
