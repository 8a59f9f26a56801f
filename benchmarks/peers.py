"""The LSTMs of other libraries, given our weights and called as their users would.

A peer is a function from `LSTMParams` to a `Peer`. It imports its library itself, and
an ImportError means that the peer is missing. All take time-major inputs ``[T, B, D]``,
the layout in which none has to transpose, and start from a zero state.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import LSTMParams, lstm

GATES = "ifgo"


class Peer(NamedTuple):
    """One library's LSTM.

    ``apply(params, xs)`` gives ``hs``; ``to_ours`` brings the library's parameters, and
    so the gradient with respect to them, into the layout of `LSTMParams`.
    """

    params: Any
    apply: Callable[[Any, Any], Any]
    to_ours: Callable[[Any], LSTMParams]


def ours(params: LSTMParams) -> Peer:
    return Peer(params, lambda p, xs: lstm(p, None, xs)[1], lambda grads: grads)


def ours_by_scan(params: LSTMParams) -> Peer:
    apply = lambda p, xs: lstm(p, None, xs, implementation="scan")[1]
    return Peer(params, apply, lambda grads: grads)


def linen_lstm(params: LSTMParams) -> Peer:
    from flax import linen

    return _linen(linen, linen.LSTMCell, params)


def linen_optimized(params: LSTMParams) -> Peer:
    from flax import linen

    return _linen(linen, linen.OptimizedLSTMCell, params)


def _linen(linen, cell, params):
    rnn = linen.RNN(cell(params.w_h.shape[0]), time_major=True)
    apply = lambda p, xs: rnn.apply({"params": {"cell": p}}, xs)
    return Peer(_by_gate(params), apply, _from_gates)


def nnx_lstm(params: LSTMParams) -> Peer:
    from flax import nnx

    # ``if`` is no name for an attribute.
    rename = lambda tree, old, new: {new if k == old else k: tree[k] for k in tree}
    return _nnx(
        nnx,
        nnx.LSTMCell,
        params,
        rename(_by_gate(params), "if", "if_"),
        lambda cell: _from_gates(rename(cell, "if_", "if")),
    )


def nnx_optimized(params: LSTMParams) -> Peer:
    from flax import nnx

    weights = {
        "dense_i": {"kernel": params.w_x},
        "dense_h": {"kernel": params.w_h, "bias": params.b},
    }
    to_ours = lambda cell: LSTMParams(
        cell["dense_i"]["kernel"], cell["dense_h"]["kernel"], cell["dense_h"]["bias"]
    )
    return _nnx(nnx, nnx.OptimizedLSTMCell, params, weights, to_ours)


def _nnx(nnx, cell, params, weights, to_ours):
    in_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]
    module = nnx.RNN(cell(in_size, hidden_size, rngs=nnx.Rngs(0)), time_major=True)
    graphdef, state, rest = nnx.split(module, nnx.Param, ...)
    nnx.replace_by_pure_dict(state, {"cell": weights})
    return Peer(
        state,
        lambda state, xs: nnx.merge(graphdef, state, rest, copy=True)(xs),
        lambda state: to_ours(nnx.to_pure_dict(state)["cell"]),
    )


def equinox(params: LSTMParams) -> Peer:
    import equinox as eqx

    in_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]
    cell = eqx.nn.LSTMCell(in_size, hidden_size, key=jax.random.key(0))
    leaves = lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias)
    cell = eqx.tree_at(leaves, cell, (params.w_x.T, params.w_h.T, params.b))

    def apply(cell, xs):
        def step(state, x):
            state = cell(x, state)
            return state, state[0]

        zeros = jnp.zeros(hidden_size)
        sequence = lambda xs: jax.lax.scan(step, (zeros, zeros), xs)[1]
        return jax.vmap(sequence, in_axes=1, out_axes=1)(xs)

    to_ours = lambda cell: LSTMParams(cell.weight_ih.T, cell.weight_hh.T, cell.bias)
    return Peer(cell, apply, to_ours)


def haiku(params: LSTMParams) -> Peer:
    import haiku as hk

    in_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]

    @hk.without_apply_rng
    @hk.transform
    def unroll(xs):
        core = hk.LSTM(hidden_size)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    # The gates are i, g, f, o, and 1 is added to the forget gate at run time.
    i, f, g, o = jnp.split(params.b, 4)
    linear = {
        "w": _swap_f_and_g(jnp.concatenate([params.w_x, params.w_h])),
        "b": jnp.concatenate([i, g, f - 1, o]),
    }

    def to_ours(tree):
        w = _swap_f_and_g(tree["lstm/linear"]["w"])
        b = _swap_f_and_g(tree["lstm/linear"]["b"])
        return LSTMParams(w[:in_size], w[in_size:], b)

    return Peer({"lstm/linear": linear}, unroll.apply, to_ours)


JAX_PEERS = {
    "linen LSTMCell": linen_lstm,
    "linen Optimized": linen_optimized,
    "nnx LSTMCell": nnx_lstm,
    "nnx Optimized": nnx_optimized,
    "equinox": equinox,
    "haiku": haiku,
}


class Torch:
    """``torch.nn.LSTM``, on the GPU where JAX and torch both have it."""

    def __init__(self, params: LSTMParams, xs: Any):
        import torch

        self.torch = torch
        gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        self.device = "cuda" if gpu else "cpu"
        if self.device == "cpu":
            torch.set_num_threads(os.cpu_count() or 1)
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
        options.intra_op_num_threads = os.cpu_count() or 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.feed = {"X": np.asarray(xs)}

    def forward(self):
        return self.session.run(None, self.feed)[0][:, 0]


def _by_gate(params):
    """Flax's four input and four recurrent kernels; the bias goes with the latter."""
    w_x, w_h, b = (jnp.split(leaf, 4, axis=-1) for leaf in params)
    inputs = {f"i{n}": {"kernel": w} for n, w in zip(GATES, w_x, strict=True)}
    hidden = {
        f"h{n}": {"kernel": w, "bias": bias}
        for n, w, bias in zip(GATES, w_h, b, strict=True)
    }
    return inputs | hidden


def _from_gates(tree):
    join = lambda side, leaf: jnp.concatenate([tree[side + n][leaf] for n in GATES], -1)
    return LSTMParams(join("i", "kernel"), join("h", "kernel"), join("h", "bias"))


def _swap_f_and_g(w):
    a, b, c, d = jnp.split(w, 4, axis=-1)
    return jnp.concatenate([a, c, b, d], axis=-1)
