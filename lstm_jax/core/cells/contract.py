"""The rules for a cell, checked on shapes before the first use.

A cell that breaks a rule would fail deep inside a scan, or silently return wrong
numbers. So one step is traced here for every (cell, features, dtype), and the error
names what is wrong. Nothing is computed.
"""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.primitives.matmul import matmul

ROWS = (3,)
"""Batch axes of the traced step."""


@functools.lru_cache
def params_of(cell: Cell, in_size: int, dtype: Any) -> Any:
    """Shapes and dtypes of the parameters of a valid cell.

    Raises:
        TypeError: the cell breaks a rule; the message says which.
    """
    rows = (*ROWS, *(2,) * (cell.feature_axes - 1))
    key = jax.random.key(0)
    params = jax.eval_shape(lambda: cell.init(key, in_size))
    _check_params(cell, params)
    carry = jax.eval_shape(lambda: cell.zero_carry(rows, dtype))
    _check_carry(cell, carry, rows)
    x = jax.ShapeDtypeStruct((1, *rows, in_size), dtype)
    gx = jax.eval_shape(cell.project, params, x)
    _check_projection(cell, gx, x)
    weights = jax.eval_shape(cell.weights, params)
    if {*weights} != {*cell.products}:
        raise _broken(
            cell,
            f"weights has the names {', '.join(weights)}, expected those in products: "
            f"{', '.join(cell.products)}",
        )
    step = functools.partial(_check_step, cell, x.dtype)
    traced = jax.make_jaxpr(step)(params, weights, carry, gx)
    _check_reads(cell, params, traced.jaxpr)
    return params


def check_options(cell: Cell, options: Mapping[str, Any]) -> None:
    """Raises an error for keyword arguments that ``init`` does not accept."""
    takes = inspect.signature(cell.init).parameters
    if any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return
    if unknown := [name for name in options if name not in takes]:
        raise TypeError(
            f"init of {type(cell).__name__} takes no {unknown[0]}, expected "
            f"{', '.join([*takes][2:]) or 'no keyword arguments'}; add {unknown[0]}= "
            f"to init (Flax modules pass dtype=), or leave it out."
        )


def init_options_of(others: Mapping[str, Any] | None, **named: Any) -> dict[str, Any]:
    """Arguments of the ``init`` of cells: those ``named`` that are not ``None``, and
    ``others``. ValueError where one is given twice."""
    given = {name: value for name, value in named.items() if value is not None}
    if twice := sorted(given.keys() & (others or {}).keys()):
        raise ValueError(f"{twice[0]} is given twice, also in init_options.")
    return given | dict(others or {})


def _check_params(cell, params):
    kind = type(params)
    if not isinstance(params, tuple) or not hasattr(kind, "_fields"):
        raise _broken(cell, f"init returns {kind.__name__}, expected a NamedTuple")
    for path, leaf in jax.tree.leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            name = f"params{jax.tree_util.keystr(path)}"
            raise _broken(
                cell, f"{name} has dtype {leaf.dtype.name}, expected floating point"
            )
    for name in cell.elementwise:
        if name not in kind._fields:
            raise _broken(
                cell,
                f"elementwise names {name!r}, expected fields of {kind.__name__} "
                f"({', '.join(kind._fields)})",
            )
    if unknown := sorted(cell.added - {*cell.products, *cell.elementwise}):
        which = "which is in neither products nor elementwise"
        raise _broken(cell, f"added names {unknown[0]!r}, {which}")
    if unknown := [name for name, _ in cell.recurrent if name not in cell.products]:
        raise _broken(cell, f"recurrent names {unknown[0]!r}, which is not in products")


def _check_carry(cell, carry, rows):
    for path, leaf in jax.tree.leaves_with_path(carry):
        if leaf.shape[: len(rows)] != rows:
            raise _broken(
                cell,
                f"zero_carry({rows}, dtype){jax.tree_util.keystr(path)} has shape "
                f"{leaf.shape}, expected the batch axes {rows} in front",
            )


def _check_projection(cell, gx, xs):
    lead = xs.shape[:-1]
    if not _is_floating(gx) or gx.shape[: len(lead)] != lead:
        raise _broken(
            cell,
            f"project returns {_describe(gx)} for an input of shape {xs.shape}, "
            f"expected one floating-point array with the axes {lead} in front",
        )


def _check_step(cell, dtype, params, weights, carry, gx):
    used = set()

    def dot(name, a):
        if name not in weights:
            raise _broken(
                cell, f"step calls dot({name!r}, a), which is not in products"
            )
        if name in used:
            raise _broken(cell, f"step calls dot({name!r}, a) twice; name each product")
        if not _is_floating(a):
            raise _broken(
                cell,
                f"step calls dot({name!r}, a) with {_describe(a)}, expected a "
                f"floating-point array",
            )
        used.add(name)
        return (cell.product(name) or matmul)(a, weights[name])

    stepped, h = cell.step(params, carry, gx[0], dot)
    if unused := sorted({*cell.products} - used):
        raise _broken(
            cell, f"products names {unused[0]!r}, but step does not call dot with it"
        )
    facts = lambda tree: jax.tree.map(lambda a: (jnp.shape(a), a.dtype.name), tree)
    if facts(stepped) != facts(carry):
        raise _broken(
            cell,
            f"step turns a carry {facts(carry)} into {facts(stepped)}, expected the "
            f"same structure, shapes and dtypes",
        )
    want = (*gx.shape[1:-1], cell.out_size)
    if not _is_floating(h) or h.shape != want or h.dtype != dtype:
        raise _broken(
            cell,
            f"step outputs {_describe(h)}, expected shape {want}, with out_size="
            f"{cell.out_size} last, and the compute dtype {dtype.name}",
        )
    return stepped, h


def _check_reads(cell, params, traced):
    """Checks that ``step`` reads only the parameters in ``elementwise``."""
    read = {id(v) for equation in traced.eqns for v in equation.invars}
    read |= {id(v) for v in traced.outvars}
    paths = jax.tree.leaves_with_path(params)
    for (path, _), variable in zip(paths, traced.invars, strict=False):
        if id(variable) in read and path[0].name not in cell.elementwise:
            raise _broken(
                cell,
                f"step reads params{jax.tree_util.keystr(path)}, which is not in "
                f"elementwise; weights are read by dot(name, a) and named in products",
            )


def _is_floating(a):
    return hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.floating)


def _describe(a):
    if not hasattr(a, "dtype"):
        return type(a).__name__
    return f"an array of {a.dtype.name} {tuple(a.shape)}"


def _broken(cell, what):
    return TypeError(f"{type(cell).__name__} is not a valid cell: {what}. See Cell.")
