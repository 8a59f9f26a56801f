"""Random modules of torch around recurrent layers, through both of its exporters.

As `onnx_graphs`: constructs of `CLEAR` must be read, all others may be refused.
"""

import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from tests.interop.onnx_graphs import SIZES, Case, D, H, InvalidGraph

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
CLEAR: dict[str, Callable[..., Any]] = {
    "nothing": lambda x: x,
    "dropout": nn.Dropout(0.5).eval(),
    "two transposes": lambda x: x.transpose(0, 2).transpose(0, 2),
    "features split and joined": lambda x: torch.cat(x.chunk(2, -1), -1),
    "a whole slice": lambda x: x[:, 0:],
    "double and back": lambda x: x.double().float(),
    "contiguous": lambda x: x.contiguous(),
}
OTHERS: dict[str, Callable[..., Any]] = {
    "the last steps": lambda x: x[-2:],
    "the first steps": lambda x: x[:3],
    "the first rows": lambda x: x[:, :2],
    "steps backwards": lambda x: x.flip(0),
    "features backwards": lambda x: x.flip(2),
    "relu": torch.relu,
    "twice": lambda x: x * 2,
    "a transpose": lambda x: x.transpose(0, 1),
    "rolled": lambda x: torch.cat([x[1:], x[:1]]),
    "some rows": lambda x: x[:, [1, 0]],
}
STATES = ("none", "learned", "repeated", "zeros", "given", "computed", "of the last")


class Model(nn.Module):
    """One or two recurrent modules of one or more layers each."""

    def __init__(self, kind, layers, bidirectional, batch_first, between, state):
        super().__init__()
        ways, options = 1 + bidirectional, {"bidirectional": bidirectional}
        self.first = KINDS[kind](D, H, layers, batch_first=batch_first, **options)
        self.then = None
        if between is not None:
            self.then = KINDS[kind](ways * H, H, batch_first=batch_first, **options)
        self.start = nn.Parameter(torch.rand(layers * ways, 1, H) - 0.5)
        self.between, self.state, self.batch_first = between, state, batch_first
        self.ways = ways

    def forward(self, x, h=None):
        rows = x.shape[0 if self.batch_first else 1]
        n = self.start.shape[0]
        match self.state:
            case "learned" | "of the last":
                h = self.start.expand(n, rows, H)
            case "repeated":
                h = self.start.repeat(1, rows, 1)
            case "zeros":
                h = torch.zeros(n, rows, H)
            case "computed":
                h = torch.tanh(x.sum()) + self.start.expand(n, rows, H)
        out, last = self.first(x, self._both(h))
        if self.then is None:
            return out
        out = self.between(out)
        if self.state == "of the last":
            last = last[0] if isinstance(last, tuple) else last
            return self.then(out, self._both(last[-self.ways :].contiguous()))[0]
        return self.then(out)[0]

    def _both(self, h):
        return (h, h) if isinstance(self.first, nn.LSTM) and h is not None else h


def torch_case(seed: int, dynamo: bool) -> Case:
    """A model of one or more layers, exported."""
    rng = np.random.default_rng(seed)
    one_of = lambda options: options[int(rng.integers(len(options)))]
    between = one_of([None, *CLEAR, *(OTHERS if rng.random() < 0.4 else ())])
    state = one_of(STATES if rng.random() < 0.6 else STATES[:1])
    kind, layers = one_of([*KINDS]), int(rng.integers(1, 3))
    bidirectional, batch_first, free = (bool(n) for n in rng.integers(0, 2, 3))
    options = (kind, layers, bidirectional, batch_first)
    function = {None: None, **CLEAR, **OTHERS}[between]
    model = Model(*options, function, state).eval()
    exported, free = export(model, dynamo, free)
    if between is None and state == "of the last":
        state = "learned"
    names = ["dynamo" if dynamo else "script", *map(str, options), f"free {free}"]
    clear = between not in OTHERS and state not in ("computed", "of the last")
    # Torch's default exporter writes plain networks out in operators.
    clear &= any(node.op_type == kind for node in exported.graph.node)
    # And the steps of its example into the Reshape behind a module, although they may
    # be any number: such a file mixes rows and steps at all others.
    clear &= not (dynamo and free and between is not None)
    inputs = {}
    axes = ("B", "T", D) if batch_first else ("T", "B", D)
    for value in exported.graph.input:
        shape = axes if not inputs else (layers * (1 + bidirectional), "B", H)
        inputs[value.name] = (np.float32, shape)
    sizes = SIZES if free else SIZES[:1]
    return Case(exported, sizes, inputs, (*names, str(between), state), clear)


def export(model: Any, dynamo: bool, free: bool) -> tuple[onnx.ModelProto, bool]:
    """The model as ONNX, and whether it is for any number of steps and rows."""
    T, B = SIZES[0]
    x = torch.zeros((B, T, D) if model.batch_first else (T, B, D))
    args = (x, torch.zeros(len(model.start), B, H)) if model.state == "given" else (x,)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            model(*args)
            if dynamo:
                return _by_dynamo(model, args, free)
            file, names = io.BytesIO(), ["x", "h"][: len(args)]
            axes: Any = {"x": {0: "a", 1: "b"}, "h": {1: "rows"}} if free else None
            options = dict(input_names=names, dynamic_axes=axes, opset_version=17)
            torch.onnx.export(model, args, file, dynamo=False, **options)
            return onnx.load_from_string(file.getvalue()), free
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            raise InvalidGraph from error
        finally:
            logging.disable(logging.NOTSET)


def _by_dynamo(model, args, free):
    """Torch cannot export all modules for any number of rows; then for one."""
    any_size = torch.export.Dim.DYNAMIC
    shapes: Any = ({0: any_size, 1: any_size}, {1: any_size})[: len(args)]
    if free:
        try:
            options = dict(dynamo=True, verbose=False, dynamic_shapes=shapes)
            return torch.onnx.export(model, args, **options).model_proto, True
        except torch.onnx.OnnxExporterError:
            pass
    program: Any = torch.onnx.export(model, args, dynamo=True, verbose=False)
    return program.model_proto, False
