"""The backward kernel."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float
from lstm_jax.core.primitives.matmul import matmul
from lstm_jax.kernels.pallas.blocks import Blocks
from lstm_jax.kernels.pallas.programs import (
    Program,
    each_step,
    in_pieces,
    launch,
    most_steps,
    product,
)


class Steps(NamedTuple):
    """What every step has of its own."""

    d_hs: Float[Array, "T B H"]
    gates: Float[Array, "T B 4H"]
    cs: Float[Array, "T B H"]
    before: Float[Array, "T B H"]
    """``c`` before the step, after its reset."""
    mask: Bool[Array, "T B"] | None
    resets: Bool[Array, "T B"] | None
    """The state is reset after these steps."""


class State(NamedTuple):
    """The gradients that one step hands to the step before it."""

    h: Float[Array, "B H"]
    """By the state after the step, without the part that comes through ``z``."""
    c: Float[Array, "B H"]
    z: Float[Array, "B 4H"]
    """By the pre-activations of the later step, in the dtype of the products."""
    reset_h: Float[Array, "B H"]
    """By the reset state, so far."""
    reset_c: Float[Array, "B H"]


class Gradients(NamedTuple):
    """The gradients by the pre-activations, and by states."""

    z: Float[Array, "T B 4H"]
    h: Float[Array, "B H"]
    """By the state before the first step, after its reset."""
    c: Float[Array, "B H"]
    reset_h: Float[Array, "B H"]
    reset_c: Float[Array, "B H"]


def run(
    w_h: Float[Array, "H 4H"],
    steps: Steps,
    d_h: Float[Array, "B H"],
    d_c: Float[Array, "B H"],
    *,
    reverse: bool,
    interpret: bool,
) -> Gradients:
    """All steps, from the last to the first. ``reverse`` is that of the forward run."""
    B, H = d_h.shape
    blocks = Blocks.of(B, H, w_h.dtype)
    narrow = w_h.dtype
    zeros = jnp.zeros((B, H), jnp.float32)
    state = State(d_h, d_c, jnp.zeros((B, 4 * H), narrow), zeros, zeros)
    w = blocks.pack(w_h.reshape(H, 4, H).transpose(1, 2, 0))
    static = blocks, (B, H), not reverse, interpret
    one = functools.partial(_launch, static, w)
    most = most_steps(blocks, B, H, interpret)
    state, dz = in_pieces(one, steps, state, most, not reverse)
    h = state.h + matmul(state.z, w_h, transpose_w=True).astype(jnp.float32)
    return Gradients(dz, h, state.c, state.reset_h, state.reset_c)


def _launch(static, w, steps, state):
    blocks, (B, H), reverse, interpret = static
    narrow = state.z.dtype
    dz = blocks.pad(state.z.reshape(B, 4, H).transpose(1, 0, 2))
    exchange = jnp.stack([dz, jnp.zeros_like(dz)])
    array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    out = {"z": array(len(steps.gates), B, 4 * H), "h": array(B, H), "c": array(B, H)}
    if steps.resets is not None:
        out |= {"reset_h": array(B, H), "reset_c": array(B, H)}
    given = steps._asdict() | {"d_" + name: a for name, a in state._asdict().items()}
    del given["d_z"]
    if steps.resets is None:
        del given["d_reset_h"], given["d_reset_c"]
    given = {name: a for name, a in given.items() if a is not None}
    kernel = functools.partial(_backward, static, tuple(given))
    inputs = [w, *given.values()]
    out = launch("lstm_backward", kernel, inputs, exchange, out, blocks, interpret)
    dz = out.pop("z")
    last = dz[0] if reverse else dz[-1]
    return state._replace(**out, z=last.astype(narrow)), dz


def _backward(static, names, counters, exchange, w, *given, **out):
    """The program: all steps of some rows and units.

    d_h = d_hs_t + dz_{t+1} w_h^T          d_c = d_c + d_h o (1 - tanh(c_t)^2)
    dz_i = d_c g i (1 - i)                 dz_f = d_c c_{t-1} f (1 - f)
    dz_g = d_c i (1 - g^2)                 dz_o = d_h tanh(c_t) o (1 - o)
    d_c = d_c f
    """
    blocks, size, reverse, interpret = static
    at = dict(zip(names, given, strict=True))
    program = Program.start(counters, blocks, size)
    w = [w[program.unit_block, gate] for gate in range(4)]
    kept = [name for name in ("h", "c", "reset_h", "reset_c") if name in out]
    wide = lambda ref, t: program.load(ref, t).astype(jnp.float32)

    def step(n, t, state):
        state = dict(zip(kept, state, strict=True))
        for gate in range(4):
            dz = program.receive(exchange, n & 1, gate)
            state["h"] += product(dz, w[gate], interpret)
        if "resets" in at:
            over = program.flags(at["resets"], t)
            for name in ("h", "c"):
                zero = jnp.zeros_like(state[name])
                state["reset_" + name] += jnp.where(over, state[name], zero)
                state[name] = jnp.where(over, zero, state[name])
        d_h, d_c = state["h"] + wide(at["d_hs"], t), state["c"]
        i, f, g, o = (program.load(at["gates"], t, gate=gate) for gate in range(4))
        y = jnp.tanh(program.load(at["cs"], t))
        d_c += d_h * o * (1 - y * y)
        dz = [
            d_c * g * i * (1 - i),
            d_c * program.load(at["before"], t) * f * (1 - f),
            d_c * i * (1 - g * g),
            d_h * y * o * (1 - o),
        ]
        d_h, d_c = jnp.zeros_like(d_h), d_c * f
        if "mask" in at:
            real = program.flags(at["mask"], t)
            dz = [jnp.where(real, d, jnp.zeros_like(d)) for d in dz]
            d_h = jnp.where(real, d_h, state["h"])
            d_c = jnp.where(real, d_c, state["c"])
        state |= {"h": d_h, "c": d_c}
        for gate, d in enumerate(dz):
            program.store(out["z"], d, t, gate=gate)
            program.share(exchange, d, 1 - (n & 1), gate)
        return [state[name] for name in kept]

    start = [program.load(at["d_" + name]) for name in kept]
    T = at["gates"].shape[0]
    end = each_step(program, T, reverse, interpret, step, start)
    for name, value in zip(kept, end, strict=True):
        program.store(out[name], value)
