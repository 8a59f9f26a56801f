"""A cell over a sequence, and the one derivative rule of every recurrence.

Differentiating the textbook scan makes the backward loop read and write the gradient of
every recurrent weight at every step. The rule here takes those products out of the
loop: the cell multiplies through ``dot(name, a)``, the rule keeps the operand ``a`` of
every step, linearises the scan with the weights held constant, and lets a perturbation
``a @ dw``, one product over all time, enter where the product of the step came out.
Its transpose is one product after the backward loop. Since the rule is a ``custom_jvp``
around a linear map that JAX transposes itself, forward mode, reverse mode, Hessians and
their compositions all follow from it.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from lstm_jax._types import Array, Bool, Float, Lengths
from lstm_jax.core.cell import Cell
from lstm_jax.core.matmul import matmul
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.sequence import prepare
from lstm_jax.core.sharding import vary_alike


def unroll(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Float[Array, "T *B D"],
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Any = None,
    reverse: bool = False,
    dtype: Any = None,
    plain: bool = False,
) -> tuple[Any, Float[Array, "T *B H"]]:
    """Runs ``cell`` over a time-major sequence with any number of batch axes.

    Args:
        cell: a `Cell`, such as ``LSTMCell(hidden_size)``.
        params: its parameters, in any floating-point dtype.
        carry: the state before the first step (the last one if ``reverse``); ``None``
            is zeros.
        xs: inputs ``[T, ..., D]``. ``T = 0`` returns the carry and no outputs.
        lengths: real steps of every row, ``[...]``, in ``[0, T]``. A row of length 0
            keeps its carry. Out of range, Python and numpy values raise; the values of
            JAX arrays are unknown while tracing and act as if clipped.
        mask: instead of ``lengths``, True at real steps, ``[T, ...]``. At the others
            the carry is kept, the output is 0 and the input is ignored, NaN included.
        resets: True at the first step of an episode, ``[T, ...]``: before it, the state
            becomes ``reset_carry``, also where the step itself is masked. Backwards the
            state is reset at the same boundaries, so a packed row equals its episodes
            run apart.
        reset_carry: the state at the start of an episode; ``None`` is zeros.
        reverse: from the last step to the first; outputs stay aligned with the inputs.
        dtype: compute dtype, by default that of ``xs``. Outputs and ``h`` have it; sums
            and ``c`` are float32 where it has 16 bits.
        plain: differentiate the loop itself, without the rule of this file. Slower to
            differentiate backwards; ``jax.jvp`` alone needs less memory.

    Returns:
        The carry after the last step taken, and the outputs ``hs``, ``[T, ..., H]``.

    Raises:
        TypeError: an argument has the wrong dtype or is not the cell's own type.
        ValueError: shapes do not fit, ``lengths`` leave ``[0, T]``, ``lengths`` and
            ``mask`` are both given, or ``reset_carry`` comes without ``resets``.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, unroll
    >>> cell = LSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)), lengths=[7, 4])
    >>> hs.shape, carry.c.shape
    ((7, 2, 5), (2, 5))
    """
    seq = prepare(
        cell, params, carry, xs, lengths, mask, resets, reset_carry, reverse, dtype
    )
    length = None if plain else piece_length(*_sizes(seq.xs, cell))
    return _unroll(cell, reverse, plain, length, params, seq)


def _sizes(xs, cell):
    return xs.shape[0], math.prod(xs.shape[1:-1]), cell.hidden_size, xs.dtype.itemsize


# Compiled once where it is called outside of any jit; inside of one it leaves no trace.
@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), inline=True)
def _unroll(cell, reverse, plain, length, params, seq):
    """The checked sequence, whole or in pieces of ``length`` steps."""
    carry = seq.carry
    if carry is None:
        carry = cell.zero_carry(seq.xs.shape[1:-1], seq.xs.dtype)
    carry = vary_alike(carry, (params, carry, seq))
    run = _run if plain else _run_with_rule

    def piece(carry, steps):
        xs, mask, resets = steps
        inputs = Inputs(
            products={name: getattr(params, name) for name in cell.products},
            elementwise={name: getattr(params, name) for name in cell.elementwise},
            carry=carry,
            reset_carry=seq.reset_carry,
            gx=cell.project(params, xs),
            mask=mask,
            resets=resets,
        )
        return run(cell, type(params), reverse, inputs)

    steps = (seq.xs, seq.mask, seq.resets)
    if length is None:
        return piece(carry, steps)
    # The gradients of the pieces are summed: in float32, also for 16-bit parameters.
    params = jax.tree.map(lambda p: p.astype(accumulation_dtype(p.dtype)), params)
    cut = lambda a: a.reshape(-1, length, *a.shape[1:])
    carry, hs = lax.scan(piece, carry, jax.tree.map(cut, steps), reverse=reverse)
    return carry, hs.reshape(-1, *hs.shape[2:])


def piece_length(T: int, B: int, H: int, itemsize: int) -> int | None:
    """Steps that are projected at a time; ``None`` for the whole sequence at once.

    ``gx`` of a long sequence is larger than any cache, and its gradient as large again.
    Cut into pieces, it is never whole in memory: at T=4096, B=8, D=H=256 the gradient
    takes 9 T*B*H floats instead of 15, and the forward pass a fifth less time. A piece
    has rows enough for the products of weight gradients, one a piece, to stay cheap. A
    ``T`` without a suitable divisor runs whole.
    """
    if T * B * 4 * H * itemsize < 16 * 2**20:
        return None
    least = -(-max(1024, 2 * H) // B)
    divisors = (n for n in range(least, min(4 * least, T // 2) + 1) if T % n == 0)
    return next(divisors, None)


class Inputs(NamedTuple):
    """Everything traced that the loop reads.

    All of it is an argument of the rule: a ``custom_jvp`` that closes over a tracer
    fails under ``jax.checkpoint``.
    """

    products: dict[str, Array]
    elementwise: dict[str, Array]
    carry: Any
    reset_carry: Any
    gx: Array
    mask: Array | None
    resets: Array | None


def _run(cell, params_type, reverse, inputs):
    """The definition: a scan of the cell's step."""
    carry, hs, _ = _scan(cell, params_type, reverse, inputs)
    return carry, hs


