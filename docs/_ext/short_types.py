"""Signatures as they stand in the code: ``xs: Float[Array, "T *B D"]``.

What Python knows at run time is longer: aliases are resolved, and arrays carry the
names of internal modules.
"""

import ast
import dataclasses
import functools
import inspect
import sys
import textwrap
import typing

from sphinx.util.nodes import make_refnode


def signature(obj) -> tuple[str, str] | None:
    """The arguments and the return annotation, or None without Python code.

    >>> from lstm_jax import lstm_step
    >>> signature(lstm_step)[0]
    "(params: LSTMParams, carry: LSTMCarry | None, x: Float[Array, '*B D'])"
    """
    if inspect.isclass(obj):
        return _of_class(obj)
    obj = inspect.unwrap(obj)
    if not inspect.isfunction(obj):
        return None
    tree = _tree(obj)
    if tree is None:
        return None
    shown = _Shown(obj.__globals__)
    returns = ast.unparse(shown.visit(tree.returns)) if tree.returns else ""
    return f"({_arguments(shown, tree.args, _is_method(obj))})", returns


def _is_method(function):
    return "." in function.__qualname__.rpartition("<locals>.")[2]


def _of_class(cls):
    if issubclass(cls, Exception):
        return None
    if "__init__" in vars(cls) and inspect.isfunction(cls.__init__):
        written = cls.__init__.__code__.co_filename == _file(cls)
        if written:
            return signature(cls.__init__)[0], ""
    if not dataclasses.is_dataclass(cls) and not hasattr(cls, "_fields"):
        return None
    fields = _fields(cls)
    named = getattr(cls, "_fields", None) or [
        f.name for f in dataclasses.fields(cls) if f.init
    ]
    parts = [fields[name] for name in named if name in fields]
    if getattr(cls, "_fields", None) is None and dataclasses.fields(cls)[0].kw_only:
        parts.insert(0, "*")
    return f"({', '.join(parts)})", ""


def _file(cls):
    return getattr(sys.modules[cls.__module__], "__file__", None)


def _fields(cls):
    """The fields of a dataclass or NamedTuple and of its bases, as they are written."""
    found = {}
    for base in reversed(cls.__mro__):
        tree = _tree(base) if base.__module__.startswith("lstm_jax") else None
        for line in getattr(tree, "body", ()):
            if not isinstance(line, ast.AnnAssign) or not isinstance(
                line.target, ast.Name
            ):
                continue
            shown = _Shown(vars(sys.modules[base.__module__]))
            text = f"{line.target.id}: {ast.unparse(shown.visit(line.annotation))}"
            if line.value is not None:
                called = isinstance(line.value, ast.Call)  # field(default_factory=...)
                text += " = ..." if called else f" = {ast.unparse(line.value)}"
            found[line.target.id] = text
    return found


@functools.cache
def _tree(obj):
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(obj))).body[0]
    except (OSError, TypeError):
        return None


def _arguments(shown, args, method):
    args = shown.visit(args)
    if method and args.args and args.args[0].arg in ("self", "cls"):
        args.args = args.args[1:]
    return ast.unparse(args)


class _Shown(ast.NodeTransformer):
    """Writes out aliases of literals, and drops the constraints of `Annotated`."""

    def __init__(self, names):
        self.names = names

    def visit_Name(self, node):
        value = self.names.get(node.id)
        if typing.get_origin(value) is typing.Literal:
            choices = ", ".join(map(repr, typing.get_args(value)))
            return ast.parse(f"Literal[{choices}]", mode="eval").body
        return node

    def visit_Subscript(self, node):
        if ast.unparse(node.value) in ("Annotated", "typing.Annotated"):
            return self.visit(node.slice.elts[0])
        return self.generic_visit(node)


def _on_signature(app, what, name, obj, options, old, returns):
    if what not in ("class", "function", "method"):
        return None
    return signature(obj)


def _on_skip(app, what, name, obj, skip, options):
    doc = getattr(obj, "__doc__", None) or ""
    if doc.startswith("Alias for field number"):
        return True
    return None


def _on_missing(app, env, node, contnode):
    """Finds a short name of ours, such as ``Stack`` in another module."""
    target = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or not target:
        return None
    domain = env.domains["py"]
    of_name = [n for n in domain.objects if n.rpartition(".")[2] == target]
    public = [n for n in of_name if n == f"lstm_jax.{target}"] or of_name
    whole = node["reftarget"]
    if len(public) != 1 or ("." in whole and not whole.startswith("lstm_jax")):
        return None
    entry = domain.objects[public[0]]
    return make_refnode(
        app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, public[0]
    )


def setup(app):
    app.connect("autodoc-process-signature", _on_signature)
    app.connect("autodoc-skip-member", _on_skip)
    app.connect("missing-reference", _on_missing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
