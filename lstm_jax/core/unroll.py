"""A cell over a sequence, and the one derivative rule of every loop.

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
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.sharding import PartitionSpec

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core.arguments import check_bool, check_one_key, check_remat, check_start
from lstm_jax.core.associative import associative
from lstm_jax.core.cell import Cell, Noise, require_cell
from lstm_jax.core.chunks import chunk_length, scan_chunks
from lstm_jax.core.dropout import steps_from
from lstm_jax.core.matmul import matmul
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.sequence import Sequence, prepare, without_padding
from lstm_jax.core.sharding import leave_to_compiler, spec_of, vary_alike

Kernel = Callable[[Any, Sequence, bool], tuple[Any, Array]]
"""``(params, sequence, reverse) -> (carry, hs)``: all the steps of one cell."""


def unroll(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Float[Array, "T ... D"],
    *,
    lengths: Lengths | None = None,
    mask: Bool[Array, "T *B"] | None = None,
    resets: Bool[Array, "T *B"] | None = None,
    reset_carry: Any = None,
    reverse: bool = False,
    dtype: Any = None,
    plain: bool = False,
    remat: bool | int | None = None,
    key: Key[Array, ""] | None = None,
    start: int | Array = 0,
    kernel: Kernel | None = None,
) -> tuple[Any, Float[Array, "T ... H"]]:
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
            differentiate backwards; ``jax.jvp`` alone needs less memory. A loop also
            for a cell that needs none, such as `lstm_jax.MinLSTMCell`.
        remat: keep the carries between chunks of this many steps alone and compute the
            rest again when differentiating backwards: less memory for about a third
            more time. ``True`` takes chunks of about ``sqrt(T)``.
        key: key of the masks of a random cell, such as `lstm_jax.Zoneout`; ``None``
            is evaluation. Masks are functions of the key and the absolute step.
        start: absolute step of ``xs[0]``, for a sequence that comes in pieces.
        kernel: what takes the steps of this cell in place of ``lax.scan``; see
            `Kernel`.

    Returns:
        The carry after the last step taken, and the outputs ``hs``, ``[T, ..., H]``.

    Raises:
        TypeError: an argument has the wrong dtype or is not the cell's own type.
        ValueError: shapes do not fit, ``lengths`` leave ``[0, T]``, ``lengths`` and
            ``mask`` are both given, ``reset_carry`` comes without ``resets``, or
            ``remat`` is less than 1.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, unroll
    >>> cell = LSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)), lengths=[7, 4])
    >>> hs.shape, carry.c.shape
    ((7, 2, 5), (2, 5))
    """
    require_cell("cell", cell)
    reverse, plain = check_bool("reverse", reverse), check_bool("plain", plain)
    seq = prepare(
        cell, params, carry, xs, lengths, mask, resets, reset_carry, reverse, dtype
    )
    remat = check_remat(remat)
    whole = plain or kernel is not None
    length = chunk_length(seq.xs, cell, remat) if remat or not whole else None
    static = _Static(cell, reverse, plain, kernel, bool(remat), length)
    key = None if key is None else check_one_key(key)
    return _unroll(static, params, seq, key, check_start(start))


class _Static(NamedTuple):
    """What is known while tracing."""

    cell: Cell
    reverse: bool
    plain: bool
    kernel: Kernel | None
    remat: bool
    length: int | None


# Compiled once where it is called outside of any jit; inside of one it leaves no trace.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _unroll(static, params, seq, key, start):
    """The checked sequence, on any mesh."""
    if seq.carry is None:
        seq = seq._replace(carry=_zero_carry(static.cell, seq.xs))
    run, args = functools.partial(_run, static), (params, seq, key, start)
    if static.kernel is not None:  # it types its results itself
        return run(*args)
    # The carry stays sharded as it came, and outputs are sharded like the inputs.
    steps = PartitionSpec(*spec_of(seq.xs)[:-1], None)
    return leave_to_compiler(run, args, (jax.tree.map(spec_of, seq.carry), steps))


def _zero_carry(cell, xs):
    """The carry of zeros, sharded like the rows."""
    rows = spec_of(xs)[1:-1]
    zero = lambda xs: cell.zero_carry(xs.shape[1:-1], xs.dtype)
    fill = lambda a: PartitionSpec(*rows, *[None] * (a.ndim - len(rows)))
    specs = jax.tree.map(fill, jax.eval_shape(zero, xs))
    return leave_to_compiler(zero, (xs,), specs)


