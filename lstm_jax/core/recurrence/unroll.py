"""Runs a cell over a sequence: checks arguments, cuts chunks, calls a backend."""

import functools
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core.arguments import (
    check_bool,
    check_choice,
    check_one_key,
    check_remat,
    check_start,
    renamed,
)
from lstm_jax.core.cells.cell import Cell, require_cell
from lstm_jax.core.dropout import steps_from
from lstm_jax.core.precision import accumulation_dtype
from lstm_jax.core.recurrence import backends
from lstm_jax.core.recurrence.backends import Backend
from lstm_jax.core.recurrence.chunks import chunk_length, scan_chunks
from lstm_jax.core.recurrence.sequence import prepare, without_padding, zero_carry
from lstm_jax.core.sharding import leave_to_compiler, spec_of, vary_alike


@renamed(plain="implementation")
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
    remat: bool | int | None = None,
    key: Key[Array, ""] | None = None,
    start: int | Array = 0,
    implementation: str | None = None,
) -> tuple[Any, Float[Array, "T ... H"]]:
    """Runs ``cell`` over a time-major sequence with any number of batch axes.

    Args:
        cell: a `Cell`, such as ``LSTMCell(hidden_size)``.
        params: its parameters, in any floating-point dtype.
        carry: the state before the first step (the last step if ``reverse``). ``None``
            is zeros.
        xs: inputs ``[T, ..., D]``. ``T = 0`` returns the carry and no outputs.
        lengths: number of real steps of every row, ``[...]``, in ``[0, T]``. A row of
            length 0 keeps its carry. A Python or numpy value out of range raises an
            error. JAX cannot check values while tracing: a length out of range in a JAX
            array acts as if clipped.
        mask: instead of ``lengths``, True at real steps, ``[T, ...]``. A masked step
            keeps the carry, outputs 0 and ignores its input, even NaN.
        resets: True at the first step of an episode, ``[T, ...]``. Before that step the
            state becomes ``reset_carry``, even if the step is masked. With ``reverse``
            the state is reset at the same boundaries, so a packed row equals separate
            runs of its episodes.
        reset_carry: the state at the start of an episode; ``None`` is zeros.
        reverse: run from the last step to the first. Outputs stay aligned with the
            inputs.
        dtype: compute dtype, by default the dtype of ``xs``. Outputs and ``h`` have
            this dtype. If it has 16 bits, sums and ``c`` are float32.
        remat: saves memory, and takes more time: at most about a third. Stores only the
            carries between chunks of this many steps, and recomputes the rest in the
            backward pass. ``True`` chooses chunks of about ``sqrt(T)``.
        key: key for the masks of a random cell, such as `lstm_jax.Zoneout`. ``None``
            means evaluation. Masks depend only on the key and the absolute step.
        start: absolute step of ``xs[0]``, for a sequence in pieces.
        implementation: ``None`` uses the fastest that supports the call. A named
            implementation never falls back to another:

            * ``"scan"``: a loop in XLA with the library's derivative rule; every cell.
            * ``"plain"``: the same loop with JAX's own derivative. The gradient is
              slower; ``jax.jvp`` alone needs less memory. It loops even for a cell that
              needs no loop, such as `lstm_jax.MinLSTMCell`.
            * ``"native"``: the C++ kernel, for the plain LSTM in float32 or bfloat16 on
              a CPU.
            * ``"pallas"``: a Triton kernel that runs all steps in one launch, for the
              plain LSTM in float32 or bfloat16 on an NVIDIA GPU. ``None`` never chooses
              it, because it has not run on a GPU yet. Only the interpreter has tested
              it.
            * ``"cudnn"``: cuDNN's LSTM, for the plain LSTM in float32 on an NVIDIA GPU,
              with ``lengths`` but neither ``mask`` nor ``resets``. ``None`` never
              chooses it, because its speed is not measured yet.
            * ``"newton"``: all steps in parallel, by Newton's method; see
              `lstm_jax.newton_unroll`. ``None`` never chooses it. The results are those
              of ``"scan"``, whether or not it converges.

            The choice sees the batch size inside ``jax.vmap``. Symbolic shapes of
            ``jax.export`` use ``"scan"``. To export fixed shapes, pass ``"scan"``, or
            allow the custom calls ``lstm_jax_forward`` and ``lstm_jax_backward``, or
            in bfloat16 ``lstm_jax_backward16``.

    Returns:
        The carry after the last step of the run, and the outputs ``hs``,
        ``[T, ..., H]``.

    Raises:
        TypeError: an argument has the wrong dtype or is not the cell's own type.
        ValueError: shapes do not fit, ``lengths`` leave ``[0, T]``, ``lengths`` and
            ``mask`` are both given, ``reset_carry`` comes without ``resets``,
            ``remat`` is less than 1, or ``implementation`` is unknown.
        NotImplementedError: the named implementation does not support the call.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, unroll
    >>> cell = LSTMCell(hidden_size=5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> carry, hs = unroll(cell, params, None, jnp.ones((7, 2, 3)), lengths=[7, 4])
    >>> hs.shape, carry.c.shape
    ((7, 2, 5), (2, 5))
    """
    require_cell("cell", cell)
    reverse = check_bool("reverse", reverse)
    check_choice("implementation", implementation, (None, *backends.NAMED))
    seq = prepare(
        cell, params, carry, xs, lengths, mask, resets, reset_carry, reverse, dtype
    )
    remat = check_remat(remat)
    flags = dict(lengths=lengths, mask=mask, resets=resets)
    given = [name for name, flag in flags.items() if flag is not None]
    backend = backends.choose(implementation, cell, seq.xs, given)
    cut = remat or backend.pieces
    length = chunk_length(seq.xs, cell, remat) if cut else None
    static = _Static(cell, reverse, backend, bool(remat), length)
    key = None if key is None else check_one_key(key)
    return _unroll(static, params, seq, key, check_start(start))


