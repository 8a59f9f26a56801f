"""What both directions share: numbering, waiting and launching of programs.

The loop over the steps runs inside the kernel. After each step, a program stores its
block of the state in memory, and waits until all programs with the same rows have done
so:

* All programs with the same rows must run at once. So programs take their numbers from
  a counter when they start. Those that run then have the lowest numbers, and none waits
  for one that cannot start before it ends. There may be more programs than the GPU can
  run at once.
* All threads of a program store its block and meet at a barrier. Then one thread adds
  1 to the counter of the rows, which releases the stores of the whole program. When all
  programs have arrived, it adds 0, which acquires the stores of the others.
* The blocks of other programs are read by volatile loads. No compiler moves these, and
  the cache of a multiprocessor does not answer them.
* Triton may not load for the next step ahead of the barrier, so ``num_stages`` is 1.
* The exchanged blocks alternate between two places. A program that is a step ahead
  writes to the place that no other reads.

In interpret mode, programs run one after another, so none can wait for a later one. A
launch then runs a single step, unless one program has all units.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from lstm_jax._types import Array, PyTree
from lstm_jax.core.precision import keeps_all_bits
from lstm_jax.kernels.pallas.blocks import Blocks

MOST_ELEMENTS = 2**31
"""Of an array in a launch: Triton's addresses are 32-bit numbers of elements."""


class Program(NamedTuple):
    """One program of a launch, and its block ``[rows, units]``."""

    counters: Any
    """The number of programs that have started, and of arrivals by block of rows."""
    blocks: Blocks
    size: tuple[int, int]
    """The number of all rows and of all units."""
    row_block: Array
    unit_block: Array

    @classmethod
    def start(cls, counters, blocks: Blocks, size: tuple[int, int]) -> "Program":
        """A program that takes the next number."""
        number = plgpu.atomic_add(counters, (_index(0),), jnp.int32(1))
        by, at = blocks.unit_blocks, number // blocks.unit_blocks
        return cls(counters, blocks, size, at, number - at * by)

    def load(self, ref, *step, gate: int = 0) -> Array:
        """The block of an array ``[..., B, n * H]``; 0 outside of it."""
        at = ref.at[(*step, *self._index(gate))]
        return plgpu.load(at, mask=self.inside(), other=_zero(ref))

    def store(self, ref, value: Array, *step, gate: int = 0) -> None:
        """Writes what `load` reads."""
        at = ref.at[(*step, *self._index(gate))]
        plgpu.store(at, value.astype(ref.dtype), mask=self.inside())

    def flags(self, ref, t) -> Array:
        """The flags ``[rows, 1]`` of a step ``[B]``; False outside of them."""
        rows = self._rows()
        flags = plgpu.load(ref.at[t, rows], mask=rows < self.size[0], other=False)
        return flags[:, None]

    def receive(self, ref, *place) -> Array:
        """What all programs with these rows have shared: ``[rows, depth]``."""
        rows = pl.ds(self.row_block * self.blocks.rows, self.blocks.rows)
        return plgpu.load(
            ref.at[(*map(_index, place), rows, slice(None))], volatile=True
        )

    def own(self, ref, *place) -> Array:
        """This program's block of what `receive` reads."""
        return plgpu.load(ref.at[(*map(_index, place), *self._own())])

    def share(self, ref, value: Array, *place) -> None:
        """Writes this program's block of what `receive` reads."""
        # Units that only fill a block must stay 0: 0 times an infinity is NaN.
        value = jnp.where(self.inside(), value, jnp.zeros_like(value))
        plgpu.store(
            ref.at[(*map(_index, place), *self._own())], value.astype(ref.dtype)
        )

    def meet(self, round: Array, interpret: bool) -> None:
        """Waits until all programs with these rows are here for the ``round``-th time,
        from 1.
        """
        rows = 1 + self.row_block
        if not interpret:
            plgpu.debug_barrier()
        plgpu.atomic_add(self.counters, (rows,), jnp.int32(1))
        arrivals = round * self.blocks.unit_blocks
        seen = lax.while_loop(
            lambda seen: seen < arrivals,
            lambda _: plgpu.load(self.counters.at[rows], volatile=True),
            jnp.int32(0),
        )
        # The loads above order nothing, and JAX drops a loop that has no result. So a 0
        # that comes of the loop is added, which orders what follows.
        plgpu.atomic_add(self.counters, (rows,), jnp.minimum(seen, 0))
        if not interpret:
            plgpu.debug_barrier()

    def inside(self) -> Array:
        """Which elements of the block are rows and units of the arrays."""
        B, H = self.size
        return (self._rows() < B)[:, None] & (self._units() < H)[None, :]

    def _rows(self):
        n = self.blocks.rows
        return self.row_block * n + jnp.arange(n, dtype=jnp.int32)

    def _units(self):
        n = self.blocks.units
        return self.unit_block * n + jnp.arange(n, dtype=jnp.int32)

    def _index(self, gate):
        units = gate * self.size[1] + self._units()
        return self._rows()[:, None], units[None, :]

    def _own(self):
        starts = (
            (self.row_block, self.blocks.rows),
            (self.unit_block, self.blocks.units),
        )
        return tuple(pl.ds(block * n, n) for block, n in starts)


