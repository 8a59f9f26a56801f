"""torch and onnxruntime, given our weights: what a CPU can do without JAX."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lstm_jax import LSTMParams
from lstm_jax.bench import timing
from lstm_jax.bench.machine import cores

Seconds = Mapping[str, float | None]
"""To compile, by mode; ``None`` where nothing is compiled."""


class OnTorch:
    """Calls of a torch module, on the GPU where JAX and torch both have it."""

    module: Any

    def __init__(self, xs: Any):
        import torch

        self.torch = torch
        gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        self.device = "cuda" if gpu else "cpu"
        if self.device == "cpu":
            torch.set_num_threads(cores())
        self.xs = torch.tensor(np.asarray(xs), device=self.device, requires_grad=True)

    def outputs(self, **options):
        return self.module(self.xs, **options)[0]

    def forward(self, **options):
        with self.torch.inference_mode():
            return self._wait(self.outputs(**options))

    def gradient(self, **options):
        loss = self.outputs(**options).square().sum()
        inputs = (*self.module.parameters(), self.xs)
        return self._wait(self.torch.autograd.grad(loss, inputs))

    def _wait(self, result):
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return result


def load(torch: Any, module: Any, weights: Iterable[LSTMParams]) -> Any:
    """An ``nn.LSTM`` with these weights, layer by layer, forwards and backwards.

    It has two biases, of which only the sum matters.
    """
    arrays = [a for w_x, w_h, b in weights for a in (w_x.T, w_h.T, b, np.zeros_like(b))]
    with torch.no_grad():
        for parameter, array in zip(module.parameters(), arrays, strict=True):
            parameter.copy_(torch.tensor(np.asarray(array)))
    return module


class Torch(OnTorch):
    """``torch.nn.LSTM``."""

    def __init__(self, params: LSTMParams, xs: Any):
        super().__init__(xs)
        module = self.torch.nn.LSTM(*(w.shape[0] for w in params[:2]))
        self.module = load(self.torch, module, [params]).to(self.device)
        self.compile_seconds: Seconds = dict(forward=None, gradient=None)

    def to_ours(self, grads):
        w_x, w_h, b, _, xs = (g.cpu().numpy() for g in grads)
        return LSTMParams(w_x.T, w_h.T, b), xs


class TorchCompiled(Torch):
    """The same under ``torch.compile``.

    As it stands that leaves ``nn.LSTM`` as it is: Dynamo traces it only if its
    experimental ``allow_rnn`` is set. Then every step is written out and compiled.
    """

    STEPS = 16
    """More of them are not worth the wait: 20 took 34 s to compile, and 60 took 68."""

    def __init__(self, params: LSTMParams, xs: Any):
        super().__init__(params, xs)
        if len(xs) > self.STEPS:
            raise NotImplementedError(
                f"not with {len(xs)} steps: torch.compile runs nn.LSTM as eager torch "
                f"does, or writes out every step, and then takes half a minute for 20; "
                f"measured up to {self.STEPS}"
            )
        self.torch._dynamo.config.allow_rnn = True
        self.module = self.torch.compile(self.module, fullgraph=True)
        modes = dict(forward=self.forward, gradient=self.gradient)
        try:
            seconds = {n: timing.seconds(call) for n, call in modes.items()}
        except Exception as error:  # no compiler, for one; they are of many kinds
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise NotImplementedError(f"torch.compile failed: {reason}") from error
        self.compile_seconds = seconds


class OnnxRuntime:
    """The operator ``LSTM`` of onnxruntime, which has no gradient."""

    device = "cpu"

    def __init__(self, params: LSTMParams, xs: Any):
        weights = onnx_weights([params])
        options = dict(hidden_size=params.w_h.shape[0])
        nodes = [("LSTM", ["X", *weights], ["Y"], options)]
        self.feeds = {"X": np.asarray(xs)}
        shape = (len(xs), 1, xs.shape[1], params.w_h.shape[0])
        self.session = onnx_session(nodes, weights, self.feeds, ("Y", shape))
        self.compile_seconds: Seconds = dict(forward=None)

    def forward(self):
        return self.session.run(None, self.feeds)[0][:, 0]


def onnx_weights(ways: Sequence[LSTMParams]) -> dict[str, np.ndarray]:
    """The weights of one operator, for one direction or two; gates i, o, f, c."""

    def array(a):
        i, f, g, o = np.split(np.asarray(a).T, 4)
        return np.concatenate([i, o, f, g])

    bias = lambda p: np.concatenate([array(p.b), np.zeros_like(p.b)])
    return dict(
        W=np.stack([array(p.w_x) for p in ways]),
        R=np.stack([array(p.w_h) for p in ways]),
        B=np.stack([bias(p) for p in ways]),
    )


def onnx_session(
    nodes: Sequence[tuple[str, list[str], list[str], dict[str, Any]]],
    arrays: Mapping[str, np.ndarray],
    feeds: Mapping[str, np.ndarray],
    output: tuple[str, tuple[int, ...]],
) -> Any:
    """A session that runs these ``(operator, inputs, outputs, attributes)``."""
    import onnxruntime
    from onnx import TensorProto, checker, helper, numpy_helper

    info = helper.make_tensor_value_info
    kind = lambda a: helper.np_dtype_to_tensor_dtype(a.dtype)
    graph = helper.make_graph(
        [helper.make_node(op, i, o, **attributes) for op, i, o, attributes in nodes],
        "lstm",
        [info(name, kind(a), a.shape) for name, a in feeds.items()],
        [info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


OTHERS = {
    "torch": Torch,
    "torch.compile": TorchCompiled,
    "onnxruntime": OnnxRuntime,
}
