"""What is known of a graph's value before the graph runs.

    Known     its numbers
    Moved     it is what a layer or an input of the graph holds, with its axes moved
    Hidden    its shape alone

All three have the same methods, one for each operator that moves numbers. Sizes may be
symbols (`Size`), so the result holds for any number of steps and rows. Nothing is
tested on examples. If the answer would depend on a size, the result is `Hidden`, or an
error of `MALFORMED`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.interop.onnx.sizes import Size, exact_quotient, fresh, product

FAR = 2**31 - 1
"""A slice that ends here ends with the axis, for any size."""


class Value:
    """One of the three kinds; ``shape`` has integers and sizes."""

    shape: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def axis(self, axis: int) -> int:
        """The same axis, as a non-negative index."""
        if not -self.ndim <= axis < self.ndim:
            raise ValueError(f"axis {axis} of {self.ndim}")
        return int(axis) % self.ndim

    def squeeze(self, axes: Sequence[int] | None) -> Any:
        if axes is None:
            # The set of axes of size 1 must not depend on the sizes.
            if any(isinstance(size, Size) for size in self.shape):
                raise ValueError("which axes have the size 1 is not known")
            axes = [n for n, size in enumerate(self.shape) if size == 1]
        gone = {self.axis(a) for a in axes}
        if any(not _is(self.shape[a], 1) for a in gone):
            raise ValueError(f"squeezes axes {sorted(gone)} of {self.shape}")
        return self.pick([n for n in range(self.ndim) if n not in gone])

    def unsqueeze(self, axes: Sequence[int]) -> Any:
        rank = self.ndim + len(axes)
        new = {int(a) % rank for a in axes if -rank <= a < rank}
        if len(new) != len(axes):
            raise ValueError(f"axes {axes} of {rank}")
        old = iter(range(self.ndim))
        return self.pick([None if n in new else next(old) for n in range(rank)])

    def transpose(self, perm: Sequence[int] | None) -> Any:
        perm = range(self.ndim)[::-1] if perm is None else perm
        if sorted(perm) != [*range(self.ndim)]:
            raise ValueError(f"perm {perm} of {self.ndim} axes")
        return self.pick(perm)

    def pick(self, axes: Sequence[int | None]) -> Any:
        """Reorders the axes; ``None`` is a new axis of size 1."""
        raise NotImplementedError

    def cut(self, axis: int, start: Any, end: Any, step: int = 1) -> Any:
        """A slice along one axis."""
        axis = self.axis(axis)
        size = self.shape[axis]
        from_start = _is(start, 0) or (not isinstance(start, Size) and start < -FAR)
        to_end = _is(end, size) or (not isinstance(end, Size) and end >= FAR)
        if step == 1 and from_start and to_end:
            return self
        if any(isinstance(n, Size) for n in (size, start, end)):
            return self._cut_somewhere(axis)
        bounds: Any = (start, end, step)
        places = range(size)[slice(*map(int, bounds))]
        return self if places == range(size) else self._cut(axis, places)

    def _cut(self, axis, places: range) -> Any:
        return Hidden(_with(self.shape, axis, len(places)), "a slice")

    def _cut_somewhere(self, axis) -> Any:
        return Hidden(_with(self.shape, axis, fresh("slice")), "a slice")

    def reshape(self, shape: Sequence[Any]) -> Any:
        """Reshapes; ``shape`` has no -1, and no 0 that stands for another size."""
        return Hidden(tuple(shape), "Reshape")


@dataclasses.dataclass(frozen=True, eq=False)
class Hidden(Value):
    """A value that the operator ``why`` computes."""

    shape: tuple[Any, ...]
    why: str

    def pick(self, axes):
        return Hidden(_picked(self.shape, axes), self.why)


@dataclasses.dataclass(frozen=True, eq=False)
class Known(Value):
    """Known numbers; ``array`` has size 1 along axes on which nothing depends.

    So an initial state that is the same for every row is known, even if the number of
    rows is not. An array of sizes, from ``Shape``, has the dtype object.
    """

    array: np.ndarray
    shape: tuple[Any, ...]

    @classmethod
    def of(cls, array: Any) -> "Known":
        array = np.asarray(array)
        return cls(array, array.shape)

    @property
    def whole(self) -> bool:
        return self.array.shape == self.shape

    def pick(self, axes):
        order = [a for a in axes if a is not None]
        array = self.array.transpose(
            order + [n for n in range(self.ndim) if n not in order]
        ).reshape([self.array.shape[a] for a in order])
        new = [n for n, a in enumerate(axes) if a is None]
        return Known(np.expand_dims(array, tuple(new)), _picked(self.shape, axes))

    def _cut(self, axis, places):
        if self.array.shape[axis] == self.shape[axis]:
            start, step = places.start, places.step
            stop = None if places.stop < 0 else places.stop
            index = (slice(None),) * axis + (slice(start, stop, step),)
            array = self.array[index]
        else:
            array = self.array if len(places) else self.array[:0]
        return Known(array, _with(self.shape, axis, len(places)))

    def _cut_somewhere(self, axis):
        if self.array.shape[axis] != 1:
            return super()._cut_somewhere(axis)
        return Known(self.array, _with(self.shape, axis, fresh("slice")))

    def reshape(self, shape):
        if self.whole and not any(isinstance(size, Size) for size in shape):
            return Known.of(self.array.reshape([int(size) for size in shape]))
        if self.array.size == 1:
            return Known(self.array.reshape([1] * len(shape)), tuple(shape))
        return super().reshape(shape)


@dataclasses.dataclass(frozen=True)
class Moved(Value):
    """The numbers of ``source``, with axes moved, joined or cut.

    Args:
        source: the name of an output of a layer, or of an input of the graph.
        sizes: sizes of the axes of the source, by label.
        groups: for every axis of this value, the labels that are merged in it, from the
            outermost to the innermost. Axes of size 1 are in no group.
        dtype: dtype of the source.
        cuts: start and end (exclusive) of sliced axes.
    """

    source: str
    sizes: Mapping[str, Any]
    groups: tuple[tuple[str, ...], ...]
    dtype: Any
    cuts: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    @classmethod
    def whole(cls, source: str, sizes: Mapping[str, Any], dtype: Any) -> "Moved":
        groups = [() if _is(size, 1) else (label,) for label, size in sizes.items()]
        return cls(source, dict(sizes), tuple(groups), np.dtype(dtype))

    def size(self, label: str) -> Any:
        start, end = self.cuts.get(label, (0, self.sizes[label]))
        return end - start

    @property
    def shape(self) -> Any:
        return tuple(product(map(self.size, group)) for group in self.groups)

    def pick(self, axes):
        groups = tuple(() if a is None else self.groups[a] for a in axes)
        return dataclasses.replace(self, groups=groups)

    def _cut(self, axis, places):
        hidden = super()._cut(axis, places)
        group = self.groups[axis]
        if places.step != 1 or not group or not len(places):
            return hidden
        below = product(map(self.size, group[1:]))
        start, end = places.start, places.stop
        if isinstance(below, Size) or start % below or end % below:
            return hidden
        first = self.cuts.get(group[0], (0, 0))[0]
        piece = (first + start // below, first + end // below)
        kept = group[1:] if piece[1] - piece[0] == 1 else group
        return dataclasses.replace(
            self,
            cuts={**self.cuts, group[0]: piece},
            groups=_with(self.groups, axis, kept),
        )

    def reshape(self, shape):
        labels, groups = [label for group in self.groups for label in group], []
        for size in shape:
            group = []
            while not _is(product(map(self.size, group)), size):
                if not labels:
                    return super().reshape(shape)
                group.append(labels.pop(0))
            groups.append(tuple(group))
        if labels:
            return super().reshape(shape)
        return dataclasses.replace(self, groups=tuple(groups))

    def join(self, other: "Moved", axis: int) -> "Moved | None":
        """Concatenates this and ``other``, if they are neighbours in the source."""
        labels = {*self.cuts, *other.cuts}
        apart = [k for k in labels if self.cuts.get(k) != other.cuts.get(k)]
        if len(apart) != 1 or self.source != other.source:
            return None
        (label,) = apart
        pieces = [self.cuts.get(label), other.cuts.get(label)]
        strip = lambda groups: tuple(tuple(k for k in g if k != label) for g in groups)
        inner = [g[1:] if g[:1] == (label,) else g for g in self.groups]
        if None in pieces or pieces[0][1] != pieces[1][0]:  # type: ignore[index]
            return None
        if strip(self.groups) != strip(other.groups) or strip(self.groups) != (*inner,):
            return None
        for value in (self, other):
            if value.size(label) != 1 and label not in value.groups[axis][:1]:
                return None
        cuts = {**self.cuts, label: (pieces[0][0], pieces[1][1])}  # type: ignore[index]
        if cuts[label] == (0, self.sizes[label]):
            del cuts[label]
        groups = _with(strip(self.groups), axis, (label, *strip(self.groups)[axis]))
        return dataclasses.replace(self, cuts=cuts, groups=groups)


def resolve(value: Value, shape: Sequence[Any], allowzero: int = 0) -> tuple[Any, ...]:
    """The shape for ``Reshape``, with 0 and -1 replaced.

    Raises:
        ValueError: the shape is unknown, or does not fit.
    """
    shape, total = [*shape], product(value.shape)
    for n, size in enumerate(shape):
        if _is(size, 0) and not allowzero:
            shape[n] = value.shape[n]
    open_places = [n for n, size in enumerate(shape) if _is(size, -1)]
    if len(open_places) > 1:
        raise ValueError("more than one -1")
    for n in open_places:
        shape[n] = exact_quotient(total, product(s for s in shape if not _is(s, -1)))
    return tuple(shape)


def _is(size, number):
    return isinstance(size, Size) == isinstance(number, Size) and size == number


def _with(sizes, axis, size):
    return (*sizes[:axis], size, *sizes[axis + 1 :])


def _picked(shape, axes):
    return tuple(1 if a is None else shape[a] for a in axes)