def _scan(cell, params_type, reverse, inputs, perturb=None):
    """The scan, and the operands of its products if it runs with perturbations."""
    weights = _cast_to(inputs.carry, inputs.products)
    transposed = (
        {name: w.T for name, w in weights.items()} if perturb is not None else {}
    )
    none = dict.fromkeys(params_type._fields)
    params = params_type(**(none | inputs.elementwise))

    def step(carry, xs):
        gx, real, reset, perturbation = xs
        operands = {}

        def dot(name, a):
            if perturb is None:
                return matmul(a, weights[name])
            if name in operands:
                raise ValueError(f"dot({name!r}) is called twice in one step.")
            operands[name] = a
            y = _matmul_in_loop(a, weights[name], transposed[name])
            return _perturb(y, perturbation[name]) if name in perturbation else y

        if reset is not None:
            carry = _select(reset, inputs.reset_carry, carry)
        stepped, h = cell.step(params, carry, gx, dot)
        if real is not None:
            stepped = _select(real, stepped, carry)
            h = _select(real, h, jnp.zeros_like(h))
        return stepped, (h, operands)

    xs = (inputs.gx, inputs.mask, inputs.resets, perturb)
    carry, (hs, operands) = lax.scan(step, inputs.carry, xs, reverse=reverse)
    return carry, hs, operands


_run_with_rule = jax.custom_jvp(_run, nondiff_argnums=(0, 1, 2))


