"""What is read of an ONNX file computes what onnxruntime computes, or is refused."""

import pytest

from tests.interop import onnx_graphs, onnx_runs
from tests.interop.onnx_graphs import CONSTRUCTS, OTHERS, case_with, random_case
from tests.interop.programs import BOUND


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_every_construct(construct):
    """It is followed exactly if it is harmless, and otherwise refused."""
    case = case_with(construct)
    outcome = onnx_runs.compare(case)
    assert construct in case.constructs
    if construct in OTHERS:
        assert isinstance(outcome.stack, str), "it is read"
        assert outcome.worst <= BOUND
    else:
        assert isinstance(outcome.stack, float), outcome.stack
        assert outcome.stack <= BOUND


@pytest.mark.parametrize("opset", [8, 10, 12, 14, 24])
@pytest.mark.parametrize("construct", ["a Slice to its size", "Dropout", "a sum"])
def test_the_same_in_other_opsets(construct, opset):
    if opset < onnx_graphs.NEEDS.get(construct, 7):
        opset = onnx_graphs.NEEDS[construct]
    outcome = onnx_runs.compare(case_with(construct, opset))
    assert isinstance(outcome.stack, float), outcome.stack
    assert outcome.stack <= BOUND


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_graphs(first):
    """Ten at a time; `benchmarks.onnx_differential` has a thousand."""
    ran = 0
    for seed in range(first, first + 10):
        case = random_case(seed)
        try:
            outcome = onnx_runs.compare(case, seed)
        except onnx_graphs.InvalidGraph:
            continue
        ran += 1
        assert outcome.worst <= BOUND, case.constructs
        assert outcome.layers is not outcome.stack or not case.clear, outcome.layers
    assert ran > 5
