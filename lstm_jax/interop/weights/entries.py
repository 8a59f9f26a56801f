"""What a file holds, before its numbers are read: names, shapes, and how to read."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lstm_jax.interop.errors import InteropError, UnsupportedError

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DTYPES = frozenset(("bool", *INTEGERS, *FLOATS))
"""The numbers that are read."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    Args:
        shape: its shape; ``None`` of what is not an array.
        dtype: the name of its dtype.
        load: reads the numbers.
        refusal: why it is not read; empty if it is.
        parametrised: it stands for tensors from which a module computes a weight.
        doubt: what the file does not say of the layer; the weights are read once the
            user names the layout.
        merge: how the file says that the outputs of this layer's two directions are
            joined; empty if it does not say.
        layer: what the file calls the layer, where the name does not tell.
    """

    shape: tuple[int, ...] | None
    dtype: str
    load: Callable[[], np.ndarray]
    refusal: str = ""
    parametrised: bool = False
    doubt: str = ""
    merge: str = ""
    layer: str = ""

    def read(self) -> np.ndarray:
        """The numbers.

        Raises:
            InteropError: it is none that is read.
        """
        if self.refusal:
            raise UnsupportedError(self.refusal)
        return self.load()

    def problem(self, name: str) -> str:
        """Why these are not weights to read; empty if they are."""
        if self.refusal or self.dtype in FLOATS:
            return self.refusal
        return (
            f"{name} has dtype {self.dtype}, expected one of {', '.join(FLOATS)}; save "
            f"it as float32."
        )


Entries = dict[str, Entry]


def entry(
    name: str, shape: tuple[int, ...], dtype: str, load: Callable[[], Any]
) -> Entry:
    """The entry of an array, refused if its numbers are of an unusual kind."""
    return Entry(tuple(shape), dtype, load, unusual(name, dtype))


def unusual(name: str, dtype: str) -> str:
    """Why an array of this dtype is not read; empty if it is."""
    if dtype in DTYPES:
        return ""
    return (
        f"{name} has dtype {dtype}, expected one of {', '.join(FLOATS)}; save "
        f"it as float32."
    )


def nothing(refusal: str) -> Entry:
    """The entry of what is not an array of numbers."""

    def load():
        raise InteropError(refusal)

    return Entry(None, "", load, refusal)


def of_arrays(arrays: Mapping[str, np.ndarray]) -> Entries:
    """Entries of arrays that are read already."""
    return {
        name: Entry(array.shape, array.dtype.name, lambda array=array: array)
        for name, array in arrays.items()
    }


def by_dots(entries: Iterable[tuple[str, Entry]]) -> Entries:
    """Entries by their names, in which a slash becomes a dot.

    Raises:
        InteropError: two come to the same name.
    """
    found: Entries = {}
    for name, one in entries:
        name = name.replace("/", ".")
        if name in found:
            raise InteropError(f"{name} appears twice; / and . are the same in a name.")
        found[name] = one
    return found


TOO_LARGE = (
    "the tensors would take far more memory than the file has bytes; save them without "
    "compression, and no views of few numbers."
)


class Budget:
    """Bytes that may still be taken; see `lstm_jax.interop.files.formats.bound`."""

    def __init__(self, limit: int):
        self.left = limit

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise InteropError(TOO_LARGE)
