"""The layouts of other frameworks, as data.

The gates have our letters everywhere: ``i f g o`` of an LSTM, ``r z n`` of a GRU, ``h``
for all of a plain RNN. The sizes are ``D`` features, ``H`` units, and ``P`` features of
the hidden state (``H`` without a projection). A tensor holds one or several parts of a
layer:

    w_x    [D, nH]   of the input                b_x    [nH]   bias beside ``x w_x``
    w_h    [P, nH]   of the hidden state         b_h    [nH]   bias beside ``h w_h``
    w_hr   [H, P]    of the projection           b_hr   [P]    its bias
    p      [nH]      peepholes                   gain_x, shift_x, gain_h, shift_h [nH],
    gain_c, shift_c  [H]                         of normalisations

Kernels of a convolutional cell start with their spatial axes, ``[*K, D, nH]``.

Each row of `LAYOUTS` comes from the source code of the framework, and a test compares
it with the outputs of that framework.
"""

import dataclasses
from typing import Any, Literal

Cell = Literal["lstm", "cifg", "gru", "gru_reset_before", "rnn", "conv_lstm"]

GATES = {
    "lstm": "ifgo",
    "cifg": "fgo",
    "gru": "rzn",
    "gru_reset_before": "rzn",
    "rnn": "h",
    "conv_lstm": "ifgo",
}
"""The gate order of this package."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor, or one per gate if its name contains ``{gate}``.

    Args:
        name: its name in the framework.
        parts: the parts that it holds, concatenated on the first axis.
        gates: the gates, concatenated on the last axis in this order. ``_`` is a block
            that the framework does not read. Empty for a part without gates.
        transposed: whether it is stored with the gate axis first.
        stacked: whether the parts are on a separate leading axis.
        group: tensors of one group are all present or all absent; empty: required.
        spelling: pairs of a gate and its spelling in ``name``.
        cudnn: whether the memory of each gate's block is the transposed matrix, as in
            cuDNN, whatever shape the framework shows.
    """

    name: str
    parts: tuple[str, ...]
    gates: str = ""
    transposed: bool = False
    stacked: bool = False
    group: str = ""
    spelling: tuple[tuple[str, str], ...] = ()
    cudnn: bool = False

    @property
    def apart(self) -> bool:
        """Whether every gate has its own tensor."""
        return "{gate}" in self.name

    def names(self) -> dict[str, str]:
        """Its names, each with the gates in that tensor."""
        if not self.apart:
            return {self.name: self.gates}
        called = dict(self.spelling)
        return {self.name.format(gate=called.get(g, g)): g for g in self.gates}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a framework stores the weights of one layer.

    Args:
        name: its key in `LAYOUTS`.
        tensors: the first one with ``w_x`` gives the sizes.
        cell: the kind of cell.
        forget_bias: the number that the framework adds to the forget gate at run time.
        negated: gates whose weights and bias have the opposite sign, for a gate
            ``1 - sigmoid(z) = sigmoid(-z)``.
        carry: the order of the states, and whether one array holds a state of all
            layers and directions, layer after layer.
        place: names of a stack of layers, from ``{name}``, ``{layer}``, ``{way}``
            (``forward.``, ``backward.`` or nothing) and ``{reverse}`` (``_reverse`` or
            nothing). A single layer in two directions may leave out the layer.
        spatial: whether its kernels are convolutions, with spatial axes first.
        scope: a word that the framework puts into the path of these tensors. A dense
            layer has the same names and shapes, so only this word shows that the
            tensors belong to a recurrent layer.
    """

    name: str
    tensors: tuple[Tensor, ...]
    cell: Cell = "lstm"
    forget_bias: float = 0.0
    negated: str = ""
    carry: str = "hc"
    carry_joined: bool = False
    place: str = "{layer}.{way}{name}"
    spatial: bool = False
    scope: str = ""

    def parts(self) -> dict[str, set[str]]:
        """Every part of this layout, with its gates."""
        found: dict[str, set[str]] = {}
        for tensor in self.tensors:
            for part in tensor.parts:
                found.setdefault(part, set()).update(tensor.gates)
        return found


def _pair(names, gates, bias=("b_x", "bias"), **facts):
    """Kernels of inputs and state, and a bias or none."""
    w_x, w_h = names
    part, name = bias
    return (
        Tensor(w_x, ("w_x",), gates, **facts),
        Tensor(w_h, ("w_h",), gates, **facts),
        Tensor(name, (part,), gates, group="bias"),
    )


def _torch(gates):
    """Kernels ``[nH, in]`` and two biases."""
    kernels = _pair(
        ("weight_ih", "weight_hh"), gates, ("b_x", "bias_ih"), transposed=True
    )
    return (*kernels, Tensor("bias_hh", ("b_h",), gates, group="bias"))


def _tf(w, b, gates, peepholes):
    """One kernel for ``[x, h]``, as in TensorFlow."""
    return (
        Tensor(w, ("w_x", "w_h"), gates),
        Tensor(b, ("b_x",), gates),
        Tensor(peepholes, ("p",), "ifo", group="peepholes"),
    )


def _cudnn(gates):
    """Both biases, concatenated."""
    kernels = _pair(_KERAS, gates, cudnn=True)[:2]
    return (*kernels, Tensor("bias", ("b_x", "b_h"), gates))


def _onnx(gates):
    """One direction; both biases, concatenated."""
    return (
        Tensor("W", ("w_x",), gates, transposed=True),
        Tensor("R", ("w_h",), gates, transposed=True),
        Tensor("B", ("b_x", "b_h"), gates, group="bias"),
    )


_OURS = ("w_x", "w_h")
_KERAS = ("kernel", "recurrent_kernel")
_EQUINOX = ("weight_ih", "weight_hh")
_CELLS = ("i{gate}.kernel", "h{gate}.kernel")
_DENSE = ("dense_i.kernel", "dense_h.kernel")
_ON_STATE = ("b_h", "h{gate}.bias")
_PROJECTION = Tensor("projection.kernel", ("w_hr",), group="projection")
_TF: dict[str, Any] = dict(carry="ch", scope="lstm")
_TORCH: dict[str, Any] = dict(carry_joined=True, place="{name}_l{layer}{reverse}")

_TABLE = (
    # This package: the names are field names.
    Layout(
        "lstm_jax",
        (
            *_pair(_OURS, "ifgo", ("b_x", "b")),
            Tensor("p_{gate}", ("p",), "ifo", group="peepholes"),
            Tensor("w_hr", ("w_hr",), group="projection"),
            Tensor("b_hr", ("b_hr",), group="bias of the projection"),
            Tensor("gain_x", ("gain_x",), "ifgo", group="layer norm"),
            Tensor("shift_x", ("shift_x",), "ifgo", group="layer norm"),
            Tensor("gain_h", ("gain_h",), "ifgo", group="layer norm"),
            Tensor("shift_h", ("shift_h",), "ifgo", group="layer norm"),
            Tensor("gain_c", ("gain_c",), group="layer norm"),
            Tensor("shift_c", ("shift_c",), group="layer norm"),
        ),
    ),
    Layout("lstm_jax.cifg", _pair(_OURS, "fgo", ("b_x", "b")), "cifg"),
    Layout(
        "lstm_jax.gru",
        (
            *_pair(_OURS, "rzn", ("b_x", "b")),
            Tensor("b_hn", ("b_h",), "n", group="bias"),
        ),
        "gru",
    ),
    Layout(
        "lstm_jax.gru_reset_before",
        (
            Tensor("w_x", ("w_x",), "rzn"),
            Tensor("w_h", ("w_h",), "rz"),
            Tensor("w_hn", ("w_h",), "n"),
            Tensor("b", ("b_x",), "rzn"),
        ),
        "gru_reset_before",
    ),
    Layout("lstm_jax.rnn", _pair(_OURS, "h", ("b_x", "b")), "rnn"),
    Layout(
        "lstm_jax.conv", _pair(_OURS, "ifgo", ("b_x", "b")), "conv_lstm", spatial=True
    ),
    # torch.nn.LSTM, GRU and RNN. The names of their cells have no ending.
    Layout(
        "torch",
        (
            *_torch("ifgo"),
            Tensor("weight_hr", ("w_hr",), transposed=True, group="projection"),
        ),
        **_TORCH,
    ),
    Layout("torch.gru", _torch("rzn"), "gru", **_TORCH),
    Layout("torch.rnn", _torch("h"), "rnn", **_TORCH),
    # jax.experimental.rnn: a flat vector of these, one after the other.
    Layout("jax_rnn", _torch("ifgo"), **_TORCH),
    # Keras 3. The GRU has a second row of biases with reset_after=True.
    Layout("keras", _pair(_KERAS, "ifgo")),
    Layout(
        "keras.gru",
        (
            *_pair(_KERAS, "zrn")[:2],
            Tensor("bias", ("b_x", "b_h"), "zrn", stacked=True, group="bias"),
        ),
        "gru",
    ),
    Layout("keras.gru_reset_before", _pair(_KERAS, "zrn"), "gru_reset_before"),
    Layout("keras.rnn", _pair(_KERAS, "h"), "rnn"),
    Layout("keras.conv", _pair(_KERAS, "ifgo"), "conv_lstm", spatial=True),
    # Keras 2's CuDNNLSTM and CuDNNGRU: both biases, and kernels as cuDNN stores them.
    Layout("keras.cudnn", _cudnn("ifgo")),
    Layout("keras.cudnn_gru", _cudnn("zrn"), "gru"),
    # Flax linen: LSTMCell, OptimizedLSTMCell (the same tensors) and GRUCell.
    Layout("linen", _pair(_CELLS, "ifgo", _ON_STATE), carry="ch"),
    Layout(
        "linen.gru",
        (
            *_pair(_CELLS, "rzn", ("b_x", "i{gate}.bias")),
            Tensor("h{gate}.bias", ("b_h",), "n", group="bias"),
        ),
        "gru",
    ),
    # Its ConvLSTMCell adds 1 to the forget gate.
    Layout(
        "linen.conv",
        (
            Tensor("ih.kernel", ("w_x",), "igfo"),
            Tensor("hh.kernel", ("w_h",), "igfo"),
            Tensor("ih.bias", ("b_x",), "igfo", group="bias"),
            Tensor("hh.bias", ("b_h",), "igfo", group="bias"),
        ),
        "conv_lstm",
        forget_bias=1.0,
        carry="ch",
        spatial=True,
    ),
    # Flax NNX: LSTMCell, OptimizedLSTMCell, GRUCell. `if` is a word of Python.
    Layout(
        "nnx",
        (
            Tensor("i{gate}.kernel", ("w_x",), "ifgo", spelling=(("f", "f_"),)),
            *_pair(_CELLS, "ifgo", _ON_STATE)[1:],
        ),
        carry="ch",
    ),
    Layout("nnx.optimized", _pair(_DENSE, "ifgo", ("b_h", "dense_h.bias")), carry="ch"),
    Layout("nnx.gru", _pair(_DENSE, "rzn", ("b_x", "dense_i.bias")), "gru"),
    # Haiku adds 1 to the forget gate; its GRU is h + z * (n - h).
    Layout(
        "haiku",
        (Tensor("w", ("w_x", "w_h"), "igfo"), Tensor("b", ("b_x",), "igfo")),
        forget_bias=1.0,
        scope="lstm",
    ),
    Layout(
        "haiku.gru",
        _pair(("w_i", "w_h"), "zrn", ("b_x", "b")),
        "gru_reset_before",
        negated="z",
    ),
    Layout("equinox", _pair(_EQUINOX, "ifgo", transposed=True)),
    Layout(
        "equinox.gru",
        (
            *_pair(_EQUINOX, "rzn", transposed=True),
            Tensor("bias_n", ("b_h",), "n", group="bias"),
        ),
        "gru",
    ),
    # ONNX operators, one direction. With input_forget=1 an LSTM computes its forget
    # gate from the input gate's weights and never reads its own.
    Layout(
        "onnx",
        (*_onnx("iofg"), Tensor("P", ("p",), "iof", group="peepholes")),
        carry_joined=True,
    ),
    Layout("onnx.cifg", _onnx("fo_g"), "cifg", negated="f", carry_joined=True),
    Layout("onnx.gru", _onnx("zrn"), "gru", carry_joined=True),
    Layout(
        "onnx.gru_reset_before", _onnx("zrn"), "gru_reset_before", carry_joined=True
    ),
    Layout("onnx.rnn", _onnx("h"), "rnn", carry_joined=True),
    # TensorFlow 1: LSTMCell, LSTMBlockCell, and the operators BlockLSTM, BlockLSTMV2.
    Layout(
        "tf1",
        (*_tf("kernel", "bias", "igfo", "w_{gate}_diag"), _PROJECTION),
        forget_bias=1.0,
        **_TF,
    ),
    Layout(
        "tf1.block_cell",
        _tf("kernel", "bias", "igfo", "w_{gate}_diag"),
        forget_bias=1.0,
        **_TF,
    ),
    Layout("tf1.block", _tf("w", "b", "igfo", "wc{gate}"), forget_bias=1.0, **_TF),
    Layout("tf1.block_v2", _tf("w", "b", "ifgo", "wc{gate}"), **_TF),
    # haste: LSTM and LayerNormLSTM, and GRU.
    Layout(
        "haste",
        (
            *_pair(_KERAS, "igfo"),
            Tensor(
                "gamma", ("gain_x", "gain_h"), "igfo", stacked=True, group="layer norm"
            ),
            Tensor("gamma_h", ("gain_c",), group="layer norm"),
            Tensor("beta_h", ("shift_c",), group="layer norm"),
        ),
        carry_joined=True,
    ),
    Layout(
        "haste.gru",
        (
            *_pair(_KERAS, "zrn"),
            Tensor("recurrent_bias", ("b_h",), "zrn", group="bias"),
        ),
        "gru",
        carry_joined=True,
    ),
)

LAYOUTS = {layout.name: layout for layout in _TABLE}
"""All layouts by name."""
