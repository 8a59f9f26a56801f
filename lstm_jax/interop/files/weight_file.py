"""Weights of whole models: reads the layers behind prefixes as one stack."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from lstm_jax.core.layers.bidirectional import Bidirectional, Merge
from lstm_jax.interop.errors import InteropError, UnsupportedError, refuse
from lstm_jax.interop.files.formats import family_of, open_tensors
from lstm_jax.interop.layout import LAYOUTS
from lstm_jax.interop.weights.entries import Entries
from lstm_jax.interop.weights.find import (
    SHOWN,
    Found,
    Shapes,
    find_layers,
    listing,
    own_names,
)
from lstm_jax.interop.weights.fold import plain_name, tidy
from lstm_jax.interop.weights.names import groups_of, place, uneven
from lstm_jax.interop.weights.stack import misfits, read_stack


class Weights(NamedTuple):
    """The weights read from a file.

    Attributes:
        params: one entry per layer, of numpy arrays.
        layouts: the layout of every prefix.
        merge: how the two directions are joined.
        left: names of the other tensors in the file.
    """

    params: tuple[Any, ...]
    layouts: tuple[str, ...]
    merge: Merge
    left: tuple[str, ...]


class WeightFile:
    """A file of weights: finds layers and reads them.

    >>> import tempfile, numpy as np
    >>> from lstm_jax.interop import write_tensors
    >>> kernels = {"lstm.weight_ih_l0": np.ones((20, 3))}
    >>> kernels |= {"lstm.weight_hh_l0": np.ones((20, 5)), "head.weight": np.ones(2)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(f"{folder}/model.npz", kernels)
    ...     file = WeightFile(f"{folder}/model.npz")
    ...     print(*file.lines())
    ...     weights = file.read(["lstm."])
    'lstm.': torch, LSTM, 1 layer, 3 features, 5 units
    >>> weights.params[0].w_x.shape, weights.layouts, weights.left
    ((3, 20), ('torch',), ('head.weight',))
    """

    def __init__(self, path: str | Path):
        """Opens a file.

        Raises:
            InteropError: as in `lstm_jax.interop.read_tensors`.
        """
        self.path = path
        self.entries: Entries = tidy(open_tensors(path))
        family = family_of(path)
        self.layouts = tuple(
            name for name in LAYOUTS if family and name.partition(".")[0] == family
        )

    @functools.cached_property
    def shapes(self) -> Shapes:
        """The shape of every tensor; ``None`` for an entry that is not an array."""
        return {name: one.shape for name, one in self.entries.items()}

    @functools.cached_property
    def found(self) -> list[Found]:
        """All recurrent layers in the file."""
        return find_layers(self.shapes, self.layouts)

    def lines(self, layout: str | None = None) -> list[str]:
        """One line for every layer, and for every tensor that may belong to another
        layer.

        Raises:
            InteropError: the file is one shard of a model.
        """
        _check_whole(self.path)
        named = find_layers(self.shapes, [layout]) if layout else self.found
        lines = [f"{found}{self._notes(found, layout)}" for found in named]
        there = {name for found in self.found for name in found.names}
        others = (n for n in self.entries if n not in there and RECURRENT.fullmatch(n))
        hidden = [self.entries[n] for n in others]
        return lines + [f"refused: {one.refusal}" for one in hidden if one.parametrised]

    def _notes(self, found, layout):
        there = {name: self.entries[name] for name in sorted(found.names)}
        first = lambda field: next((f for e in there.values() if (f := field(e))), "")
        layer, merge = first(lambda e: e.layer), first(lambda e: e.merge)
        notes = f" (layer {layer!r})" if layer else ""
        notes += f", joined by {merge}" if merge and merge != "concat" else ""
        if problem := self._problem(found):
            return f"{notes}; refused: {problem}"
        if len(found.layouts) > 1 and layout is None:
            notes += "; name one with --layout, since the tensors fit each"
        doubt = "" if layout else first(lambda e: e.doubt)
        return notes + (f"; refused: {doubt}" if doubt else "")

    def _problem(self, found):
        """Why a layer cannot be read; empty if it can."""
        if found.strangers:
            return (
                f"beside them {', '.join(found.strangers[:3])}, unknown to the layout"
            )
        problems = (self.entries[n].problem(n) for n in sorted(found.names))
        return next(filter(None, problems), "; ".join(found.missing[:3]))

    def read(
        self,
        prefixes: Sequence[str] = ("",),
        layout: str | None = None,
        merge: Merge | None = None,
    ) -> Weights:
        """The layers behind ``prefixes``, from the bottom up, as one stack.

        Args:
            prefixes: each is the start of the names of one layer, or of several layers
                in one module. ``"fwd.,bwd."`` are the two directions of the same
                layers. A ``*`` stands for every number at which there is a layer:
                ``"rnns.*."`` is ``"rnns.0."``, ``"rnns.1."`` and so on.
            layout: the layout, by default the one that fits.
            merge: how the two directions are joined; by default what the file says, or
                ``concat``.

        Raises:
            InteropError: there are no layers at the prefixes, or they do not fit
                together. The message lists the layers of the file.
            UnsupportedError: the weights alone do not define what a layer computes.
        """
        _check_whole(self.path)
        try:
            return self._read(prefixes, layout, merge)
        except InteropError as error:
            if str(self.path) in (said := str(error)):
                raise
            raise type(error)(f"{self.path}: {said}") from error

    def _read(self, prefixes, layout, merge):
        params, layouts = [], []
        if isinstance(prefixes, str):
            raise InteropError(f"prefixes is {prefixes!r}, expected a list of texts.")
        chosen = [[self._of_way(w, layout) for w in p.split(",")] for p in prefixes]
        names = {n for ways in chosen for way in ways for one in way for n in one[2]}
        merge = self._merge(names, merge)
        self._check(chosen, layout)
        for prefix, ways in zip(prefixes, chosen, strict=True):
            read = [self._layers(way, merge) for way in ways]
            params += _in_directions(prefix, read)
            layouts.append(", ".join(dict.fromkeys(o[1] for way in ways for o in way)))
        refuse("the layers do not fit together", misfits(params, merge))
        others = (n for n, e in self.entries.items() if e.shape is not None)
        left = tuple(name for name in others if name not in names)
        return Weights(tuple(params), tuple(layouts), merge, left)

    def _of_way(self, prefix, layout):
        """``(prefix, layout, names)`` of every module that matches a prefix."""
        spelled = dict.fromkeys((prefix, plain_name(prefix)))
        named = [name for name in spelled if self._under(name)]
        expanded = [one for n in named[:1] for one in self._numbered(n, layout)]
        if not expanded:
            raise InteropError(self._nothing_at(prefix, layout))
        return [(one, *self._own(one, layout)) for one in expanded]

    def _nothing_at(self, prefix, layout):
        """The message for a prefix without layers: what the file has,
        and what to type.
        """
        kind = f"layer of layout {layout}" if layout else "layer"
        said = f"no {kind} at prefix {prefix!r} in {self.path}"
        there = find_layers(self.shapes, [layout]) if layout else self.found
        if prefix and any(one.prefix == f"{prefix}." for one in there):
            return f"{said}. Prefixes end with a dot: pass --prefix {prefix}."
        if there:
            lines = listing(self.lines(layout), SHOWN)
            return f"{said}. Pass --prefix with one of: {lines}."
        return f"{said}. Found: {listing(self.lines(), SHOWN)}."

    def _check(self, chosen, layout):
        """Raises an error for layers with missing or undefined parts."""
        for ways in chosen:
            problems, groups = [], []
            for modules in ways:
                groups.append(set())
                for prefix, own, names in modules:
                    behind = [name.removeprefix(prefix) for name in names]
                    problems += uneven(LAYOUTS[own], behind)
                    groups[-1] |= groups_of(LAYOUTS[own], behind)
                    found = {n: self.entries[n].problem(n) for n in names}
                    if wrong := [said for said in found.values() if said]:
                        raise UnsupportedError(wrong[0])
                    doubts = [d for n in names if (d := self.entries[n].doubt)]
                    if doubts and layout is None:
                        raise UnsupportedError(doubts[0])
            if any(other != groups[0] for other in groups):
                problems.append(
                    "one direction has tensors, such as a bias, that the other lacks"
                )
            refuse(
                "something is missing",
                problems,
                "Read the file that has it; or, if it is so on purpose, give each "
                "layer a --prefix of its own, and each direction a run of its own.",
            )

    def _under(self, prefix):
        start = prefix.partition("*")[0]
        return [name for name in self.entries if name.startswith(start)]

    def _numbered(self, prefix, layout):
        """The prefixes that match a prefix with ``*``, in the order of numbers."""
        if prefix.count("*") > 1:
            raise InteropError(f"prefix {prefix!r} has more than one *, expected one.")
        pattern = re.compile(re.escape(prefix).replace(r"\*", r"(\d{1,9})"))
        matches = [m for name in self.entries if (m := pattern.match(name))]
        found = {(int((*m.groups(), 0)[0]), m[0]) for m in matches}
        return [one for _, one in sorted(found) if self._has_layer(one, layout)]

    def _has_layer(self, prefix, layout):
        if layout is None:
            return any(found.prefix == prefix for found in self.found)
        behind = (name.removeprefix(prefix) for name in self._under(prefix))
        return any(place(LAYOUTS[layout], name) for name in behind)

    def _own(self, prefix, layout):
        """The layout of the tensors behind a prefix, and their names."""
        if layout is None:
            fits = [n for f in self.found if f.prefix == prefix for n in f.layouts]
            if len(fits) > 1:
                raise InteropError(
                    f"the tensors behind prefix {prefix!r} fit the layouts "
                    f"{' and '.join(fits)}, which are read differently; name one with "
                    f"--layout."
                )
            (layout,) = fits
        behind = (name.removeprefix(prefix) for name in self._under(prefix))
        own = own_names(LAYOUTS[layout], behind)
        return layout, [prefix + name for name in own]

    def _merge(self, names, merge: Any) -> Merge:
        said = {m for name in names if (m := self.entries[name].merge)}
        joined = " and ".join(sorted(map(repr, said)))
        if len(said) > 1:
            raise InteropError(
                f"the file says that directions are joined by {joined}, and a stack "
                f"has one merge; import these layers as {len(said)} runs."
            )
        if merge and said and said != {merge}:
            raise InteropError(
                f"merge is {merge!r}, but the file says that directions are joined by "
                f"{joined}; pass --merge {' '.join(said)} or leave it out."
            )
        merge = merge or (said.pop() if said else "concat")
        if merge not in get_args(Merge):
            raise InteropError(
                f"merge is {merge!r}, expected one of {', '.join(get_args(Merge))}."
            )
        return merge

    def _layers(self, modules, merge):
        """All layers of one direction, from the modules of a prefix."""
        layers = []
        for prefix, layout, names in modules:
            read = {n.removeprefix(prefix): self.entries[n].read() for n in names}
            layers += read_stack(LAYOUTS[layout], read, merge)
        return layers


RECURRENT = re.compile(r"(.*\.)?((weight|bias)_[ih][hr]\w*|recurrent_kernel)")
"""Names that only recurrent layers have."""

SHARD = re.compile(r"(.*?)[-_.](\d+)-of-(\d+)(\.\w+)", re.ASCII)
"""The file name of one shard of a model."""


def _check_whole(path):
    """Raises an error for one shard of a model: a layer may continue in
    another shard.
    """
    shard = SHARD.fullmatch(Path(path).name)
    if shard is not None and int(shard[3]) > 1:
        raise InteropError(
            f"{path} is one of {int(shard[3])} parts of a model, and tensors of a "
            f"layer may be in another; pass the index of all parts, "
            f"{shard[1]}{shard[4]}.index.json."
        )


def _in_directions(prefix, read):
    if len(read) == 1:
        return read[0]
    counts = [len(layers) for layers in read]
    two = [e for layers in read for e in layers if isinstance(e, Bidirectional)]
    if len(read) > 2 or counts[0] != counts[1] or two:
        raise InteropError(
            f"prefix {prefix!r} names {' and '.join(map(str, counts))} layers"
            f"{', some in two directions' if two else ''}, expected "
            f"FORWARD,BACKWARD: the same number of layers, each of one direction."
        )
    return [*map(Bidirectional, *read)]
