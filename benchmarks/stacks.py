"""Stacks of LSTM layers in four libraries, with the same weights, on the same inputs.

Each library is a class that takes `Case`, parameters
``{(layer, direction): LSTMParams}``, inputs ``[T, B, D]`` and lengths ``[B]``. It has
two calls. ``forward`` returns outputs ``[T, B, directions * H]``, zero after the end of
a row. ``gradient`` returns the gradient of the sum of their squares by all parameters
and inputs. ``to_ours`` converts it to our layout.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import Bidirectional, LSTMParams, lstm_stack
from lstm_jax.bench import others, timing

MODES = ("forward", "gradient")
Weights = dict[tuple[int, int], LSTMParams]


class Case(NamedTuple):
    """Static facts of what is measured."""

    shape: tuple[int, int, int, int]
    """``B, T, D, H``."""
    layers: int = 1
    ways: int = 1
    ragged: bool = False
    """Rows end at lengths spread over ``1 .. T``; full length is timed beside it."""


class Jax:
    """What stacks in JAX share: compiled calls, for ragged rows and for full ones."""

    device = None

    def __init__(self, case: Case, weights: Weights, xs: Any, lengths: Any):
        self.case = case
        params, calls = self.prepare(weights), {}
        ways = {"": lengths if case.ragged else None}
        ways |= {" full": None} if case.ragged else {}
        self.compile_seconds = {}
        for suffix, given in ways.items():
            run = functools.partial(self.run, lengths=given)
            loss = lambda p, xs, run=run: jnp.sum(jnp.square(run(p, xs)))
            for mode, f in zip(
                MODES, (run, jax.grad(loss, argnums=(0, 1))), strict=True
            ):
                f, seconds = timing.compile_ahead(f, params, xs)
                self.compile_seconds[mode + suffix] = seconds
                call = functools.partial(f, params, xs)
                calls[mode + suffix] = lambda c=call: jax.block_until_ready(c())
        self.calls = calls
        self.device = jax.default_backend()


class Ours(Jax):
    """`lstm_jax.lstm_stack` in the implementation that it chooses."""

    implementation: ClassVar[str | None] = None

    def prepare(self, weights):
        case = self.case
        layer = lambda n: [weights[n, way] for way in range(case.ways)]
        entries = map(layer, range(case.layers))
        return tuple(Bidirectional(*e) if case.ways == 2 else e[0] for e in entries)

    def run(self, params, xs, lengths):
        options = dict(lengths=lengths, implementation=self.implementation)
        return lstm_stack(params, None, xs, **options)[1]

    def to_ours(self, grads):
        params, xs = grads
        entries = (e if self.case.ways == 2 else (e,) for e in params)
        named = {(n, w): p for n, e in enumerate(entries) for w, p in enumerate(e)}
        return named, xs


class OursByScan(Ours):
    """The same by ``"scan"``."""

    implementation = "scan"


class Nnx(Jax):
    """``nnx.RNN`` and ``nnx.Bidirectional`` around ``OptimizedLSTMCell``.

    Its outputs after the end of a row are not zero; they are masked here.
    """

    def prepare(self, weights):
        from flax import nnx

        self.nnx, self.graphs, states = nnx, [], []
        for n in range(self.case.layers):
            graph, state, rest = nnx.split(self._layer(weights, n), nnx.Param, ...)
            ways = [_cell(weights[n, way]) for way in range(self.case.ways)]
            names = ("forward_rnn", "backward_rnn")
            tree = dict(zip(names, ways, strict=False)) if len(ways) == 2 else ways[0]
            nnx.replace_by_pure_dict(state, tree)
            self.graphs.append((graph, rest))
            states.append(state)
        return states

    def _layer(self, weights, n):
        nnx = self.nnx
        sizes = [w.shape[0] for w in weights[n, 0][:2]]
        cells = (nnx.OptimizedLSTMCell(*sizes, rngs=nnx.Rngs(0)) for _ in "fb")
        forward, backward = (nnx.RNN(cell, time_major=True) for cell in cells)
        if self.case.ways == 1:
            return forward
        return nnx.Bidirectional(forward, backward, time_major=True)

    def run(self, states, xs, lengths):
        for (graph, rest), state in zip(self.graphs, states, strict=True):
            layer = self.nnx.merge(graph, state, rest, copy=True)
            xs = layer(xs) if lengths is None else layer(xs, seq_lengths=lengths)
        if lengths is None:
            return xs
        valid = jnp.arange(len(xs))[:, None] < lengths
        return jnp.where(valid[..., None], xs, 0)

    def to_ours(self, grads):
        states, xs = grads
        named = {}
        for n, state in enumerate(states):
            tree = self.nnx.to_pure_dict(state)
            two = [tree.get("forward_rnn"), tree.get("backward_rnn")]
            for way, cell in enumerate(two if self.case.ways == 2 else [tree]):
                i, h = cell["cell"]["dense_i"], cell["cell"]["dense_h"]
                named[n, way] = LSTMParams(i["kernel"], h["kernel"], h["bias"])
        return named, xs


def _cell(params):
    inputs = {"kernel": params.w_x}
    return {
        "cell": {"dense_i": inputs, "dense_h": {"kernel": params.w_h, "bias": params.b}}
    }


class Torch(others.OnTorch):
    """``nn.LSTM``, of ragged rows by ``pack_padded_sequence``."""

    def __init__(self, case: Case, weights: Weights, xs: Any, lengths: Any):
        super().__init__(xs)
        self.case, self.lengths = case, self.torch.tensor(np.asarray(lengths))
        _, _, D, H = case.shape
        module = self.torch.nn.LSTM(
            D, H, num_layers=case.layers, bidirectional=case.ways == 2
        )
        self.module = others.load(self.torch, module, weights.values()).to(self.device)
        self.calls = dict(forward=self.forward, gradient=self.gradient)
        if case.ragged:
            full = functools.partial
            self.calls["forward full"] = full(self.forward, full=True)
            self.calls["gradient full"] = full(self.gradient, full=True)
        self.compile_seconds = dict.fromkeys(self.calls)

    def outputs(self, full=False):
        if full or not self.case.ragged:
            return self.module(self.xs)[0]
        rnn = self.torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(self.xs, self.lengths, enforce_sorted=False)
        T = self.xs.shape[0]
        return rnn.pad_packed_sequence(self.module(packed)[0], total_length=T)[0]

    def to_ours(self, grads):
        *by, xs = (g.cpu().numpy() for g in grads)
        keys = [(n, w) for n in range(self.case.layers) for w in range(self.case.ways)]
        params = (by[k : k + 3] for k in range(0, len(by), 4))
        return {
            key: LSTMParams(w_x.T, w_h.T, b)
            for key, (w_x, w_h, b) in zip(keys, params, strict=True)
        }, xs


class OnnxRuntime:
    """The operator ``LSTM``, of ragged rows with ``sequence_lens``; no gradient."""

    device = "cpu"

    def __init__(self, case: Case, weights: Weights, xs: Any, lengths: Any):
        B, T, _, H = case.shape
        nodes, arrays, name = [], {}, "X"
        for n in range(case.layers):
            ways = [weights[n, way] for way in range(case.ways)]
            names = {key: f"{key}{n}" for key in ("W", "R", "B")}
            found = others.onnx_weights(ways)
            arrays |= {names[key]: array for key, array in found.items()}
            inputs = [name, *names.values(), *(["lengths"] if case.ragged else [])]
            direction = "bidirectional" if case.ways == 2 else "forward"
            options = dict(hidden_size=H, direction=direction)
            nodes.append(("LSTM", inputs, [f"Y{n}"], options))
            # [T, ways, B, H] to [T, B, ways * H]
            nodes.append(("Transpose", [f"Y{n}"], [f"t{n}"], dict(perm=(0, 2, 1, 3))))
            name = f"h{n}"
            nodes.append(("Reshape", [f"t{n}", "shape"], [name], {}))
        arrays["shape"] = np.array([T, B, case.ways * H])
        feeds = {"X": np.asarray(xs)}
        if case.ragged:
            feeds["lengths"] = np.asarray(lengths, np.int32)
        output = (name, (T, B, case.ways * H))
        session = others.onnx_session(nodes, arrays, feeds, output)
        run = lambda feeds: session.run(None, feeds)[0]
        self.calls = {"forward": lambda: run(feeds)}
        if case.ragged:
            full = feeds | {"lengths": np.full(B, T, np.int32)}
            self.calls["forward full"] = lambda: run(full)
        self.compile_seconds: Mapping[str, None] = dict.fromkeys(self.calls)


STACKS = {
    "lstm_jax": Ours,
    "lstm_jax scan": OursByScan,
    "nnx Optimized": Nnx,
    "torch": Torch,
    "onnxruntime": OnnxRuntime,
}
