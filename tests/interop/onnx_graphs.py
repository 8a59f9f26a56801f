"""Random graphs around recurrent layers, for the differential test of the importer.

Some constructs leave the layers what they are alone: such a graph must be read.
Others crop, mix or compute (`OTHERS`): they are read only if the numbers are those
of onnxruntime all the same. `benchmarks.onnx_differential` runs many of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26)
SIZES = ((7, 3), (2, 5), (4, 4))
D, H, WORDS = 3, 4, 11
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FAR = 2**63 - 1


class InvalidGraph(Exception):
    """Onnxruntime runs the graph at none of its sizes, or torch cannot export it."""


class Case(NamedTuple):
    """A file, the sizes ``(T, B)`` it is for, its inputs, and what it was made of."""

    model: onnx.ModelProto
    sizes: tuple[tuple[int, int], ...]
    inputs: dict[str, tuple[Any, tuple[Any, ...]]]
    constructs: tuple[str, ...]
    clear: bool


def random_case(seed: int) -> Case:
    """One to three recurrent nodes, and whatever may stand around them."""
    return _Maker(np.random.default_rng(seed)).case()


def case_with(construct: str, opset: int = 17) -> Case:
    """Two bidirectional LSTMs with this construct, and no other that is not clear."""
    maker = _Maker(np.random.default_rng(0))
    maker.wanted, maker.opset = construct, opset
    maker.operator, maker.direction = "LSTM", "bidirectional"
    return maker.case()


class _Maker:
    def __init__(self, rng):
        self.rng, self.opset = rng, int(rng.choice(OPSETS))
        self.nodes, self.tensors, self.inputs = [], [], {}
        self.constructs, self.clear, self.count = [], True, 0
        self.sizes, self.wanted, self.made = SIZES, "", {}
        self.operator = self.one_of(["LSTM", "LSTM", "GRU", "RNN"])
        self.direction = self.one_of(["forward", "bidirectional"])

    # Helpers

    def one_of(self, options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p):
        """Whether something rare happens; not where one construct is looked at."""
        if self.wanted and p < 0.5:
            return False
        return bool(self.rng.random() < p)

    def name(self, what):
        self.count += 1
        return f"{what}_{self.count}"

    def add(self, operator, *inputs, outputs=1, **attributes):
        names = [self.name(operator.lower()) for _ in range(outputs)]
        node = helper.make_node(
            operator, inputs, names, name=self.name("n"), **attributes
        )
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def const(self, array, dtype=None):
        tensor = numpy_helper.from_array(np.array(array, dtype), self.name("const"))
        if self.chance(0.5):
            self.tensors.append(tensor)
            return tensor.name
        return self.add("Constant", value=tensor)

    def ints(self, *numbers):
        return self.const(numbers, np.int64)

    def floats(self, *shape):
        draw = self.rng.uniform(-1, 1, shape) * H**-0.5
        return self.const(draw, np.float32)

    def fix_rows(self):
        """From now on the file is for one number of rows."""
        self.sizes = tuple(s for s in self.sizes if s[1] == self.sizes[0][1])
        return self.sizes[0][1]

    def axes(self, operator, x, *axes):
        """``Squeeze`` or ``Unsqueeze``."""
        if self.opset < 13:
            return self.add(operator, x, axes=axes)
        return self.add(operator, x, self.ints(*axes))

    def slice(self, x, axis, start, end, step=1):
        if self.opset < 10:
            if step != 1:
                return self.add("Identity", x)
            return self.add("Slice", x, axes=[axis], starts=[start], ends=[end])
        cut = [self.ints(n) for n in (start, end, axis, step)]
        return self.add("Slice", x, *cut)

    def size(self, x, axis):
        """One entry of a shape, as a list of one."""
        if self.opset >= 15 and self.chance(0.5):
            return self.add("Shape", x, start=axis, end=axis + 1)
        shape = self.add("Shape", x)
        if self.chance(0.5):
            return self.slice(shape, 0, axis, axis + 1)
        one = self.add("Gather", shape, self.const(axis, np.int64), axis=0)
        return self.axes("Unsqueeze", one, 0)

    def split(self, x, axis, sizes):
        if self.opset < 13:
            return self.add("Split", x, axis=axis, split=sizes, outputs=len(sizes))
        return self.add("Split", x, self.ints(*sizes), axis=axis, outputs=len(sizes))

    def construct(self, table):
        """One of a table ``{name: function}``; those of `OTHERS` are not clear."""
        usable = [name for name in table if self.opset >= NEEDS.get(name, 7)]
        if self.wanted:
            table = next((t for t in self.tables(table) if self.wanted in t), table)
            usable = [self.wanted] if self.wanted in table else [*table][:1]
        name = self.one_of(usable)
        self.constructs.append(name)
        self.clear &= name not in OTHERS
        return table[name]

    def tables(self, table):
        """The tables that may stand in the place of one."""
        places = [(STATES, COMPUTED), (NO_LENGTHS, LENGTHS, COMPUTED_LENGTHS)]
        places += [(JOINS, MIXING), (HARMLESS, HARMFUL), (SOURCES,)]
        return next(tables for tables in places if table in tables)

    # The graph

    def case(self):
        layers = 2 if self.wanted else int(self.rng.integers(1, 4))
        self.features, x = D, None
        x = self.construct(SOURCES)(self)
        self.below = None
        for n in range(layers):
            if n:
                joins = MIXING if self.chance(0.1) else JOINS
                x = self.construct(joins)(self, self.below)
                for _ in range(1 if self.wanted else int(self.rng.integers(0, 3))):
                    table = HARMFUL if self.chance(0.2) else HARMLESS
                    x = self.construct(table)(self, x)
            x = self.layer(x, last=n == layers - 1)
        return self.finish()

    def layer(self, x, last):
        direction = self.direction
        if self.chance(0.1):
            direction = self.one_of(["forward", "reverse", "bidirectional"])
        N = 2 if direction == "bidirectional" else 1
        gates, attributes = GATES[self.operator], {"hidden_size": H}
        self.x, self.N = x, N
        if direction != "forward" or self.chance(0.5):
            attributes["direction"] = direction
        if self.operator == "GRU":
            attributes["linear_before_reset"] = int(self.chance(0.5))
        if self.chance(0.1):
            attributes["clip"] = 0.3
        if self.chance(0.1):
            functions = {"LSTM": ["HardSigmoid", "Relu", "Tanh"]}
            functions |= {"GRU": ["HardSigmoid", "Relu"], "RNN": ["Relu"]}
            attributes["activations"] = functions[self.operator] * N
        weights = [
            self.floats(N, gates * H, self.features),
            self.floats(N, gates * H, H),
            self.floats(N, 2 * gates * H) if self.chance(0.8) else "",
        ]
        lengths = self.construct(self.lengths())
        if lengths not in self.made or self.chance(0.3):
            self.made[lengths] = lengths(self)
        lengths = self.made[lengths]
        states = self.construct(COMPUTED if self.chance(0.06) else STATES)(self)
        inputs = [x, *weights, lengths, *states[: 2 if self.operator == "LSTM" else 1]]
        if self.operator == "LSTM" and self.chance(0.1):
            inputs += [""] * (7 - len(inputs)) + [self.floats(N, 3 * H)]
        while not inputs[-1]:
            inputs.pop()
        outputs = 3 if self.operator == "LSTM" else 2
        self.below = self.add(self.operator, *inputs, outputs=outputs, **attributes)
        self.below_ways, self.features = N, N * H
        return self.below[0]

    def lengths(self):
        if self.wanted or self.chance(0.8):
            return NO_LENGTHS
        return COMPUTED_LENGTHS if self.chance(0.2) else LENGTHS

    def shape_of_state(self):
        rows = self.size(self.x, 1)
        return self.add("Concat", self.ints(self.N), rows, self.ints(H), axis=0)

    def input(self, name, dtype, shape):
        self.inputs[name] = (dtype, shape)
        return name

    def finish(self):
        style = self.one_of(["free", "static", "unknown", "rows"])
        style = "free" if self.wanted else style
        if style == "static":
            self.sizes = self.sizes[:1]
        if style == "rows":
            self.fix_rows()
        T, B = self.sizes[0]
        if "static Reshape" in self.constructs and style != "static":
            style, self.sizes = "static", self.sizes[:1]
        known = {"static": {"T": T, "B": B}, "rows": {"B": B}}.get(style, {})
        values = []
        for name, (dtype, shape) in self.inputs.items():
            dims = [known.get(axis, axis) for axis in shape]
            elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            if style == "unknown" and name in ("x", "tokens"):
                dims = None
            values.append(helper.make_tensor_value_info(name, elem, dims))
        out = helper.make_tensor_value_info(self.below[0], TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", values, [out], self.tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        made_of = (f"opset {self.opset}", self.operator, style, *self.constructs)
        return Case(model, self.sizes, self.inputs, made_of, self.clear)


# Where the first layer reads


def _table(m):
    words = m.input("tokens", np.int64, ("T", "B"))
    return m.add("Gather", m.floats(WORDS, D), words, axis=0)


def _batch_first(m):
    x = m.input("x", np.float32, ("B", "T", D))
    return m.add("Transpose", x, perm=[1, 0, 2])


_x = lambda m: m.input("x", np.float32, ("T", "B", D))
SOURCES: dict[str, Callable[..., Any]] = {
    "input": _x,
    "batch-first input": _batch_first,
    "Relu of the input": lambda m: m.add("Relu", _x(m)),
    "projected input": lambda m: m.add("MatMul", _x(m), m.floats(D, D)),
    "embedded tokens": _table,
}


# Initial states


def _spread(m, param=None):
    shape = m.shape_of_state()
    return m.add("Expand", param or m.floats(m.N, 1, H), shape)


def _tiled(m):
    repeats = m.add("Concat", m.ints(1), m.size(m.x, 1), m.ints(1), axis=0)
    return m.add("Tile", m.floats(m.N, 1, H), repeats)


def _filled(value):
    def make(m):
        tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
        return m.add("ConstantOfShape", m.shape_of_state(), value=tensor)

    return make


def _all_layers(m):
    """A state for every layer in one, cut on its way: ``[6, B, H]``."""
    param = m.add("Expand", m.floats(6, 1, H), m.shape_of_all())
    start = int(m.rng.integers(0, 6 - m.N))
    return m.slice(param, 0, start, start + m.N)


def _shape_of_all(m):
    return m.add("Concat", m.ints(6), m.size(m.x, 1), m.ints(H), axis=0)


_Maker.shape_of_all = _shape_of_all  # type: ignore[attr-defined]


def _fed(m):
    return m.input(m.name("state"), np.float32, (m.N, "B", H))


def _fed_for_all(m):
    start = int(m.rng.integers(0, 6 - m.N))
    whole = m.input(m.name("states"), np.float32, (6, "B", H))
    return m.slice(whole, 0, start, start + m.N)


def _last_of_below(m):
    if m.below is None or m.below_ways != m.N:
        return m.add("Tanh", _spread(m))
    return m.below[1]


def _of_inputs(m):
    rows = m.add("ReduceMean", m.x, axes=[0, 2], keepdims=0) if m.opset < 18 else None
    if rows is None:
        rows = m.add("ReduceMean", m.x, m.ints(0, 2), keepdims=0)
    rows = m.axes("Unsqueeze", rows, 0, 2)
    return m.add("Add", rows, _spread(m))


def _both(make):
    return lambda m: (make(m), make(m))


def _one(make):
    def states(m):
        pair = [make(m), ""]
        return pair if m.operator != "LSTM" or m.chance(0.5) else pair[::-1]

    return states


def _per_row(m):
    return m.floats(m.N, m.fix_rows(), H)


def _apart(m):
    """One in the file, the other an input."""
    if m.operator != "LSTM":
        return (_fed(m), "")
    return (_per_row(m), _fed(m))


STATES: dict[str, Callable[..., Any]] = {
    "no state": lambda m: ("", ""),
    "no state ": lambda m: ("", ""),
    "no state  ": lambda m: ("", ""),
    "zeros": _both(_filled(0.0)),
    "ones": _both(_filled(1.0)),
    "a learned state": _both(_spread),
    "one learned state": _one(_spread),
    "a tiled state": _both(_tiled),
    "a sum": _both(lambda m: m.add("Add", _spread(m), m.floats(m.N, 1, H))),
    "a state of all layers": _both(_all_layers),
    "a state per row": _both(_per_row),
    "one state per row": _one(_per_row),
    "zeros per row": _both(
        lambda m: m.const(np.zeros((m.N, m.fix_rows(), H)), np.float32)
    ),
    "an input": _both(_fed),
    "a part of an input": _both(_fed_for_all),
}
COMPUTED: dict[str, Callable[..., Any]] = {
    "a function of a parameter": _both(lambda m: m.add("Tanh", _spread(m))),
    "the state of the layer below": _both(_last_of_below),
    "a function of the inputs": _both(_of_inputs),
    "a function of an input": _both(lambda m: m.add("Neg", _fed(m))),
    "a state here, an input there": _apart,
}


# Lengths


def _lengths(m):
    rows = m.fix_rows()
    return m.const(m.rng.integers(1, min(s[0] for s in m.sizes) + 1, rows), np.int32)


def _fed_lengths(m, dtype=np.int32):
    return m.input(m.name("lengths"), dtype, ("B",))


def _all_steps(m):
    steps = m.add("Cast", m.size(m.x, 0), to=TensorProto.INT32)
    return m.add("Expand", steps, m.size(m.x, 1))


NO_LENGTHS: dict[str, Callable[..., Any]] = {"no lengths": lambda m: ""}
LENGTHS: dict[str, Callable[..., Any]] = {
    "lengths": _lengths,
    "lengths as an input": _fed_lengths,
    "lengths as a long input": lambda m: m.add(
        "Cast", _fed_lengths(m, np.int64), to=TensorProto.INT32
    ),
    "all steps": _all_steps,
}
COMPUTED_LENGTHS: dict[str, Callable[..., Any]] = {
    "two steps": lambda m: m.add("Expand", m.const([2], np.int32), m.size(m.x, 1)),
    "computed lengths": lambda m: m.add("Sub", _fed_lengths(m), m.const([1], np.int32)),
}


# From Y [T, N, B, H] of one layer to X [T, B, N*H] of the next


def _turned(m, Y):
    return m.add("Transpose", Y[0], perm=[0, 2, 1, 3])


def _computed_shape(m, Y):
    x = _turned(m, Y)
    units = m.add("Mul", m.size(x, 2), m.size(x, 3))
    shape = m.add("Concat", m.size(x, 0), m.size(x, 1), units, axis=0)
    return m.add("Reshape", x, shape)


def _sides(m, Y, order=1):
    """Each direction by itself, and joined again."""
    if m.below_ways == 1:
        return m.axes("Squeeze", Y[0], 1)
    if m.chance(0.5):
        parts = m.split(Y[0], 1, [1, 1])
        parts = [m.axes("Squeeze", part, 1) for part in parts]
    else:
        places = [m.const(n, np.int64) for n in (0, 1)]
        parts = [m.add("Gather", Y[0], place, axis=1) for place in places]
    return m.add("Concat", *parts[::order], axis=2 if m.chance(0.5) else -1)


def _static(m, Y):
    T, B = SIZES[0]
    m.sizes = m.sizes[:1]
    sizes = [T, B, m.below_ways * H]
    if m.chance(0.5):
        sizes[int(m.rng.integers(3))] = -1
    return m.add("Reshape", _turned(m, Y), m.ints(*sizes))


def _from_states(m, Y):
    """The last state for every step, in the place of the outputs."""
    last = m.add("Transpose", Y[1], perm=[1, 0, 2])
    last = m.add("Reshape", last, m.ints(1, -1, m.below_ways * H))
    return m.add("Add", last, m.add("Mul", _sides(m, Y), m.const([0], np.float32)))


JOINS: dict[str, Callable[..., Any]] = {
    "Transpose, Reshape": lambda m, Y: m.add(
        "Reshape", _turned(m, Y), m.ints(0, 0, -1)
    ),
    "a computed shape": _computed_shape,
    "directions apart": _sides,
    "directions apart ": _sides,
    "static Reshape": _static,
}
MIXING: dict[str, Callable[..., Any]] = {
    "directions exchanged": lambda m, Y: _sides(m, Y, -1),
    "units mixed": lambda m, Y: m.add(
        "Reshape", m.add("Transpose", Y[0], perm=[0, 2, 3, 1]), m.ints(0, 0, -1)
    ),
    "the last state": _from_states,
}


# Between, on X [T, B, F]


def _halves(m, x, axis=2):
    half = m.features // 2
    return m.add("Concat", *m.split(x, axis, [half, m.features - half]), axis=axis)


def _twice_transposed(m, x):
    perm = m.one_of([[1, 0, 2], [0, 2, 1], [2, 1, 0]])
    return m.add("Transpose", m.add("Transpose", x, perm=perm), perm=perm)


def _dropout(m, x, training=None):
    if m.opset < 12:
        return m.add("Dropout", x, ratio=0.4)
    inputs = [x, m.const(0.4, np.float32)]
    if training is not None or m.chance(0.5):
        inputs.append(m.const(bool(training), bool))
    return m.add("Dropout", *inputs)


def _cast(m, x, way):
    return m.add("Cast", m.add("Cast", x, to=way), to=TensorProto.FLOAT)


def _own_shape(m, x):
    return m.add("Reshape", x, m.add("Shape", x))


def _flat_and_back(m, x):
    flat = m.add("Reshape", x, m.ints(-1, m.features))
    return m.add("Reshape", flat, m.add("Shape", x))


HARMLESS: dict[str, Callable[..., Any]] = {
    "Identity": lambda m, x: m.add("Identity", x),
    "Dropout": _dropout,
    "wider and back": lambda m, x: _cast(m, x, TensorProto.DOUBLE),
    "a whole Slice": lambda m, x: m.slice(x, m.one_of([0, 1, 2, -1]), 0, FAR),
    "a Slice to its size": lambda m, x: m.add(
        "Slice", x, m.ints(0), m.size(x, 0), m.ints(0)
    ),
    "two Transposes": _twice_transposed,
    "Unsqueeze, Squeeze": lambda m, x: m.axes("Squeeze", m.axes("Unsqueeze", x, 1), 1),
    "its own shape": _own_shape,
    "flat and back": _flat_and_back,
    "features split and joined": _halves,
    "Expand to its own shape": lambda m, x: m.add("Expand", x, m.add("Shape", x)),
    "Tile by 1": lambda m, x: m.add("Tile", x, m.ints(1, 1, 1)),
}


def _gathered(m, x):
    axis = m.one_of([0, 1, 2])
    places = m.one_of([[0, 1], [1, 0], [0, 0], [-1, -2], [0]])
    if axis == 2:
        places = m.one_of([[*range(m.features)][::-1], [0] * m.features])
    return m.add("Gather", x, m.ints(*places), axis=axis)


def _mixed(m, x):
    """Rows for steps: the numbers of another shape of the same size."""
    swapped = m.add("Concat", m.size(x, 1), m.size(x, 0), m.ints(m.features), axis=0)
    return m.add("Reshape", x, swapped)


def _rolled(m, x):
    axis = m.one_of([0, 2])
    return m.add("Concat", m.slice(x, axis, 1, FAR), m.slice(x, axis, 0, 1), axis=axis)


HARMFUL: dict[str, Callable[..., Any]] = {
    "the last steps": lambda m, x: m.slice(x, 0, -3, FAR),
    "the first steps": lambda m, x: m.slice(x, 0, 0, 3),
    "the first rows": lambda m, x: m.slice(x, 1, 0, 3),
    "the last rows": lambda m, x: m.slice(x, 1, -2, FAR),
    "many steps": lambda m, x: m.slice(x, 0, 0, m.one_of([5, 9, 1000])),
    "all but one step": lambda m, x: m.slice(x, 0, 1, FAR),
    "all but the last step": lambda m, x: m.slice(x, 0, 0, -1),
    "every other step": lambda m, x: m.slice(x, 0, 0, FAR, 2),
    "steps backwards": lambda m, x: m.slice(x, 0, -1, -FAR, -1),
    "features backwards": lambda m, x: m.slice(x, 2, -1, -FAR, -1),
    "Gather": _gathered,
    "steps as rows": lambda m, x: m.add("Transpose", x, perm=[1, 0, 2]),
    "steps for rows": _mixed,
    "rolled": _rolled,
    "Relu": lambda m, x: m.add("Relu", x),
    "narrower and back": lambda m, x: _cast(m, x, TensorProto.FLOAT16),
    "Add": lambda m, x: m.add("Add", x, m.floats(m.features)),
    "Mul": lambda m, x: m.add("Mul", x, m.const([2], np.float32)),
    "Sum of both": lambda m, x: m.add("Add", x, x),
}

OTHERS = {*HARMFUL, *MIXING, *COMPUTED, *COMPUTED_LENGTHS}
NEEDS = {
    "zeros": 9,
    "ones": 9,
    **dict.fromkeys(
        [
            "a learned state",
            "one learned state",
            "a sum",
            "a state of all layers",
            "a function of a parameter",
            "the state of the layer below",
            "a function of the inputs",
            "all steps",
            "two steps",
            "Expand to its own shape",
        ],
        8,
    ),
    "a Slice to its size": 10,
}
"""The opset that has the operators of a construct."""

CONSTRUCTS = tuple(
    name
    for table in (SOURCES, STATES, COMPUTED, LENGTHS, COMPUTED_LENGTHS)
    for name in table
) + tuple(name for table in (JOINS, MIXING, HARMLESS, HARMFUL) for name in table)
