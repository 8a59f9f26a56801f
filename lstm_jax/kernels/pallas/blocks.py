"""How rows and units are divided over the programs of a kernel.

A program computes one block of rows and one block of units, at all steps. It holds the
recurrent weights of its units, so it reads them from memory once. The programs with the
same rows exchange their results after every step. So all of them must run at once.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float

LEAST = 16
"""The smallest factor in a product of Triton."""

MOST_ROWS = 64
ALONE = 64
"""Up to this many units, one program has all of them, and waits for no other."""

BYTES = 220 * 1024
"""Limit for the factors of a program's products. Tensor cores read them from shared
memory. An H100 has 227 KiB of it per multiprocessor; other GPUs have less."""

PROCESSORS = 132
"""Of an H100, where JAX does not know the number of multiprocessors."""


class Blocks(NamedTuple):
    """The sizes of the blocks. All of them are powers of two."""

    rows: int
    units: int
    row_blocks: int
    unit_blocks: int
    depth: int
    """All units, filled up to a power of two: the length of the sums."""

    @classmethod
    def of(cls, B: int, H: int, dtype: Any) -> "Blocks":
        """The blocks for ``B`` rows and ``H`` units. Not tuned on a GPU yet."""
        depth = _power(H)
        rows = min(_power(B), MOST_ROWS)
        units = depth if depth <= ALONE else LEAST
        while rows > LEAST and _bytes(rows, units, depth, dtype) > BYTES:
            rows //= 2
        return cls(rows, units, -(-B // rows), -(-H // units), depth)

    @property
    def warps(self) -> int:
        """More threads have more registers for the sums."""
        return 4 if self.depth <= 256 else 8

    def pad(self, a: Float[Array, "... B H"]) -> Float[Array, "... _ _"]:
        """Whole blocks of rows, and `depth` units. What is added is 0."""
        *rest, B, H = a.shape
        ends = (self.rows * self.row_blocks - B, self.depth - H)
        return jnp.pad(a, [(0, 0)] * len(rest) + [(0, n) for n in ends])

    def pack(self, w: Float[Array, "4 H H"]) -> Float[Array, "_ 4 _ _"]:
        """The weights ``w[gate, from, to]`` by blocks of the units ``to``."""
        H, width = w.shape[-1], self.unit_blocks * self.units
        w = jnp.pad(w, [(0, 0), (0, self.depth - H), (0, width - H)])
        w = w.reshape(4, self.depth, self.unit_blocks, self.units)
        return w.transpose(2, 0, 1, 3)


def too_large(H: int, dtype: Any) -> str | None:
    """Says why the weights of ``H`` units do not fit; ``None`` if they do."""
    blocks = Blocks.of(1, H, dtype)
    if _bytes(LEAST, blocks.units, blocks.depth, dtype) > BYTES:
        fits = lambda depth: _bytes(LEAST, LEAST, depth, dtype) <= BYTES
        most = max(2**n for n in range(16) if fits(2**n))
        name = jnp.dtype(dtype).name
        return (
            f"a program holds the weights of its units, which fit up to "
            f"hidden_size={most} in {name}, not {H}."
        )
    if blocks.unit_blocks > (count := processors()):
        return (
            f"hidden_size={H} takes {blocks.unit_blocks} programs at once, and this "
            f"GPU has {count} multiprocessors."
        )
    return None


def processors() -> int:
    """The number of multiprocessors of the first device."""
    return getattr(jax.devices()[0], "core_count", None) or PROCESSORS


def _bytes(rows, units, depth, dtype):
    """Of the weights ``[4, depth, units]`` and the states ``[rows, depth]``.

    float32 is split into two factors of TF32, which both have 4 bytes.
    """
    size = jnp.dtype(dtype).itemsize
    copies = 2 if size == 4 else 1
    return copies * size * depth * (4 * units + rows)


def _power(n):
    return max(LEAST, 1 << (n - 1).bit_length())