def product(a: Array, w: Array, interpret: bool) -> Array:
    """``a @ w``, summed in float32.

    Products of float32 keep all bits, unless the user asks for less: the tensor cores
    compute each as three products of TF32, which together are as good as float32.
    """
    precision = None
    if interpret:
        precision = lax.Precision.HIGHEST
    elif a.dtype == jnp.float32:
        preset = lax.DotAlgorithmPreset
        three, one = preset.TF32_TF32_F32_X3, preset.TF32_TF32_F32
        precision = three if keeps_all_bits() else one
    return lax.dot(a, w, precision=precision, preferred_element_type=jnp.float32)


def each_step(
    program: Program, T: int, reverse: bool, interpret: bool, step: Callable, state: Any
) -> Any:
    """Runs ``state = step(n, t, state)`` for the ``n``-th step, at time ``t``."""

    def run(n, state):
        # Python's numbers count with 64 bits in x64 mode.
        n = lax.convert_element_type(n, jnp.int32)
        state = step(n, T - 1 - n if reverse else n, state)
        if T > 1:
            program.meet(n + 1, interpret)
        return state

    return lax.fori_loop(0, T, run, state) if T > 1 else run(0, state)


def launch(
    name: str,
    kernel: Callable,
    inputs: Sequence[Any],
    exchange: Array,
    out: dict[str, jax.ShapeDtypeStruct],
    blocks: Blocks,
    interpret: bool,
) -> dict[str, Array]:
    """Runs ``kernel(counters, exchange, *inputs, **out)`` in all programs."""
    counters = jnp.zeros(1 + blocks.row_blocks, jnp.int32)
    shared = [jax.typeof(a) for a in (counters, exchange)]
    like = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in shared]

    def body(*refs):
        # An array that is read and written is an input and an output.
        inputs, (counters, exchange, *rest) = refs[2:-n], refs[-n:]
        kernel(counters, exchange, *inputs, **dict(zip(out, rest, strict=True)))

    n = 2 + len(out)
    body.__name__ = body.__qualname__ = name
    run = pl.pallas_call(
        body,
        out_shape=[*like, *out.values()],
        grid=(blocks.row_blocks * blocks.unit_blocks,),
        input_output_aliases={0: 0, 1: 1},
        compiler_params=plgpu.CompilerParams(num_warps=blocks.warps, num_stages=1),
        interpret=interpret,
        name=name,
    )
    arrays = run(counters, exchange, *inputs)[2:]
    return dict(zip(out, arrays, strict=True))


def in_pieces(
    run: Callable[[PyTree, Any], tuple[Any, PyTree]],
    steps: PyTree,
    state: Any,
    most: int,
    reverse: bool,
) -> tuple[Any, PyTree]:
    """``run(steps, state)`` for up to ``most`` steps at a time: the last state, and
    outputs by step.
    """
    T = len(jax.tree.leaves(steps)[0])
    outputs = []
    for n in range(math.ceil(T / most)):
        begin, end = n * most, min((n + 1) * most, T)
        piece = slice(T - end, T - begin) if reverse else slice(begin, end)
        state, out = run(jax.tree.map(lambda a: a[piece], steps), state)  # noqa: B023
        outputs.append(out)
    if reverse:
        outputs.reverse()
    return state, jax.tree.map(lambda *out: jnp.concatenate(out), *outputs)


def most_steps(blocks: Blocks, rows: int, units: int, interpret: bool) -> int:
    """How many steps one launch may run."""
    if interpret and blocks.unit_blocks > 1:
        return 1
    return max(1, (MOST_ELEMENTS - 1) // (rows * 4 * units))


def _index(n):
    """The interpreter takes no plain number as an index."""
    return n if isinstance(n, jax.Array) else jnp.full((), n, jnp.int32)


def _zero(ref):
    return jnp.zeros((), ref.dtype)