def _run(static, params, seq, key, start):
    """The sequence, whole or in chunks."""
    cell, reverse, plain, kernel, remat, length = static
    seq = without_padding(cell, seq)
    batch_shape, dtype = seq.xs.shape[1:-1], seq.xs.dtype
    random = () if key is None else (jax.random.key_data(key), start)
    carry = vary_alike(seq.carry, (params, seq, random))
    if length is not None:
        # Gradients of the chunks are summed: in float32, also for 16-bit parameters.
        params = jax.tree.map(lambda p: p.astype(accumulation_dtype(p.dtype)), params)

    def chunk(carry, steps):
        xs, mask, resets, step = steps
        if kernel is not None and xs.size > 0:
            part = seq._replace(carry=carry, xs=xs, mask=mask, resets=resets)
            return kernel(params, part, reverse)
        gx = cell.project(params, xs)
        if not plain and (linear := cell.log_coefficients(params, gx)):
            return associative(linear, carry, seq.reset_carry, mask, resets, reverse)
        noise = None if key is None else cell.noise(key, step, batch_shape, dtype)
        inputs = Inputs.of(cell, params, carry, gx)._replace(
            reset_carry=seq.reset_carry, mask=mask, resets=resets, noise=noise
        )
        run = run_plain if plain else run_with_rule
        return run(cell, type(params), reverse, inputs)

    step = None if key is None else steps_from(start, seq.xs.shape[0])
    steps = (seq.xs, seq.mask, seq.resets, step)
    if length is None:
        return chunk(carry, steps)
    return scan_chunks(chunk, carry, steps, length, reverse, remat)


class Inputs(NamedTuple):
    """Everything traced that the loop reads.

    All of it is an argument of the rule: a ``custom_jvp`` that closes over a tracer
    fails under ``jax.checkpoint``.
    """

    products: dict[str, Array]
    elementwise: dict[str, Array]
    carry: Any
    gx: Array
    reset_carry: Any = None
    mask: Array | None = None
    resets: Array | None = None
    noise: Noise | None = None

    @classmethod
    def of(cls, cell: Cell, params: Any, carry: Any, gx: Array) -> "Inputs":
        """Of a sequence without padding, resets or masks."""
        elementwise = {name: getattr(params, name) for name in cell.elementwise}
        return cls(cell.weights(params), elementwise, carry, gx)


def run_plain(cell, params_type, reverse, inputs):
    """The definition: a scan of the cell's step."""
    carry, hs, _ = _scan(cell, params_type, reverse, inputs)
    return carry, hs


def _scan(cell, params_type, reverse, inputs, perturb=None):
    """The scan, and the operands of its products if it runs with perturbations."""
    weights = {name: w.astype(inputs.gx.dtype) for name, w in inputs.products.items()}
    multiply = _products(cell, weights, in_loop=perturb is not None)
    locked, stepwise = inputs.noise or (None, None)
    none = dict.fromkeys(params_type._fields)
    params = params_type(**(none | inputs.elementwise))

    def step(carry, xs):
        gx, real, reset, perturbation, random = xs
        operands = {}

        def dot(name, a):
            y = multiply[name](a)
            if perturb is None:
                return y
            if name in operands:
                raise ValueError(f"dot({name!r}) is called twice in one step.")
            operands[name] = a
            return _perturb(y, perturbation[name]) if name in perturbation else y

        if reset is not None:
            carry = _select(reset, inputs.reset_carry, carry)
        noise = None if inputs.noise is None else (locked, random)
        stepped, h = cell.noisy_step(noise, params, carry, gx, dot)
        if real is not None:
            stepped = _select(real, stepped, carry)
            h = _select(real, h, jnp.zeros_like(h))
        return stepped, (h, operands)

    xs = (inputs.gx, inputs.mask, inputs.resets, perturb, stepwise)
    carry, (hs, operands) = lax.scan(step, inputs.carry, xs, reverse=reverse)
    return carry, hs, operands


def _products(cell, weights, in_loop):
    """Name to ``a -> a @ w``, or to what the cell has in its place."""

    def by(name, w):
        if product := cell.product(name):
            return lambda a: product(a, w)
        if in_loop:
            return functools.partial(_matmul_in_loop, w=w, w_t=w.T)
        return functools.partial(matmul, w=w)

    return {name: by(name, w) for name, w in weights.items()}


run_with_rule = jax.custom_jvp(run_plain, nondiff_argnums=(0, 1, 2))


@functools.partial(run_with_rule.defjvp, symbolic_zeros=True)
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
        multiply = functools.partial(cell.product(name) or matmul, operands[name])
        d_product = _map_nonzero(multiply, dots.products[name])
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
    zeros = {}
    for name in names:
        multiply = cell.product(name) or matmul
        out = jax.eval_shape(multiply, operands[name], inputs.products[name])
        zeros[name] = jnp.zeros(out.shape, out.dtype)
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
    """Tangents as arrays. Those of integers and booleans have the dtype float0."""

    def make(p, d):
        if not _is_zero(d):
            return d.astype(p.dtype)
        if not jnp.issubdtype(p.dtype, jnp.inexact):
            return np.zeros(p.shape, jax.dtypes.float0)
        return jnp.zeros_like(p)

    return jax.tree.map(make, primals, tangents)
