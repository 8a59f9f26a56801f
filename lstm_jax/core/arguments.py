"""Checks of single arguments: sizes, rates, choices, keys. Nothing about cells."""

import difflib
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

F = TypeVar("F", bound=Callable[..., Any])


def renamed(**names: str) -> Callable[[F], F]:
    """Raises an error for an old keyword and names the new one: ``old="new"``."""

    def decorate(f: F) -> F:
        @functools.wraps(f)
        def call(*args, **kwargs):
            for old, new in names.items():
                if old in kwargs:
                    raise TypeError(f"{old} is now called {new}; pass {new}=.")
            return f(*args, **kwargs)

        return cast(F, call)

    return decorate


def check_static(name, value):
    """Raises an error for a traced value that must be known while compiling."""
    if isinstance(value, Tracer):
        argument = name.split()[-1].partition("[")[0]
        raise TypeError(
            f"{name} is traced, expected a Python value: it decides what is compiled. "
            f"Under jax.jit, pass static_argnames={argument!r}, or set it outside: "
            f"jax.jit(functools.partial(f, {argument}=...))."
        )


def check_bool(name, value):
    check_static(name, value)
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, expected True or False.")
    return bool(value)


def check_size(name, size, least=1, most=None):
    check_static(name, size)
    whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
    if not whole or size < least or (most is not None and size > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {size!r}, expected an integer, {bounds}.")


def check_rate(name, rate):
    """Raises an error unless ``rate``, the dropped fraction, is in ``[0, 1)``."""
    check_static(name, rate)
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


def check_key(key: Any) -> Any:
    """Converts a key to a typed threefry key; ``None`` stays ``None``.

    Old-style keys are accepted, because Flax passes on the key that the user gave.
    `_threefry` says why every key becomes a threefry key.
    """
    if key is None:
        return None
    if _is_typed(key):
        return _threefry(key)
    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape
    if isinstance(key, jax.Array | np.ndarray) and key.dtype == jnp.uint32:
        if key.shape[-1:] == words:
            return _threefry(jax.random.wrap_key_data(jnp.asarray(key)))
        raise TypeError(
            f"key has shape {key.shape} and dtype uint32, expected a typed key, or an "
            f"old-style key of shape {words}; make one with jax.random.key(seed)."
        )
    raise TypeError(
        f"key is {type(key).__name__}, expected a typed key; "
        f"make one with jax.random.key(seed)."
    )


def check_one_key(key: Any, name: str = "key") -> Any:
    """Checks that ``key`` is one key, not ``None`` and not an array of keys."""
    key = check_key(key)
    if key is None or key.ndim:
        came = "None" if key is None else f"of shape {key.shape}"
        raise ValueError(f"{name} is {came}, expected one key, jax.random.key(seed).")
    return key


def _is_typed(key):
    dtype = getattr(key, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


IMPLEMENTATION = "threefry2x32"


def seed_key(seed):
    """The key of a seed, independent of ``jax_default_prng_impl``, so that a run
    depends only on its seed.
    """
    return jax.random.key(seed, impl=IMPLEMENTATION)


def _threefry(key):
    """Converts a key to threefry, using all of its words.

    Masks and samples must depend only on the key and a step or a row. Other
    implementations, such as "rbg", depend on the batch under ``vmap``.
    """
    if str(jax.random.key_impl(key)) == IMPLEMENTATION:
        return key
    first, second, *rest = jnp.moveaxis(jax.random.key_data(key), -1, 0)
    words = jnp.stack([first, second], axis=-1)
    key = jax.random.wrap_key_data(words, impl=IMPLEMENTATION)
    fold = jax.random.fold_in
    for _ in range(key.ndim):
        fold = jax.vmap(fold)
    return functools.reduce(fold, rest, key)


def check_start(start: Any) -> Any:
    """Checks an absolute step: an integer that fits 32 bits, or a traced integer."""
    if isinstance(start, jax.Array | np.ndarray):
        if start.shape == () and jnp.issubdtype(start.dtype, jnp.integer):
            return start
    # JAX may hand on a Python number as an int of its own.
    elif (
        isinstance(start, int | np.integer)
        and not isinstance(start, bool)
        and 0 <= start < 2**31
    ):
        return int(start)
    raise ValueError(
        f"start is {start!r}, expected one integer from 0 to 2**31 - 1, the absolute "
        f"step of the first input."
    )


def check_remat(remat):
    """Returns a chunk length, ``True``, or ``False`` for no chunks."""
    check_static("remat", remat)
    if remat is None or isinstance(remat, bool):
        return bool(remat)
    if not isinstance(remat, int | np.integer) or remat < 1:
        raise ValueError(
            f"remat is {remat!r}, expected None, True or a number of steps; "
            f"True takes chunks of about sqrt(T)."
        )
    return int(remat)
