"""The types of the results of a kernel: zeros of their shapes, which vary and are
sharded as the results are.
"""

import jax
import jax.numpy as jnp

from lstm_jax.core.sharding import vary_alike
from lstm_jax.kernels.lstm.kernel import Kernel
from lstm_jax.kernels.lstm.operands import WEIGHTS, Operands, Outputs
from lstm_jax.kernels.lstm.places import places
from lstm_jax.kernels.lstm.shards import Place, rows_of, zeros


def forward(kernel: Kernel, at: Operands, *, reverse, residuals):
    """Zeros for ``Outputs``, and for the residuals or ``None``."""
    del reverse
    rows = rows_of(_arrays(at), places(kernel, at))
    kept = kernel.residuals(at, rows) if residuals else None
    return vary_alike((_outputs(at, rows), kept), at)


def tangent(kernel: Kernel, at: Operands, residuals, d, *, reverse, groups):
    """Zeros for ``Outputs``."""
    del reverse
    there = places(kernel, at, residuals, d, groups=groups)
    rows = rows_of(_arrays(at, residuals, d), there)
    return vary_alike(_outputs(at, rows), (at, d))


def backward(kernel: Kernel, at: Operands, residuals, d_out, *, wrt, reverse, groups):
    """Zeros for the gradients, by name."""
    del reverse
    there = places(kernel, at, residuals, d_out)
    rows = rows_of(_arrays(at, residuals, d_out), there)
    return gradients(at, d_out, rows, wrt=wrt, groups=groups)


def gradients(at: Operands, d_out: Outputs, rows, *, wrt, groups):
    """Zeros for the gradients, by name, with this sharding of the rows."""
    arrays = {name: getattr(at, name) for name in wrt}
    if groups:
        for name in arrays.keys() & set(WEIGHTS):
            shape = (*at.h0.shape[:groups], *arrays[name].shape)
            arrays[name] = zeros(shape, arrays[name].dtype, rows, Place(0, groups))
    return vary_alike(jax.tree.map(jnp.zeros_like, arrays), (at, d_out))


def _outputs(at, rows):
    (T, *batch, _), H = at.xs.shape, at.h0.shape[-1]
    row, step = (Place(axis, len(batch)) for axis in (0, 1))
    state = lambda like: zeros((*batch, H), like.dtype, rows, row)
    hs = zeros((T, *batch, H), at.h0.dtype, rows, step)
    return Outputs(hs, state(at.h0), state(at.c0))


def _arrays(*args):
    return jax.tree.leaves(args)
