"""Models of torch through both of its exporters, against onnxruntime."""

import numpy as np
import pytest
import torch

from lstm_jax.interop import from_onnx, from_torch, stack_from_onnx
from tests.interop.onnx_graphs import SIZES, Case, D, H
from tests.interop.onnx_runs import compare
from tests.interop.onnx_torch import CLEAR, OTHERS, Model, export
from tests.interop.programs import BOUND

MODELS = {
    "LSTM": ("LSTM", 2, False, False, None, "none"),
    "bidirectional, batch first": ("LSTM", 2, True, True, None, "none"),
    "GRU": ("GRU", 2, True, False, None, "none"),
    "a learned state": ("LSTM", 1, False, False, None, "learned"),
    "a learned state, two modules": ("GRU", 1, True, False, "dropout", "repeated"),
    "states as inputs": ("LSTM", 2, False, False, None, "given"),
}


def exported(options, dynamo, free):
    torch.manual_seed(0)
    *sizes, between, state = options
    functions = {None: None, **CLEAR, **OTHERS}
    model = Model(*sizes, functions[between], state).eval()
    file, free = export(model, dynamo, free)
    axes = ("B", "T", D) if model.batch_first else ("T", "B", D)
    shapes = [axes, (len(model.start), "B", H)]
    inputs = {
        value.name: (np.float32, shape)
        for value, shape in zip(file.graph.input, shapes, strict=False)
    }
    return model, Case(file, SIZES if free else SIZES[:1], inputs, (), True)


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("name", MODELS)
def test_both_exporters(name, dynamo):
    model, case = exported(MODELS[name], dynamo, free=name == "GRU" or not dynamo)
    outcome = compare(case)
    assert isinstance(outcome.stack, float), outcome.stack
    assert outcome.stack <= BOUND
    layers = from_onnx(case.model.SerializeToString())
    first = from_torch(model.first)[0]
    *_, params = stack_from_onnx(layers, states=True)[:2]
    for got, want in zip(params[0], first, strict=True):
        if not isinstance(got, tuple):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("between", ["the last steps", "some rows"])
def test_crops_are_not_the_identity(between, dynamo):
    options = ("LSTM", 1, False, False, between, "none")
    _, case = exported(options, dynamo, free=not dynamo)
    outcome = compare(case)
    assert "does not read the outputs" in outcome.stack
    assert outcome.worst <= BOUND
