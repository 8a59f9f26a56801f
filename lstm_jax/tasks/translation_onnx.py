"""The nodes of a translator in ONNX: an ``LSTM`` node per layer, standard operators.

The decoder computes K rows of a sentence together, ``[B, K, ...]``, so that they read
one memory. Inputs and outputs are those of `lstm_jax.tasks.translation_export`.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from lstm_jax.core.cells.lstm import LSTMParams
from lstm_jax.interop.onnx.arrays import to_onnx_arrays
from lstm_jax.interop.onnx.graph import Graph
from lstm_jax.models.translation.attention import PADDING
from lstm_jax.models.translation.translator import Translator

INT64 = 7
"""``TensorProto.INT64``."""


def write_encoder(graph: Graph, model: Translator, batch_first: bool) -> None:
    """Adds the encoder, the bridge and the keys."""
    config, size = model.config, model.config.hidden_size
    tokens = "tokens"
    if batch_first:
        tokens = graph.add("Transpose", [tokens], perm=[1, 0])
    real = _real(graph, tokens)
    tokens = graph.add(
        "Where", [real, tokens, graph.weight("zero", np.array(0, np.int32))]
    )
    embed = model.target_embed if config.tied == "both" else model.source_embed
    x = graph.add("Gather", [_weight(graph, "embedding", embed.embedding), tokens])
    bridges = zip(model.bridge_h, model.bridge_c, strict=True)
    for n, (params, (of_h, of_c)) in enumerate(
        zip(model.encoder.params, bridges, strict=True)
    ):
        Y, h, c = _lstm(graph, f"encoder{n}", params, x, "lengths", ())
        x = graph.add("Transpose", [Y], perm=[0, 2, 1, 3])
        x = graph.add("Reshape", [x, graph.axes(0, 0, size)])
        made = _bridge(graph, f"bridge{n}_h", of_h, h, size)
        graph.add("Tanh", [made], [f"layer{n}_h"])
        _bridge(graph, f"bridge{n}_c", of_c, c, size, [f"layer{n}_c"])
    graph.add("Transpose", [x], ["values"], perm=[1, 0, 2])
    w_k = model.decoder.params.attention.w_k
    if w_k is not None:
        graph.add("MatMul", ["values", _weight(graph, "w_k", w_k)], ["keys"])
    scores = [
        _weight(graph, name, n) for name, n in (("real", 0), ("padding", PADDING))
    ]
    graph.add("Where", [graph.add("Transpose", [real], perm=[1, 0]), *scores], ["bias"])
    last = f"layer{config.num_layers - 1}_h"
    zeros = {"fed": last} if config.input_feeding else {}
    zeros |= {"coverage": "bias"} if config.coverage else {}
    for name, like in zeros.items():
        graph.add("ConstantOfShape", [graph.add("Shape", [like])], [name])


def _real(graph, tokens):
    """Whether a position is before the end of its sentence, ``[S, B]``."""
    number = lambda n: graph.weight(f"number_{n}", np.array(n, np.int64))
    zero = number(0)
    steps = graph.add("Gather", [graph.add("Shape", [tokens]), zero])
    positions = graph.add("Range", [zero, steps, number(1)])
    positions = graph.add("Unsqueeze", [positions, graph.axes(1)])
    return graph.add("Less", [positions, graph.add("Cast", ["lengths"], to=INT64)])


def _bridge(graph, name, linear, state, size, outputs=()):
    """A linear layer of both directions of a state, ``[2, B, H/2]`` to ``[B, H]``."""
    joined = graph.add("Transpose", [state], perm=[1, 0, 2])
    joined = graph.add("Reshape", [joined, graph.axes(0, size)])
    return _linear(graph, name, joined, linear.kernel, linear.bias, outputs)


def write_decoder(graph: Graph, model: Translator) -> None:
    """Adds one step of the decoder, and the output layer."""
    config, params = model.config, model.decoder.params
    table = _weight(graph, "embedding", model.target_embed.embedding)
    x = graph.add("Gather", [table, "tokens"])
    if config.input_feeding:
        x = graph.add("Concat", [x, "fed"], axis=-1)
    below = graph.add("Unsqueeze", [x, graph.axes(0)])
    for n, layer in enumerate(_layers(config, params)):
        names = [f"layer{n}_{field}" for field in "hc"]
        state = [graph.add("Unsqueeze", [name, graph.axes(0)]) for name in names]
        _, below, c = _lstm(graph, f"decoder{n}", layer, below, "", state)
        for name, new in zip(names, (below, c), strict=True):
            graph.add("Squeeze", [new, graph.axes(0)], [f"{name}_out"])
    h = f"layer{config.num_layers - 1}_h_out"
    context = _attention(graph, config, params.attention, h)
    x = graph.add("Concat", [context, h], axis=-1)
    x = _linear(graph, "combine", x, params.w_c, params.b_c)
    s = graph.add("Tanh", [x], ["fed_out"] if config.input_feeding else ())
    if config.tied == "none":
        _linear(graph, "head", s, *model.head_weights, ["logits"])
        return
    bias = _weight(graph, "head_b", model.bias)
    graph.add("Gemm", [s, table, bias], ["logits"], transB=1)


def _layers(config, params):
    """The layers of the decoder as LSTMs: the first reads ``[x, s]``."""
    size = config.hidden_size
    for n, (w, b) in enumerate(zip(params.w, params.b, strict=True)):
        reads = [params.w_x, w[:-size]] if n == 0 else [w[:-size]]
        yield LSTMParams(jnp.concatenate(reads), w[-size:], b)


def _attention(graph, config, weights, h):
    """The context ``[R, H]``; writes the attention, and the coverage."""
    shape = graph.add("Shape", ["bias"])
    sentences = graph.add("Gather", [shape, graph.axes(0)])
    positions = graph.add("Gather", [shape, graph.axes(1)])
    size, heads = config.hidden_size, config.heads
    if heads == 1:
        score = _additive if config.attention == "additive" else _product
        e = score(graph, config, weights, h, sentences, positions)
        bias = graph.add("Unsqueeze", ["bias", graph.axes(1)])
        values = "values"
    else:
        e = _heads(graph, config, h, sentences)
        bias = graph.add("Unsqueeze", ["bias", graph.axes(1, 2)])
        values = _cut(graph, "values", config, [0, 2, 1, 3])
    e = graph.add("Add", [e, bias])
    a = graph.add("Softmax", [e], axis=-1)
    context = graph.add("MatMul", [a, values])
    if heads > 1:  # [B, heads, K, ...] to [B, K, heads, ...]
        a = graph.add("Transpose", [a], perm=[0, 2, 1, 3])
        context = graph.add("Transpose", [context], perm=[0, 2, 1, 3])
    rows = graph.add("Concat", [graph.axes(-1, heads), positions], axis=0)
    graph.add("Reshape", [a, rows], ["attention"])
    if config.coverage:
        a = graph.add("Squeeze", ["attention", graph.axes(1)])
        graph.add("Add", ["coverage", a], ["coverage_out"])
    return graph.add("Reshape", [context, graph.axes(-1, size)])


def _product(graph, config, weights, h, sentences, positions):
    """The scores dot and general, ``[B, K, S]``."""
    del weights, positions
    q = _rows(graph, h, sentences, graph.axes(-1, config.hidden_size))
    keys = graph.add("Transpose", [_keys(config)], perm=[0, 2, 1])
    return graph.add("MatMul", [q, keys])


def _additive(graph, config, weights, h, sentences, positions):
    """``v . tanh(h w_q + keys + coverage w_coverage)``, ``[B, K, S]``."""
    q = graph.add("MatMul", [h, _weight(graph, "w_q", weights.w_q)])
    q = _rows(graph, q, sentences, graph.axes(-1, 1, config.hidden_size))
    keys = graph.add("Unsqueeze", ["keys", graph.axes(1)])
    hidden = graph.add("Add", [q, keys])
    if config.coverage:
        covered = _rows(
            graph, "coverage", sentences, graph.axes(-1), positions, graph.axes(1)
        )
        w = _weight(graph, "w_coverage", weights.w_coverage)
        hidden = graph.add("Add", [hidden, graph.add("Mul", [covered, w])])
    v = _weight(graph, "v", np.asarray(weights.v)[:, None])
    e = graph.add("MatMul", [graph.add("Tanh", [hidden]), v])
    return graph.add("Squeeze", [e, graph.axes(3)])


def _heads(graph, config, h, sentences):
    """The scores dot and general of every head, ``[B, heads, K, S]``."""
    each = config.hidden_size // config.heads
    q = _rows(graph, h, sentences, graph.axes(-1, config.heads, each))
    q = graph.add("Transpose", [q], perm=[0, 2, 1, 3])
    e = graph.add("MatMul", [q, _cut(graph, _keys(config), config, [0, 2, 3, 1])])
    scale = _weight(graph, "scale", 1 / math.sqrt(each))
    return graph.add("Mul", [e, scale])


def _keys(config):
    return "values" if config.attention == "dot" else "keys"


def _cut(graph, memory, config, perm):
    """Keys or values ``[B, S, heads, ...]``, transposed."""
    each = config.hidden_size // config.heads
    cut = graph.add("Reshape", [memory, graph.axes(0, 0, config.heads, each)])
    return graph.add("Transpose", [cut], perm=perm)


def _rows(graph, x, *sizes):
    """``[R, ...]`` in the shape of these sizes, ``[B, K, ...]``."""
    return graph.add("Reshape", [x, graph.add("Concat", [*sizes], axis=0)])


def _lstm(graph, name, params, x, lengths, state):
    """Adds the node of a layer; returns the names of ``Y``, ``Y_h`` and ``Y_c``."""
    arrays = to_onnx_arrays(params)
    weights = [_weight(graph, f"{name}_{key}", arrays[key]) for key in "WRB"]
    directions, _, size = arrays["R"].shape
    outputs = [graph.fresh(f"{name}_{key}") for key in ("Y", "h", "c")]
    graph.add(
        "LSTM",
        [x, *weights, *([lengths, *state] if lengths or state else [])],
        outputs,
        hidden_size=size,
        direction="forward" if directions == 1 else "bidirectional",
    )
    return outputs


def _linear(graph, name, x, w, b, outputs=()):
    """``x @ w + b`` of rows ``[R, D]``."""
    arrays = [_weight(graph, f"{name}_{key}", a) for key, a in (("w", w), ("b", b))]
    return graph.add("Gemm", [x, *arrays], outputs)


def _weight(graph, name, array: Any):
    return graph.weight(name, np.asarray(array, np.float32))
