"""Long sequences in chunks: the length of a chunk, and the loop over the chunks.

Each chunk is projected just before it runs. So the projection of the whole sequence,
which is larger than any cache, never exists. Under ``jax.checkpoint`` a chunk stores
only its carry and is computed again in the backward pass (Chen et al., "Training Deep
Nets with Sublinear Memory Cost", 2016).
"""

import math

import jax
import jax.numpy as jnp
from jax import lax


def chunk_length(xs, cell, remat: bool | int) -> int | None:
    """Steps in a chunk, or ``None`` for the whole sequence at once. Symbolic sizes of
    ``jax.export`` give ``None``, because they cannot be compared.
    """
    T, B, H = xs.shape[0], math.prod(xs.shape[1:-1]), cell.hidden_size
    if not all(isinstance(n, int) for n in xs.shape):
        if remat:
            raise NotImplementedError(
                f"remat is {remat}, but chunks need a known number of steps and xs has "
                f"the symbolic shape {xs.shape}; leave remat out, or export one shape."
            )
        return None
    if T == 0:
        return None
    if remat is True:
        return _divisor_or(math.isqrt(T - 1) + 1, T)
    if remat:
        return min(remat, T)
    return piece_length(T, B, H, xs.dtype.itemsize)


def piece_length(T: int, B: int, H: int, itemsize: int) -> int | None:
    """Steps that are projected at a time if nothing is recomputed.

    At T=4096, B=8, D=H=256 the gradient takes 9 T*B*H floats instead of 15, and the
    forward pass takes a fifth less time. Each piece does one product for the weight
    gradient. A piece has enough rows to keep these products cheap.
    """
    least = -(-max(1024, 2 * H) // max(B, 1))
    if T * B * 4 * H * itemsize < 16 * 2**20 or 2 * least > T:
        return None
    return _divisor_or(least, T)


def _divisor_or(least, T):
    """A divisor of ``T`` a little above ``least``; if there is none, ``least``."""
    near = range(least, min(4 * least, T) + 1)
    return next((n for n in near if T % n == 0), least)


def scan_chunks(chunk, carry, steps, length: int, reverse: bool, remat: bool):
    """Runs ``chunk(carry, steps)`` on ``length`` steps at a time, then on the rest."""
    T = jax.tree.leaves(steps)[0].shape[0]
    count, whole = T // length, T - T % length
    in_loop = jax.checkpoint(chunk, prevent_cse=False) if remat else chunk
    # Outside a loop, XLA would merge the recomputation with the first computation.
    chunk = jax.checkpoint(chunk) if remat else chunk

    def scan(carry, steps):
        if count == 1:  # XLA unrolls a loop of one step anyway.
            return chunk(carry, steps)
        cut = lambda a: a.reshape(count, length, *a.shape[1:])
        carry, hs = lax.scan(in_loop, carry, jax.tree.map(cut, steps), reverse=reverse)
        return carry, hs.reshape(whole, *hs.shape[2:])

    if whole == T:
        return scan(carry, steps)
    head = jax.tree.map(lambda a: a[:whole], steps)
    rest = jax.tree.map(lambda a: a[whole:], steps)
    if reverse:
        carry, last = chunk(carry, rest)
        carry, first = scan(carry, head)
    else:
        carry, first = scan(carry, head)
        carry, last = chunk(carry, rest)
    return carry, jnp.concatenate([first, last])
