"""Parameters and states as trees: nested dicts by name, and buffers without sharing."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp


def unshared(tree: Any) -> Any:
    """Copies shared arrays: every leaf has its own buffer and can be donated."""
    seen = set()

    def own(a):
        if id(a) in seen:
            return jnp.array(a, copy=True)
        seen.add(id(a))
        return a

    return jax.tree.map(own, tree)


def by_path(tree: Any) -> dict[str, Any]:
    """Every leaf by its path, the names joined by dots.

    >>> by_path({"layers": ({"w_x": 1.0}, {"w_x": 2.0})})
    {'layers.0.w_x': 1.0, 'layers.1.w_x': 2.0}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): leaf for path, leaf in leaves}


def to_dict(
    tree: Any, leaf: Callable[[str, Any], Any] = lambda name, a: a, name: str = ""
) -> Any:
    """Converts named tuples to dicts of fields, and tuples to dicts of ``"0"``,
    ``"1"``, ...

    Fields that are ``None`` are left out. ``leaf(name, array)`` converts each array;
    ``name`` is the innermost field name.
    """
    if hasattr(tree, "_fields"):
        items = {field: (field, getattr(tree, field)) for field in tree._fields}
    elif isinstance(tree, tuple):
        items = {str(n): (name, entry) for n, entry in enumerate(tree)}
    else:
        return leaf(name, tree)
    return {k: to_dict(v, leaf, n) for k, (n, v) in items.items() if v is not None}


def from_dict(tree: Any, like: Any, path: str = "params") -> Any:
    """The inverse of `to_dict`. The result has the structure of ``like``.

    Subtrees that already have this structure are kept. A list counts as a tuple.
    """
    if hasattr(like, "_fields"):
        names, make, child = like._fields, type(like)._make, "{}.{}"
        values = tree._asdict() if type(tree) is type(like) else tree
    elif isinstance(like, tuple):
        names, make, child = [str(n) for n in range(len(like))], tuple, "{}[{}]"
        values = tree
        if isinstance(tree, list | tuple):
            values = {str(n): entry for n, entry in enumerate(tree)}
    else:
        return tree
    wanted = [n for n, part in zip(names, like, strict=True) if part is not None]
    if not isinstance(values, Mapping):
        raise TypeError(
            f"{path} is {type(tree).__name__}, expected {type(like).__name__} or a "
            f"dict with {', '.join(wanted)}."
        )
    values = {str(n): value for n, value in values.items() if value is not None}
    if set(values) != set(wanted):
        if isinstance(tree, list | tuple):
            there = sum(entry is not None for entry in tree)
            raise ValueError(f"{path} has {there} entries, expected {len(wanted)}.")
        how = "restore what was saved of the same module"
        if isinstance(like, tuple) and not hasattr(like, "_fields"):
            how = (
                "pass a list with one entry per layer. as_layers of the Linen module "
                "makes one of its variables"
            )
        raise ValueError(
            f"{path} has {', '.join(values) or 'nothing'}, expected "
            f"{', '.join(wanted)}; {how}."
        )
    parts = zip(names, like, strict=True)
    return make(
        [from_dict(values.get(n), part, child.format(path, n)) for n, part in parts]
    )
