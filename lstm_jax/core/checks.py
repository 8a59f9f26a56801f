"""Checks of what callers pass, made once, at the public edge, while tracing.

Every message names the argument, what came, what was expected and what to do.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core.arguments import check_dtype, check_floating
from lstm_jax.core.cell import Cell


def check_step(cell: Cell, params, carry, x):
    """The carry (zeros for ``None``) and ``x``, ready for one step."""
    x = check_floating("x", x)
    if x.ndim < 1:
        raise ValueError(
            "x is a scalar, expected [..., D]; use x[None] for one feature."
        )
    check_params(cell, params, x, "x")
    return check_carry(cell, carry, x.shape[:-1], x.dtype), x


def check_sequence(cell: Cell, params, carry, xs, dtype):
    """The carry (``None`` stays) and ``xs`` in the compute dtype."""
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


@functools.lru_cache
def _expected_params(cell, in_size):
    return jax.eval_shape(lambda key: cell.init(key, in_size), jax.random.key(0))


def check_type(params, kind, maker):
    if not isinstance(params, kind):
        raise TypeError(
            f"params is {type(params).__name__}, expected {kind.__name__}; "
            f"make them with {maker} or convert them."
        )


def check_params(cell, params, x, name):
    features = x.shape[-1]
    if features == 0:
        raise ValueError(
            f"{name} has 0 features but params.w_x takes {jnp.shape(params.w_x)[-2]} "
            f"({name}.shape={x.shape})."
        )
    expected = _expected_params(cell, features)
    check_type(params, type(expected), f"{type(cell).__name__}.init")
    takes = jnp.shape(params.w_x)[-2:-1]
    if takes != (features,) and jnp.ndim(params.w_x) == expected.w_x.ndim:
        raise ValueError(
            f"{name} has {features} features but params.w_x takes {takes[0]} "
            f"({name}.shape={x.shape}); pass in_size={features} to init."
        )
    wanted, came = _by_name(expected), _by_name(params)
    for field in wanted | came:
        want, got = wanted.get(field), came.get(field)
        if want is None or got is None:
            if want is not got:
                raise ValueError(
                    f"params{field} is {'None' if got is None else 'an array'}, "
                    f"expected {'None' if want is None else 'an array'} for {cell}; "
                    f"make params with init of the same cell."
                )
        elif jnp.shape(got) != want.shape:
            raise ValueError(
                f"params{field} has shape {jnp.shape(got)}, expected {want.shape} for "
                f"hidden_size={cell.hidden_size}; under jax.vmap, map params too."
            )


def _by_name(params):
    """Path to array, for fields that are arrays, tuples of them, or ``None``."""
    leaves = jax.tree.leaves_with_path(params, is_leaf=lambda leaf: leaf is None)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def check_carry(cell, carry, batch_shape, dtype, name="carry"):
    if carry is None:
        return cell.zero_carry(batch_shape, dtype)
    expected = jax.eval_shape(lambda: cell.zero_carry(batch_shape, dtype))
    kind = type(expected)
    if type(carry) is not kind:
        raise TypeError(
            f"{name} is {type(carry).__name__}, expected "
            f"{kind.__name__}({', '.join(kind._fields)}) or None for zeros."
        )
    fixed = []
    for field, got, want in zip(kind._fields, carry, expected, strict=True):
        got = jnp.asarray(got)
        if got.shape != want.shape:
            raise ValueError(
                f"{name}.{field} has shape {got.shape}, expected {want.shape}, the "
                f"batch axes of the input and hidden_size={cell.hidden_size}; "
                f"pass {name}=None for zeros."
            )
        if got.dtype != want.dtype:
            raise TypeError(
                f"{name}.{field} has dtype {got.dtype.name}, expected "
                f"{want.dtype.name} for compute dtype {jnp.dtype(dtype).name}; "
                f"cast it, or pass {name}=None for zeros."
            )
        fixed.append(got)
    return kind(*fixed)


def check_flags(name, flags, shape, of="xs"):
    """A boolean array with an entry for every step of every row."""
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
            f"{name} has shape {flags.shape}, expected {shape}, the time and batch "
            f"axes of {of}; use jnp.broadcast_to for flags shared by rows."
        )
    return flags


def check_lengths(lengths, steps, batch_shape):
    known = isinstance(lengths, int | list | tuple | np.ndarray | np.generic)
    array = np.asarray(lengths) if known else lengths
    if isinstance(array, np.ndarray) and array.size == 0:
        array = array.astype(np.int32)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"lengths has dtype {array.dtype}, expected integers; "
            f"pass a boolean [T, ...] array as mask."
        )
    if array.shape != batch_shape:
        raise ValueError(
            f"lengths has shape {array.shape}, expected {batch_shape}, "
            f"one length for every row of xs."
        )
    if known and array.size and not 0 <= array.min() <= array.max() <= steps:
        raise ValueError(
            f"lengths runs from {array.min()} to {array.max()}, expected values in "
            f"[0, {steps}], the steps of xs; clip them or pad xs."
        )
    return jnp.asarray(array)
