"""Checks of what callers pass: once, at the public functions, while tracing.

Every message says which argument is wrong, what was given, what is expected, and what
to do.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from lstm_jax.core.arguments import check_dtype, check_floating
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.contract import params_of


def check_step(cell: Cell, params, carry, x):
    """Checks ``carry`` (``None`` becomes zeros) and ``x`` for one step."""
    x = check_floating("x", x)
    if x.ndim < 1:
        raise ValueError(
            "x is a scalar, expected [..., D]; use x[None] for one feature."
        )
    check_params(cell, params, x, "x")
    return check_carry(cell, carry, x.shape[:-1], x.dtype), x


def check_sequence(cell: Cell, params, carry, xs, dtype):
    """Checks ``carry`` (``None`` stays) and casts ``xs`` to the compute dtype."""
    xs = check_time_major(cell, xs)
    check_params(cell, params, xs, "xs")
    if dtype is not None:
        xs = xs.astype(check_dtype(dtype))
    if carry is not None:
        carry = check_carry(cell, carry, xs.shape[1:-1], xs.dtype)
    return carry, xs


def check_time_major(cell, xs):
    xs = check_floating("xs", xs)
    if xs.ndim < 1 + cell.feature_axes:
        space = "".join(f"X{n}, " for n in range(1, cell.feature_axes))
        raise ValueError(
            f"xs has shape {xs.shape}, expected time-major [T, ..., {space}D]; "
            f"use xs[None] for a single step."
        )
    return xs


def check_type(params, kind, maker):
    if isinstance(params, kind):
        return
    name, fields = kind.__name__, ", ".join(kind._fields)
    how = f"make them with {maker} or convert them"
    if isinstance(params, Mapping):
        how = f"pass {name}(**params)"
        if set(params) != set(kind._fields):
            keys = ", ".join(map(repr, params))
            how = f"its keys are {keys}; pass {name}(...) of one layer"
    elif isinstance(params, list | tuple) and not hasattr(params, "_fields"):
        nested = any(isinstance(p, tuple | list | Mapping) for p in params)
        if nested or len(params) != len(kind._fields):
            how = "pass the entry of one layer, or all layers to a Stack"
        else:
            how = f"pass {name}(*params) if the arrays have this order"
    came = type(params).__name__
    raise TypeError(f"params is {came}, expected {name}({fields}); {how}.")


def check_layers(name, entries):
    """Checks for a list or tuple of one entry per layer, not the entry of one layer."""
    if isinstance(entries, list | tuple) and not hasattr(entries, "_fields"):
        return tuple(entries)
    how = "put the entry of a single layer into a list"
    if isinstance(entries, Mapping):
        how = "list the entries in order, such as [LSTMParams(**first), ...]"
    came = type(entries).__name__
    raise TypeError(f"{name} is {came}, expected a list, one entry per layer; {how}.")


def check_params(cell, params, x, name):
    features, takes = x.shape[-1], jnp.shape(getattr(params, "w_x", 0))[-2:-1]
    if features == 0:
        raise ValueError(
            f"{name} has 0 features ({name}.shape={x.shape}), expected 1 or more"
            f"{f'; params.w_x takes {takes[0]}' if takes else ''}."
        )
    expected = params_of(cell, features, x.dtype)
    check_type(params, type(expected), f"{type(cell).__name__}.init")
    rank = jnp.ndim(getattr(expected, "w_x", 0))
    if takes not in ((), (features,)) and jnp.ndim(params.w_x) == rank:
        raise ValueError(
            f"{name} has {features} features but params.w_x takes {takes[0]} "
            f"({name}.shape={x.shape}); pass in_size={features} to init."
        )
    wanted, came = _by_name(expected), _by_name(params)
    for field in wanted | came:
        want, got = wanted.get(field), came.get(field)
        if want is None or got is None:
            if want is not got:
                has = "None" if got is None else "an array"
                if got is None and any(other.startswith(field) for other in came):
                    has = "None" if field in came else "a list or tuple"
                raise ValueError(
                    f"params{field} is {has}, expected "
                    f"{'None' if want is None else 'an array'} for {cell}; make params "
                    f"with init of the same cell, and arrays with jnp.asarray."
                )
        elif jnp.shape(got) != want.shape:
            raise ValueError(
                f"params{field} has shape {jnp.shape(got)}, expected {want.shape} for "
                f"{features} features and hidden_size={cell.hidden_size}; under "
                f"jax.vmap, map params too."
            )
        elif not jnp.issubdtype(jnp.result_type(got), jnp.floating):
            raise TypeError(
                f"params{field} has dtype {jnp.result_type(got).name}, expected a "
                f"floating-point dtype{_real_advice(got)}."
            )


def _real_advice(x):
    if jnp.issubdtype(jnp.result_type(x), jnp.complexfloating):
        return "; take .real, if that is what you mean"
    return "; cast it with .astype(jnp.float32)"


def _by_name(params):
    """Maps each path to its array, for fields that are arrays, tuples of arrays, or
    ``None``.
    """
    leaves = jax.tree.leaves_with_path(params, is_leaf=lambda leaf: leaf is None)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def check_carry(cell, carry, batch_shape, dtype, name="carry"):
    """Checks that the carry has the shapes and dtypes of ``zero_carry``."""
    if carry is None:
        return cell.zero_carry(batch_shape, dtype)
    expected = jax.eval_shape(lambda: cell.zero_carry(batch_shape, dtype))

    def check(path, want, got):
        field, got = f"{name}{jax.tree_util.keystr(path)}", jnp.asarray(got)
        if got.shape != want.shape:
            raise ValueError(
                f"{field} has shape {got.shape}, expected {want.shape}, the "
                f"batch axes of the input and hidden_size={cell.hidden_size}; "
                f"pass {name}=None for zeros."
            )
        if got.dtype != want.dtype:
            raise TypeError(
                f"{field} has dtype {got.dtype.name}, expected "
                f"{want.dtype.name} for compute dtype {jnp.dtype(dtype).name}; "
                f"cast it, or pass {name}=None for zeros."
            )
        return got

    if not _same_structure(expected, carry):
        raise TypeError(
            f"{name} is {type(carry).__name__}, expected {_structure(expected)} or "
            f"None for zeros."
        )
    return jax.tree.map_with_path(check, expected, carry)


def _same_structure(expected, tree):
    if isinstance(expected, jax.ShapeDtypeStruct):
        return True
    try:
        jax.tree.structure(expected).flatten_up_to(tree)
    except ValueError:
        return False
    return True


def _structure(tree):
    """The structure as a user would write it: ``LSTMCarry(h, c)``,
    ``(LSTMCarry(h, c), array)``.
    """
    if isinstance(tree, jax.ShapeDtypeStruct):
        return "an array"
    if hasattr(tree, "_fields"):
        return f"{type(tree).__name__}({', '.join(tree._fields)})"
    if isinstance(tree, dict):
        return f"a dict with the keys {', '.join(map(repr, tree))}"
    return f"{type(tree).__name__} of the structure {jax.tree.structure(tree)}"


def check_flags(name, flags, shape, of="xs", axes="time and batch"):
    """Checks for a boolean array with one entry for every step of every row."""
    if flags is None:
        return None
    flags = jnp.asarray(flags)
    if flags.dtype != jnp.bool_:
        raise TypeError(
            f"{name} has dtype {flags.dtype.name}, expected bool; "
            f"pass {name} != 0 for numbers."
        )
    if flags.shape != shape:
        raise ValueError(
            f"{name} has shape {flags.shape}, expected {shape}, the {axes} axes of "
            f"{of} in this order; {_flags_hint(name, flags.shape, shape, axes)}."
        )
    return flags


def _flags_hint(name, got, shape, axes):
    """What to write instead. If two axes have the same length, jnp.broadcast_to alone
    would use the wrong one.
    """
    time_first = axes == "time and batch"
    turned = (*shape[1:], shape[0]) if time_first else (shape[-1], *shape[:-1])
    if got == turned:
        one, other = (-1, 0) if time_first else (0, -1)
        return f"move the axis of time with jnp.moveaxis({name}, {one}, {other})"
    steps = shape[:1] if time_first else shape[-1:]
    if got == steps:
        new = ", None" * (len(shape) - 1)
        flags = f"{name}[:{new}]" if time_first else name
        return f"for flags shared by all rows pass jnp.broadcast_to({flags}, {shape})"
    return "pass one flag for every step of every row"


def check_lengths(lengths, steps, batch_shape, *, name="lengths", of="xs"):
    """Lengths as int32. Traced values cannot be checked, so they are clipped.

    ``name`` is what the caller calls them, and ``of`` what they are lengths of.
    """
    if isinstance(lengths, list | tuple) and _traced(lengths):
        lengths = jnp.stack(list(map(jnp.asarray, lengths)))
    known = isinstance(lengths, int | list | tuple | np.ndarray | np.generic)
    array = np.asarray(lengths) if known else lengths
    if isinstance(array, np.ndarray) and array.size == 0:
        array = array.astype(np.int32)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected integers"
            + ("; pass a boolean [T, ...] array as mask." if of == "xs" else ".")
        )
    if array.shape != batch_shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {batch_shape}, "
            f"one length for every row of {of}."
        )
    if known and array.size and not 0 <= array.min() <= array.max() <= steps:
        raise ValueError(
            f"{name} runs from {array.min()} to {array.max()}, expected values in "
            f"[0, {steps}], the steps of {of}; clip them or pad {of}."
        )
    # Clip before the cast: the cast would turn 2**32 into 0.
    if not known:
        most = min(np.iinfo(np.int32).max, jnp.iinfo(array.dtype).max)
        low, high = (np.asarray(n, array.dtype) for n in (0, most))
        array = lax.clamp(low, array, high)
    return jnp.asarray(array, jnp.int32)


def _traced(tree):
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))
