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

BYTES = 128 * 1024
"""Of weights in a program. Registers and shared memory of a multiprocessor have about
450 KiB on an H100. The block of states, the gates and copies of the weights in another
layout have the rest."""

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
    def of(cls, B: int, H: int) -> "Blocks":
        """The blocks for ``B`` rows and ``H`` units. Not tuned on a GPU yet."""
        depth = _power(H)
        rows = min(_power(B), MOST_ROWS)
        units = depth if depth <= ALONE else LEAST
        return cls(rows, units, -(-B // rows), -(-H // units), depth)

    @property
    def warps(self) -> int:
        """Enough threads for their registers to hold the weights."""
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
    blocks, size = Blocks.of(1, H), jnp.dtype(dtype).itemsize
    if 4 * blocks.depth * blocks.units * size > BYTES:
        most = BYTES // (4 * LEAST * size)
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


def _power(n):
    return max(LEAST, 1 << (n - 1).bit_length())
