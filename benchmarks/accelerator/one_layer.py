"""How long is a training step of one layer, by implementation and library?

Outputs, and the gradient of their sum of squares by parameters and inputs. Everything
is in bfloat16, or in float32 with products in TensorFloat32, or all in float32. Who
differs from the scan in float32 at the highest matmul precision is not timed.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.contenders import (
    Crew,
    Event,
    Pace,
    compiled,
    race,
    sample,
)
from lstm_jax import lstm
from lstm_jax.bench import one_layer, others, peers
from lstm_jax.core.recurrence import backends
from lstm_jax.kernels.cudnn.weights import pack, unpack

OURS = "lstm_jax"
"""By the implementation that a call takes without a name."""
RIGHT = "reference"
APART = ("plain", "newton")
"""Implementations that are not measured here: the loop without our derivative, and
Newton's method, which has a stage of its own."""
PRECISIONS = {
    "bfloat16": None,
    "tensorfloat32": "tensorfloat32",
    "float32": "highest",
}
"""What is measured, and what JAX is asked for. TensorFloat32 is float32 whose factors
are rounded to 10 bits."""
TOLERANCES = {"bfloat16": 0.1, "tensorfloat32": 3e-2, "float32": 1e-3}
"""Of the largest value."""
STEPS = 512
ROWS_AND_UNITS = (
    *((32, 1024), (32, 512), (128, 1024), (1, 512), (32, 2048), (32, 256)),
    *((128, 2048), (128, 512), (1, 1024), (128, 256), (1, 256), (1, 2048)),
)
"""The most usual first: there may be no time for all."""


def cases(setting):
    named = [name for name in backends.NAMED if name not in APART]
    names = [OURS, *(f"{OURS} {name}" for name in named), *PEERS]
    builds = {name: functools.partial(build, name) for name in [RIGHT, *names]}
    crew = Crew(builds, setting.one_process)
    setting.until_end.callback(crew.close)
    shapes = [(B, STEPS, H, H) for B, H in ROWS_AND_UNITS]
    pace = Pace(repeats=15, budget=3.0, at_least=5)
    dtypes = [*PRECISIONS]
    if setting.dry_run:
        shapes, dtypes, pace = [(2, 3, 5, 5)], dtypes[:1], Pace(repeats=2)

    def case(dtype, shape):
        event = Event(OURS, TOLERANCES[dtype], pace)
        sizes = dict(zip("BTDH", shape, strict=True), dtype=dtype)
        for row in race(crew, names, RIGHT, event, dtype, shape):
            yield sizes | row

    return {
        f"{dtype}, B, T, D, H = {', '.join(map(str, shape))}": functools.partial(
            case, dtype, shape
        )
        for shape in shapes
        for dtype in dtypes
    }


def build(name, dtype, shape):
    """In the process of a contender: its step, and a sample of what it computes."""
    narrow = "bfloat16" if dtype == "bfloat16" else "float32"
    params, xs = one_layer.example(shape)
    params, xs = jax.tree.map(lambda a: a.astype(narrow), (params, xs))
    if name == RIGHT:
        params, xs = jax.tree.map(lambda a: a.astype("float32"), (params, xs))
        with jax.default_matmul_precision("highest"):
            return jax_step(by_name("scan"), params, xs)
    if name == "torch":
        return torch_step(params, xs, dtype == "tensorfloat32")
    make = PEERS.get(name) or by_name(name.removeprefix(OURS).strip() or None)
    with jax.default_matmul_precision(PRECISIONS[dtype]):
        return jax_step(make, params, xs)


def by_name(implementation):
    """Ours, as a peer."""
    run = lambda p, xs: lstm(p, None, xs, implementation=implementation)[1]
    return lambda params: peers.Peer(params, run, lambda grads: grads)


def jax_step(make, params, xs):
    peer = make(params)

    def loss(p, xs):
        hs = peer.apply(p, xs)
        return jnp.sum(jnp.square(hs.astype(jnp.float32))), hs

    f = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    f, seconds = compiled(f, peer.params, xs)
    (_, hs), (grads, d_xs) = f(peer.params, xs)
    values = {"hs": hs, "d_xs": d_xs} | peer.to_ours(grads)._asdict()
    values = {what: sample(a) for what, a in values.items()}
    step = lambda: jax.block_until_ready(f(peer.params, xs))
    facts = {"ready_seconds": seconds, "device": jax.default_backend()}
    return {"step": step}, (values, facts)


def torch_step(params, xs, rounded):
    single = jax.tree.map(lambda a: np.asarray(a.astype("float32")), (params, xs))
    peer = others.Torch(*single)
    peer.torch.backends.cudnn.allow_tf32 = rounded
    peer.torch.backends.cuda.matmul.allow_tf32 = rounded
    dtype = getattr(peer.torch, str(xs.dtype))
    peer.module = peer.module.to(dtype)
    peer.xs = peer.xs.detach().to(dtype).requires_grad_()
    # cuDNN copies weights that do not lie together.
    peer.module.flatten_parameters()
    inputs = (*peer.module.parameters(), peer.xs)

    def step():
        hs = peer.outputs()
        grads = peer.torch.autograd.grad(hs.square().sum(), inputs)
        if peer.device == "cuda":
            peer.torch.cuda.synchronize()
        return hs, grads

    hs, (w_x, w_h, b, _, d_xs) = step()
    values = {"hs": hs, "d_xs": d_xs, "w_x": w_x.T, "w_h": w_h.T, "b": b}
    values = {what: sample(a) for what, a in values.items()}
    return {"step": step}, (values, {"device": peer.device})


def experimental_rnn(params):
    """`jax.experimental.rnn.lstm`, which is cuDNN's."""
    from jax.experimental import rnn

    if (backend := jax.default_backend()) != "gpu":
        raise NotImplementedError(f"needs cuDNN, and JAX runs on {backend}")
    if params.w_x.dtype != jnp.float32:
        raise NotImplementedError("jax.experimental.rnn takes float32 alone")
    D, H = params.w_x.shape[0], params.w_h.shape[0]

    def apply(weights, xs):
        T, B, _ = xs.shape
        zeros, lengths = jnp.zeros((1, B, H)), jnp.full(B, T, jnp.int32)
        rows = xs.swapaxes(0, 1)
        found: Any = rnn.lstm(
            rows, zeros, zeros, weights, lengths, D, H, 1, 0.0, False, None
        )
        return found[0].swapaxes(0, 1)

    return peers.Peer(pack(params), apply, lambda grads: unpack(grads, D, H))


PEERS = {
    "torch": None,
    "jax.experimental.rnn": experimental_rnn,
    "nnx Optimized": peers.nnx_optimized,
}
