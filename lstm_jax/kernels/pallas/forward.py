"""The forward kernel."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float
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

    gx: Float[Array, "T B 4H"]
    """The inputs times their weights, and the bias."""
    mask: Bool[Array, "T B"] | None
    resets: Bool[Array, "T B"] | None
    """The state is reset after these steps."""


class State(NamedTuple):
    """The state before a step, after its reset."""

    h: Float[Array, "B H"]
    c: Float[Array, "B H"]


def run(
    w_h: Float[Array, "H 4H"],
    steps: Steps,
    state: State,
    reset: State | None,
    *,
    reverse: bool,
    residuals: bool,
    interpret: bool,
) -> tuple[State, dict[str, Array]]:
    """All steps: the state after them, and arrays by name, ``[T, B, ...]``.

    ``hs`` has the outputs. For the backward pass, there are also ``gates`` and ``cs``.
    With a mask or resets, there is ``before``, too: the operand of ``w_h``.
    """
    B, H = state.h.shape
    blocks = Blocks.of(B, H, state.h.dtype)
    w = blocks.pack(w_h.astype(state.h.dtype).reshape(H, 4, H).transpose(1, 0, 2))
    static = blocks, (B, H), reverse, interpret
    one = functools.partial(_launch, static, residuals, w, reset)
    return in_pieces(one, steps, state, most_steps(blocks, B, H, interpret), reverse)


def _launch(static, residuals, w, reset, steps, state):
    blocks, (B, H), _, interpret = static
    T, narrow = len(steps.gx), state.h.dtype
    array = jax.ShapeDtypeStruct
    out = {"hs": array((T, B, H), narrow)}
    if residuals:
        out |= {
            "gates": array((T, B, 4 * H), jnp.float32),
            "cs": array((T, B, H), jnp.float32),
        }
        if steps.mask is not None or steps.resets is not None:
            out["before"] = array((T, B, H), narrow)
    last = {"h": array((B, H), narrow), "c": array((B, H), jnp.float32)}
    h = blocks.pad(state.h)
    exchange = jnp.stack([h, jnp.zeros_like(h)])
    optional = {
        "mask": steps.mask,
        "resets": steps.resets,
        "reset_h": None if steps.resets is None else reset.h,
        "reset_c": None if steps.resets is None else reset.c,
    }
    given = {name: a for name, a in optional.items() if a is not None}
    kernel = functools.partial(_forward, static, tuple(given))
    inputs = [w, steps.gx, state.c, *given.values()]
    out = launch(
        "lstm_forward", kernel, inputs, exchange, out | last, blocks, interpret
    )
    return State(out.pop("h"), out.pop("c")), out


def _forward(static, names, counters, exchange, w, gx, c0, *given, **out):
    """The program: all steps of some rows and units.

    i, f, o = sigmoid(gx_t + h_{t-1} w_h)      g = tanh(same, its columns)
    c_t = f * c_{t-1} + i * g                  h_t = o * tanh(c_t)
    """
    blocks, size, reverse, interpret = static
    flags = dict(zip(names, given, strict=True))
    program = Program.start(counters, blocks, size)
    w = [w[program.unit_block, gate] for gate in range(4)]
    reset = {name: program.load(flags[name]) for name in names if "reset_" in name}

    def step(n, t, state):
        h, c = state
        before = program.receive(exchange, n & 1)
        z = [
            program.load(gx, t, gate=gate).astype(jnp.float32)
            + product(before, w[gate], interpret)
            for gate in range(4)
        ]
        i, f, o = (jax.nn.sigmoid(z[gate]) for gate in (0, 1, 3))
        g = jnp.tanh(z[2])
        new_c = f * c + i * g
        new_h = (o * jnp.tanh(new_c)).astype(h.dtype)
        output, values = new_h, [i, f, g, o]
        if "mask" in flags:
            real = program.flags(flags["mask"], t)
            keep = lambda new, old: jnp.where(real, new, old)
            zero = lambda new: keep(new, jnp.zeros_like(new))
            output, values = zero(new_h), [zero(value) for value in values]
            new_h, new_c = keep(new_h, h), keep(new_c, c)
        program.store(out["hs"], output, t)
        if "before" in out:
            program.store(out["before"], h, t)
        if "gates" in out:
            program.store(out["cs"], new_c, t)
            for gate, value in enumerate(values):
                program.store(out["gates"], value, t, gate=gate)
        if "resets" in flags:
            over = program.flags(flags["resets"], t)
            new_h = jnp.where(over, reset["reset_h"], new_h)
            new_c = jnp.where(over, reset["reset_c"], new_c)
        program.share(exchange, new_h, 1 - (n & 1))
        return new_h, new_c

    start = program.own(exchange, 0), program.load(c0)
    h, c = each_step(program, gx.shape[0], reverse, interpret, step, start)
    program.store(out["h"], h)
    program.store(out["c"], c)
