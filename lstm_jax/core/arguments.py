"""Checks of single values: sizes, rates, choices, keys. They know nothing of cells."""

import difflib

import jax
import jax.numpy as jnp
import numpy as np


def check_size(name, size):
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"{name} is {size!r}, expected an integer, 1 or more.")


def check_rate(name, rate):
    """Raises where ``rate``, a share of what is dropped, is outside ``[0, 1)``."""
    number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if not number or not 0.0 <= rate < 1.0:
        raise ValueError(f"{name} is {rate!r}, expected a number in [0, 1).")


def check_choice(name, value, choices):
    if value not in choices:
        near = difflib.get_close_matches(str(value).lower(), filter(None, choices), 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"{name} is {value!r}, expected one of "
            f"{', '.join(map(repr, choices))}{hint}"
        )


def check_dtype(dtype):
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"dtype is {jnp.dtype(dtype).name}, expected a floating-point dtype "
            f"such as jnp.float32 or jnp.bfloat16."
        )
    return dtype


def check_floating(name, x):
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"{name} has dtype {x.dtype.name}, expected a floating-point dtype; "
            f"embed or one-hot encode integers, or cast with "
            f"{name}.astype(jnp.float32)."
        )
    return x


def check_key(key):
    dtype = getattr(key, "dtype", None)
    if key is not None and not (
        dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    ):
        raise TypeError(
            f"key is {type(key).__name__}, expected a typed key; "
            f"make one with jax.random.key(seed)."
        )
    return key


def check_remat(remat):
    """A chunk length, ``True``, or ``False`` for none."""
    if remat is None or isinstance(remat, bool):
        return bool(remat)
    if not isinstance(remat, int | np.integer) or remat < 1:
        raise ValueError(
            f"remat is {remat!r}, expected None, True or a number of steps; "
            f"True takes chunks of about sqrt(T)."
        )
    return int(remat)
