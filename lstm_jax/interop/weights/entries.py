"""The entries of a file before reading the numbers: names, shapes, how to read."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lstm_jax.interop.errors import InteropError, UnsupportedError

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DTYPES = frozenset(("bool", *INTEGERS, *FLOATS))
"""The dtypes that can be read."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    Args:
        shape: its shape; ``None`` if it is not an array.
        dtype: the name of its dtype.
        load: reads the numbers.
        refusal: why it cannot be read; empty if it can.
        parametrised: whether it stands for tensors from which a module computes a
            weight.
        doubt: what the file does not say about the layer. The weights are read only if
            the user names the layout.
        merge: how the file joins the outputs of the two directions of this layer; empty
            if it does not say.
        layer: the name of the layer in the file, if the tensor's name does not contain
            it.
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
            InteropError: this entry cannot be read.
        """
        if self.refusal:
            raise UnsupportedError(self.refusal)
        return self.load()

    def problem(self, name: str) -> str:
        """Why this entry cannot be read as weights; empty if it can."""
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
    """The entry of an array. It is refused if its dtype is unusual."""
    return Entry(tuple(shape), dtype, load, unusual(name, dtype))


def unusual(name: str, dtype: str) -> str:
    """Why an array of this dtype cannot be read; empty if it can."""
    if dtype in DTYPES:
        return ""
    return (
        f"{name} has dtype {dtype}, expected one of {', '.join(FLOATS)}; save "
        f"it as float32."
    )


def nothing(refusal: str) -> Entry:
    """The entry of something that is not an array of numbers."""

    def load():
        raise InteropError(refusal)

    return Entry(None, "", load, refusal)


def of_arrays(arrays: Mapping[str, np.ndarray]) -> Entries:
    """Entries of arrays that are already in memory."""
    return {
        name: Entry(array.shape, array.dtype.name, lambda array=array: array)
        for name, array in arrays.items()
    }


def by_dots(entries: Iterable[tuple[str, Entry]]) -> Entries:
    """Entries by name. A slash in a name becomes a dot.

    Raises:
        InteropError: two entries get the same name.
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
    """The number of bytes that may still be used; see
    `lstm_jax.interop.files.formats.bound`.
    """

    def __init__(self, limit: int):
        self.left = limit

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise InteropError(TOO_LARGE)
