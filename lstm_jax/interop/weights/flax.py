"""Flax: parameter dicts of linen, and cells of NNX."""

from collections.abc import Mapping
from typing import Any

from lstm_jax.core.layers.bidirectional import Bidirectional
from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.layout import LAYOUTS, Cell
from lstm_jax.interop.weights.cells import map_cells, read_cell, write_cell
from lstm_jax.interop.weights.layer import cell_kind, is_cell, layout_of, write_layer
from lstm_jax.interop.weights.tensors import fit, flatten, nest

NNX = {
    "LSTMCell": "nnx",
    "OptimizedLSTMCell": "nnx.optimized",
    "GRUCell": "nnx.gru",
}
"""The layout of each cell class."""


def from_linen(source: Any, *, cell: Cell = "lstm") -> Any:
    """Parameters from linen's ``LSTMCell``, ``OptimizedLSTMCell`` or ``GRUCell``.

    Args:
        source: nested dicts ``{"ii": {"kernel": ...}, ...}``, also inside ``params``
            and the ``cell`` that ``linen.RNN`` adds; or a list with one per layer.
        cell: ``lstm`` or ``gru``.

    Raises:
        InteropError: names are missing or unknown, or shapes do not fit.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen
    >>> from lstm_jax.interop import from_linen, to_linen
    >>> module = linen.RNN(linen.OptimizedLSTMCell(5))
    >>> variables = module.init(jax.random.key(0), jnp.ones((2, 7, 3)))
    >>> params = from_linen(variables)
    >>> params.w_x.shape, sorted(to_linen(params))[:3]
    ((3, 20), ['hf', 'hg', 'hi'])
    """

    def convert(tree):
        for name in ("params", "cell"):
            if isinstance(tree, Mapping) and set(tree) == {name}:
                tree = tree[name]
        if not isinstance(tree, Mapping):
            raise InteropError(
                f"source is {type(tree).__name__}, expected linen's dict of parameters."
            )
        return read_cell(layout_of("linen", cell), tree)

    return map_cells(convert, source)


def to_linen(params: Any) -> Any:
    """Nested dicts of numpy arrays, with the structure of ``params``.

    ``apply`` of a cell takes a dict as ``{"params": ...}``. ``apply`` of ``linen.RNN``
    takes ``{"params": {"cell": ...}}``.

    Raises:
        UnsupportedError: linen has no such cell.

    >>> import jax
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_linen
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> sorted(to_linen(params))
    ['hf', 'hg', 'hi', 'ho', 'if', 'ig', 'ii', 'io']
    """
    return map_cells(lambda one: nest(write_cell("linen", one)), params)


def from_nnx(source: Any, *, layout: str | None = None) -> Any:
    """Parameters from cells of Flax NNX.

    Args:
        source: an ``nnx.LSTMCell``, ``OptimizedLSTMCell``, ``GRUCell``, an ``nnx.RNN``
            or ``Bidirectional`` of these, the state of a cell, or a list of these.
        layout: the layout of a state: ``nnx`` (``LSTMCell``), ``nnx.optimized`` or
            ``nnx.gru``. Cells do not need it.

    Raises:
        InteropError: names are missing or unknown, or shapes do not fit.
        UnsupportedError: the activations are not sigmoid and tanh, or the module is of
            another kind.

    >>> from flax import nnx
    >>> from lstm_jax.interop import from_nnx
    >>> params = from_nnx(nnx.OptimizedLSTMCell(3, 5, rngs=nnx.Rngs(0)))
    >>> params.w_x.shape
    (3, 20)
    """

    def convert(one):
        name = layout
        one = getattr(one, "cell", one) if not isinstance(one, Mapping) else one
        if not isinstance(one, Mapping):
            name, one = _nnx_layout(one), _nnx_state(one)
        if name not in NNX.values():
            raise InteropError(
                f"layout is {name!r}, expected one of {', '.join(NNX.values())}."
            )
        return read_cell(LAYOUTS[str(name)], one)

    if hasattr(source, "forward_rnn"):
        source = Bidirectional(source.forward_rnn, source.backward_rnn)
    return map_cells(convert, source)


def to_nnx(params: Any, into: Any = None, *, layout: str | None = None) -> Any:
    """Nested dicts of numpy arrays with the structure of ``params``, or a cell with
    these weights.

    Args:
        params: of one cell, or one entry per layer.
        into: a cell, or an ``nnx.RNN`` around a cell, with the sizes of ``params``.
        layout: used without ``into``: ``nnx`` for ``LSTMCell``. The default is
            ``OptimizedLSTMCell``, or ``GRUCell`` for a GRU.

    Raises:
        InteropError: ``into`` has other sizes.
        UnsupportedError: NNX has no such cell; its ``GRUCell`` has no bias ``b_hn``.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax import init_lstm
    >>> from lstm_jax.interop import to_nnx
    >>> params = init_lstm(jax.random.key(0), in_size=3, hidden_size=5)
    >>> cell = to_nnx(params, into=nnx.OptimizedLSTMCell(3, 5, rngs=nnx.Rngs(0)))
    >>> nnx.RNN(cell)(jnp.ones((2, 7, 3))).shape
    (2, 7, 5)
    """
    if into is None:

        def convert(one):
            kind = cell_kind(one)
            name = layout or ("nnx.optimized" if kind == "lstm" else f"nnx.{kind}")
            if name not in LAYOUTS:
                layout_of("nnx", kind)
            return nest(write_layer(LAYOUTS[name], one))

        return map_cells(convert, params)
    if not is_cell(params):
        raise InteropError("params are of several cells; put them into one at a time.")
    cell = getattr(into, "cell", into)
    tensors = write_layer(LAYOUTS[_nnx_layout(cell)], params)
    state = flatten(_nnx_state(cell))
    shapes = {name: a.shape for name, a in state.items()}
    from flax import nnx

    nnx.update(cell, nnx.State(nest(fit(tensors, shapes, "into"))))
    return into


def _nnx_layout(cell):
    name = type(cell).__name__
    if not type(cell).__module__.startswith("flax.nnx") or name not in NNX:
        raise UnsupportedError(
            f"{name} is not converted; pass an nnx.LSTMCell, OptimizedLSTMCell or "
            f"GRUCell, or an nnx.RNN around one."
        )
    from flax import nnx

    functions = dict(gate_fn=("sigmoid", nnx.sigmoid), activation_fn=("tanh", nnx.tanh))
    for field, (wanted, function) in functions.items():
        if getattr(cell, field) is not function:
            raise UnsupportedError(
                f"{name} has another {field} than {wanted}; its weights alone would "
                f"compute something else."
            )
    return NNX[name]


def _nnx_state(cell):
    from flax import nnx

    return nnx.to_pure_dict(nnx.state(cell, nnx.Param))
