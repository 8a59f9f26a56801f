"""torch and onnxruntime, given our weights: what a CPU can do without JAX."""

from typing import Any

import jax
import numpy as np

from lstm_jax import LSTMParams
from lstm_jax.bench.machine import cores


class Torch:
    """``torch.nn.LSTM``, on the GPU where JAX and torch both have it."""

    def __init__(self, params: LSTMParams, xs: Any):
        import torch

        self.torch = torch
        gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        self.device = "cuda" if gpu else "cpu"
        if self.device == "cpu":
            torch.set_num_threads(cores())
        module = torch.nn.LSTM(*(w.shape[0] for w in params[:2])).to(self.device)
        # It has two biases, of which only the sum matters.
        weights = (params.w_x.T, params.w_h.T, params.b, np.zeros_like(params.b))
        with torch.no_grad():
            for parameter, weight in zip(module.parameters(), weights, strict=True):
                parameter.copy_(torch.tensor(np.asarray(weight)))
        self.module = module
        self.xs = torch.tensor(np.asarray(xs), device=self.device, requires_grad=True)

    def forward(self):
        with self.torch.inference_mode():
            return self._wait(self.module(self.xs)[0])

    def gradient(self):
        loss = self.module(self.xs)[0].square().sum()
        inputs = (*self.module.parameters(), self.xs)
        return self._wait(self.torch.autograd.grad(loss, inputs))

    def to_ours(self, grads):
        w_x, w_h, b, _, xs = (g.cpu().numpy() for g in grads)
        return LSTMParams(w_x.T, w_h.T, b), xs

    def _wait(self, result):
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return result


class OnnxRuntime:
    """The operator ``LSTM`` of onnxruntime, which has no gradient."""

    device = "cpu"

    def __init__(self, params: LSTMParams, xs: Any):
        import onnxruntime
        from onnx import TensorProto, checker, helper, numpy_helper

        T, B, D = xs.shape
        H = params.w_h.shape[0]

        def array(a):  # its gates are i, o, f, c
            i, f, g, o = np.split(np.asarray(a).T, 4)
            return np.concatenate([i, o, f, g])[None]

        bias = array(params.b[None]).reshape(1, 4 * H)
        weights = dict(
            W=array(params.w_x),
            R=array(params.w_h),
            B=np.concatenate([bias, np.zeros_like(bias)], axis=1),
        )
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("LSTM", ["X", *weights], ["Y"], hidden_size=H)],
            "lstm",
            [info("X", TensorProto.FLOAT, (T, B, D))],
            [info("Y", TensorProto.FLOAT, (T, 1, B, H))],
            [numpy_helper.from_array(w, name) for name, w in weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
        )
        checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.feed = {"X": np.asarray(xs)}

    def forward(self):
        return self.session.run(None, self.feed)[0][:, 0]


OTHERS = {"torch": Torch, "onnxruntime": OnnxRuntime}
