"""Finds the recurrent layers of a file by the names and shapes of its tensors.

Every layout is tried behind every prefix. Nothing is guessed. A layer is found if all
tensors of a layout are present with matching shapes. If two layouts fit and would be
read differently, both are reported.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lstm_jax.interop.layout import LAYOUTS, Layout
from lstm_jax.interop.weights.layer import layer_sizes
from lstm_jax.interop.weights.names import layers_and_ways, place, spell, uneven

Shapes = Mapping[str, tuple[int, ...] | None]
"""Maps names to shapes of any dtype; ``None`` for an entry that is not an array."""

WORDS = {
    "lstm": "LSTM",
    "cifg": "LSTM with coupled gates",
    "gru": "GRU",
    "gru_reset_before": "GRU (reset before)",
    "rnn": "RNN",
    "conv_lstm": "ConvLSTM",
}
MOST_STEPS = 4
"""The most path steps behind a prefix: layer, direction, and a tensor in a module."""

SHOWN = 8
"""The most layers that an error lists."""


class Found(NamedTuple):
    """A layer, or a stack of layers, in a file.

    Attributes:
        prefix: the common start of the names of its tensors.
        layouts: the layouts that fit; more than one if they would be read differently.
        sizes: ``D``, ``H``, ``P`` and ``K`` of every layer.
        directions: 1 or 2.
        names: names of its tensors, with the prefix.
        strangers: names in the same module that the layout does not know. The layer is
            refused for them.
        missing: tensors that some of its layers or directions have and others lack. The
            layer is refused for them.
    """

    prefix: str
    layouts: tuple[str, ...]
    sizes: tuple[Mapping[str, Any], ...]
    directions: int
    names: frozenset[str]
    strangers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __str__(self):
        cells = dict.fromkeys(WORDS[LAYOUTS[name].cell] for name in self.layouts)
        first, units = self.sizes[0], dict.fromkeys(s["H"] for s in self.sizes)
        layers = f"{len(self.sizes)} layer{'s' if len(self.sizes) > 1 else ''}"
        words = [" or ".join(cells), layers]
        words += ["2 directions"] if self.directions == 2 else []
        words += [f"{first['D']} features"]
        words += [f"{', '.join(map(str, units))} units"]
        words += [f"projected to {first['P']}"] if first["P"] != first["H"] else []
        words += [f"kernel {'x'.join(map(str, first['K']))}"] if first["K"] else []
        return f"{self.prefix!r}: {' or '.join(self.layouts)}, {', '.join(words)}"


def find_layers(shapes: Shapes, layouts: Sequence[str] = ()) -> list[Found]:
    """All recurrent layers, in the order of the prefixes.

    Args:
        shapes: shapes of all tensors of a file.
        layouts: the layouts to look for, by default all. A layout that a dense layer
            fits too (``Layout.scope``) counts by default only if the path says what it
            is.

    >>> kernels = {"rnn.kernel": (3, 20), "rnn.recurrent_kernel": (5, 20)}
    >>> for found in find_layers(kernels | {"rnn.bias": (20,), "head.kernel": (5, 2)}):
    ...     print(found)
    'rnn.': keras or haste, LSTM, 1 layer, 3 features, 5 units
    """
    named = [LAYOUTS[name] for name in layouts]
    tried = named or [
        one for one in LAYOUTS.values() if not one.name.startswith("onnx")
    ]
    found: dict[Any, Found] = {}
    folders: dict[str, list[str]] = {}
    for name in shapes:
        folders.setdefault(_folder(name), []).append(name)
    for layout in tried:
        for prefix, inner in _behind_prefixes(layout, shapes):
            if not named and layout.scope.lower() not in prefix.lower():
                continue
            one, reading = _read(layout, prefix, inner, shapes, folders)
            if one is not None and reading not in found:
                found[reading] = one
    return sorted(_largest(_joined(found.values())), key=lambda one: one.prefix)


def _behind_prefixes(layout: Layout, names: Iterable[str]):
    """Prefixes, each with the names behind it that the layout knows.

    Names of one cell and names of a stack are kept separate.
    """
    groups: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        steps = name.split(".")
        for n in range(max(len(steps) - MOST_STEPS, 0), len(steps)):
            inner = ".".join(steps[n:])
            if (at := place(layout, inner)) is not None:
                key = (name.removesuffix(inner), at == (None, None))
                groups.setdefault(key, []).append(inner)
    return [(prefix, inner) for (prefix, _), inner in groups.items()]


def _read(layout, prefix, inner, shapes, folders):
    """What these tensors are and how to read them; ``None`` if they do not fit."""
    problems: list[str] = []
    places = {at for name in inner if (at := place(layout, name))}
    layers, ways = layers_and_ways(layout, places, len(inner), problems)
    sizes, reading = [], set()
    there = {name: shapes[prefix + name] for name in inner}
    for layer in layers:
        both = []
        for way in ways:
            to_name = functools.partial(spell, layout, layer, way)
            both.append(layer_sizes(layout, there, problems, to_name))
            reading |= _reading(layout, layer, way, to_name, there)
        if both[0] != both[-1]:
            problems.append("the two directions differ")
        sizes.append(both[0])
    if problems or not _meet(sizes, len(ways)):
        return None, None
    names = frozenset(prefix + name for name in inner)
    beside = [n for folder in {*map(_folder, names)} for n in folders[folder]]
    behind = (name.removeprefix(prefix) for name in beside)
    strangers = tuple(name for name in behind if not place(layout, name))
    found = (prefix, (layout.name,), tuple(sizes), len(ways), names, strangers)
    one = Found(*found, tuple(uneven(layout, inner)))
    facts = (layout.cell, layout.forget_bias, layout.negated, layout.spatial)
    return one, (prefix, frozenset(reading), *facts)


def _reading(layout, layer, way, to_name, there):
    """The destination of each part of a tensor. Two layouts with equal destinations
    read the same.
    """
    layer, way = layer or 0, bool(way)
    facts = lambda one: (one.parts, one.transposed, one.stacked, one.cudnn)
    return {
        (to_name(name), layer, way, gates, facts(tensor))
        for tensor in layout.tensors
        for name, gates in tensor.names().items()
        if to_name(name) in there
    }


def _meet(sizes, ways):
    """Whether every layer reads the outputs of the layer below, for
    some way to merge.
    """
    below = [{s["P"], s["P"] * ways} for s in sizes[:-1]]
    return all(s["D"] in out for s, out in zip(sizes[1:], below, strict=True))


def _joined(found: Iterable[Found]) -> list[Found]:
    """Merges layouts that fit the same tensors."""
    by_names: dict[tuple[str, frozenset[str]], Found] = {}
    for one in found:
        key = (one.prefix, one.names)
        other = by_names.get(key)
        layouts = (*other.layouts, *one.layouts) if other else one.layouts
        by_names[key] = (other or one)._replace(layouts=layouts)
    return [*by_names.values()]


def _largest(found: list[Found]) -> list[Found]:
    """Drops a layout if another explains its tensors better: all tensors of a module,
    or more of them.
    """

    def better(one, other):
        if one.names < other.names:
            return not other.strangers or bool(one.strangers)
        return bool(one.strangers) and not other.strangers

    sharing: dict[str, list[Found]] = {}
    for one in found:
        for name in one.names:
            sharing.setdefault(name, []).append(one)
    rivals = lambda one: (other for name in one.names for other in sharing[name])
    return [one for one in found if not any(better(one, r) for r in rivals(one))]


def _folder(name):
    return name.rpartition(".")[0]


def own_names(layout: Layout, names: Iterable[str]) -> list[str]:
    """Splits the names behind a prefix into those that the layout knows and the rest.

    A name in another module belongs to another layer. An unknown name in the same
    module is one that the layout should know.
    """
    names = [*names]
    known = {name for name in names if place(layout, name)}
    folders = {*map(_folder, known)}
    return [name for name in names if name in known or _folder(name) in folders]


def listing(lines: Sequence[str], most: int | None = None) -> str:
    """The layers found, in one line, for the end of an error."""
    if not lines:
        return "the file has no recurrent layer that is known here"
    shown = lines[: most or len(lines)]
    if len(shown) == len(lines):
        return "; ".join(shown)
    more = len(lines) - len(shown)
    return f"{'; '.join(shown)}; and {more} more (lstm-jax import FILE --list)"
