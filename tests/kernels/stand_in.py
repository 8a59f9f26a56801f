"""A stand-in for cuDNN on a CPU, as strict as cuDNN may be.

`jax.experimental.rnn.lstm_ref` computes, and its derivative is the backward call. The
reserve space holds sums of what forward has read. Backward compares them with its own
operands, so a reserve space of another call gives NaN. The padding of every result is
NaN, because nobody promises what cuDNN leaves there.
"""

import contextlib
import types

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import rnn
from jax.interpreters import mlir

from lstm_jax.core.sharding import vary_alike
from lstm_jax.kernels.cudnn import backend, primitives

CALLS = []
"""The name of every call that was traced, and what it was told of TensorFloat32."""


def sizes(in_size, hidden_size, layers, rows, steps, dropout, bidirectional, tf32):
    """The size of the work space, and that of the reserve space: no product of rows."""
    del layers, dropout, bidirectional, tf32
    return 0, 16 + 3 * steps * rows * hidden_size + in_size


def outputs(x, h_0, c_0, w, lengths, *, input_size, hidden_size, **static):
    sizes = input_size, hidden_size, static["num_layers"], static["bidirectional"]
    weights = rnn.unpack_lstm_weights(w, *sizes)
    dropout = static["dropout"]
    y, h, c = rnn.lstm_ref(
        x, h_0, c_0, *weights, lengths, *sizes[:3], dropout, sizes[3]
    )
    return y, h, c


def padding(lengths, steps):
    return (jnp.arange(steps)[None] >= lengths[:, None])[..., None]


def signature(x, h_0, c_0, w, lengths, size):
    """Differs for other rows, and for the same rows in another order."""
    weigh = lambda a: jnp.vdot(
        jnp.cos(jnp.arange(a.size, dtype=jnp.float32)), a.ravel()
    )
    sums = [weigh(a) for a in (x, h_0, c_0, w, lengths.astype(jnp.float32))]
    return jnp.resize(jnp.stack(sums), size)


def forward(x, *arguments, cudnn_allow_tf32, **static):
    CALLS.append(("forward", cudnn_allow_tf32))
    lengths, (B, T, D) = arguments[-1], x.shape
    y, h, c = outputs(x, *arguments, **static)
    _, size = sizes(D, static["hidden_size"], 1, B, T, 0.0, False, False)
    y = jnp.where(padding(lengths, T), jnp.nan, y)
    return y, h, c, signature(x, *arguments, size)


def backward(
    dy, dh, dc, x, h_0, c_0, w, y, reserve, lengths, *, cudnn_allow_tf32, **static
):
    CALLS.append(("backward", cudnn_allow_tf32))
    # Inside `jax.shard_map`, the derivative by weights that every device has would be
    # summed over the devices. cuDNN does not do that.
    w = vary_alike(w, x)
    run = lambda *by: outputs(*by, lengths, **static)
    out, pull = jax.vjp(run, x, h_0, c_0, w)
    dx, *others = pull((dy, dh, dc))
    padded = padding(lengths, x.shape[1])
    dx = jnp.where(padded, jnp.nan, dx)
    mine = signature(x, h_0, c_0, w, lengths, reserve.size)
    fits = jnp.allclose(reserve, mine, rtol=1e-4, atol=1e-4)
    # A row that had no step comes with one, whose output is 0 for us.
    idle = (lengths == 1)[:, None, None] & (y == 0)
    fits &= jnp.all(padded | idle | (jnp.abs(y - out[0]) < 1e-4))
    return [jnp.where(fits, d, jnp.nan) for d in (dx, *others)]


@contextlib.contextmanager
def installed():
    """Calls that name ``"cudnn"`` run the stand-in, or cuDNN itself if it is there."""
    if backend.unavailable() is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        plugin = types.SimpleNamespace(compute_rnn_workspace_reserve_space_sizes=sizes)
        patch.setattr(rnn, "gpu_rnn", plugin)
        patch.setattr(backend, "unavailable", lambda: None)
        patch.setattr(backend, "PRIMITIVES", PRIMITIVES)
        jax.clear_caches()
        yield
    jax.clear_caches()


PRIMITIVES = {
    precision: primitives.make(precision, platforms=("cpu",))
    for precision in (lax.Precision.HIGHEST, lax.Precision.HIGH)
}
for _primitive, _run in ((rnn.rnn_fwd_p, forward), (rnn.rnn_bwd_p, backward)):
    mlir.register_lowering(_primitive, mlir.lower_fun(_run), platform="cpu")