class _Static(NamedTuple):
    """The static arguments, known while tracing."""

    cell: Cell
    reverse: bool
    backend: Backend
    remat: bool
    length: int | None


# Outside any jit this compiles once. Inside a jit it adds nothing to the trace.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _unroll(static, params, seq, key, start):
    """Runs the checked sequence, on any mesh."""
    if seq.carry is None:
        seq = seq._replace(carry=zero_carry(static.cell, seq.xs))
    run, args = functools.partial(_run, static), (params, seq, key, start)
    if static.backend.explicit:
        return run(*args)
    # The carry keeps its sharding, and outputs are sharded like the inputs.
    steps = PartitionSpec(*spec_of(seq.xs)[:-1], None)
    return leave_to_compiler(run, args, (jax.tree.map(spec_of, seq.carry), steps))


def _run(static, params, seq, key, start):
    """Runs the sequence, whole or in chunks."""
    cell, reverse, backend, remat, length = static
    seq = without_padding(cell, seq)
    batch_shape, dtype = seq.xs.shape[1:-1], seq.xs.dtype
    random = () if key is None else (jax.random.key_data(key), start)
    carry = vary_alike(seq.carry, (params, seq, random))
    if length is not None:
        # The gradients of the chunks are summed in float32, also for 16-bit parameters.
        params = jax.tree.map(lambda p: p.astype(accumulation_dtype(p.dtype)), params)

    def chunk(carry, steps):
        xs, mask, resets, step = steps
        noise = None if key is None else cell.noise(key, step, batch_shape, dtype)
        part = seq._replace(carry=carry, xs=xs, mask=mask, resets=resets, noise=noise)
        return backend.run(cell, params, part, reverse)

    step = None if key is None else steps_from(start, seq.xs.shape[0])
    steps = (seq.xs, seq.mask, seq.resets, step)
    if length is None:
        return chunk(carry, steps)
    return scan_chunks(chunk, carry, steps, length, reverse, remat)