@functools.partial(_run_with_rule.defjvp, symbolic_zeros=True)
def _rule(cell, params_type, reverse, primals, tangents):
    (inputs,), (dots,) = primals, tangents
    run = functools.partial(_scan, cell, params_type, reverse)
    # The derivative of what is added to gx enters through gx, all the rest through a
    # slot of its own.
    own = [name for name in cell.elementwise if name not in cell.added]
    slots = _zero_slots(cell, run, inputs)

    def linearised(elementwise, carry, reset_carry, gx, slots):
        carry, hs, operands = run(
            inputs._replace(
                elementwise=inputs.elementwise | elementwise,
                carry=carry,
                reset_carry=reset_carry,
                gx=gx,
            ),
            slots,
        )
        return (carry, hs), operands

    at = (
        {name: inputs.elementwise[name] for name in own},
        inputs.carry,
        inputs.reset_carry,
        inputs.gx,
        slots,
    )
    out, linear, operands = jax.linearize(linearised, *at, has_aux=True)

    d_gx, d_slots = dots.gx, dict(slots)
    for name in cell.products:
        d_product = _map_nonzero(
            lambda dw, a=operands[name]: matmul(a, dw), dots.products[name]
        )
        if name in cell.added:
            d_gx = _add(d_gx, d_product)
        elif not isinstance(d_product, SymbolicZero):
            d_slots[name] = d_product
    for name in cell.elementwise:
        if name in cell.added:
            spread = lambda d: jnp.broadcast_to(d, inputs.gx.shape)
            d_gx = _add(d_gx, _map_nonzero(spread, dots.elementwise[name]))
    d_elementwise = {name: dots.elementwise[name] for name in own}
    tangent = (d_elementwise, dots.carry, dots.reset_carry, d_gx, d_slots)
    return out, linear(*_instantiate(at, tangent))


def _zero_slots(cell, run, inputs):
    """A perturbation, 0 in value, for the products that are not simply added to gx."""
    names = [name for name in cell.products if name not in cell.added]
    if not names:
        return {}
    _, _, operands = jax.eval_shape(lambda i: run(i, {}), inputs)
    out = lambda name: jax.eval_shape(matmul, operands[name], inputs.products[name])
    zeros = {name: jnp.zeros(out(name).shape, out(name).dtype) for name in names}
    return vary_alike(zeros, inputs)


@jax.custom_jvp
def _perturb(y, slot):
    """``y + slot``, for a slot that is 0: its value is never read."""
    del slot
    return y


@_perturb.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] + tangents[1]


@jax.custom_jvp
def _matmul_in_loop(a, w, w_t):
    """``a @ w``; the backward loop multiplies by ``w_t``, transposed once before it."""
    del w_t
    return matmul(a, w)


@functools.partial(_matmul_in_loop.defjvp, symbolic_zeros=True)
def _(primals, tangents):
    a, w, w_t = primals
    da, dw, _ = tangents
    by_a = _map_nonzero(lambda da: matmul(da, w_t, transpose_w=True), da)
    by_w = _map_nonzero(lambda dw: matmul(a, dw), dw)
    out = matmul(a, w)
    return out, _instantiate(out, _add(by_a, by_w))


def _select(flags, on_true, on_false):
    """Row by row; ``flags`` has the leading axes of the leaves."""
    expand = lambda x: flags.reshape(flags.shape + (1,) * (x.ndim - flags.ndim))
    where = lambda t, f: jnp.where(expand(t), t, f)
    return jax.tree.map(where, on_true, on_false)


def _cast_to(carry, weights):
    """Weights in the compute dtype, which is that of ``h``, the first of a carry."""
    return {name: w.astype(carry[0].dtype) for name, w in weights.items()}


def _is_zero(tangent):
    return isinstance(tangent, SymbolicZero)


def _map_nonzero(f, tangent):
    return tangent if _is_zero(tangent) else f(tangent)


def _add(d, e):
    """The sum of two tangents, in the dtype of the first."""
    if _is_zero(e):
        return d
    return e if _is_zero(d) else d + e.astype(d.dtype)


def _instantiate(primals, tangents):
    make = lambda p, d: jnp.zeros_like(p) if _is_zero(d) else d.astype(p.dtype)
    return jax.tree.map(make, primals, tangents)
