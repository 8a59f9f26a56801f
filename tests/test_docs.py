"""Every public name is documented: words, shapes, errors and an example."""

import ast
import inspect
import re
import textwrap

import numpy as np
import pytest

import lstm_jax
from lstm_jax import audio, data, diagnostics, inference, interop, linen, nn, scores
from lstm_jax.data import baselines, labelled, panel, parallel, sounds
from lstm_jax.scores import forecast

MODULES = (
    lstm_jax,
    audio,
    data,
    baselines,
    labelled,
    panel,
    parallel,
    sounds,
    scores,
    forecast,
    diagnostics,
    inference,
    interop,
    linen,
    nn,
)
NAMES = [(m, name) for m in MODULES for name in m.__all__]


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=[f"{m.__name__}.{n}" for m, n in NAMES]
)
def test_is_documented(module, name):
    thing = getattr(module, name)
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        methods = inspect.getmembers(thing, inspect.isfunction)
        own = [m for n, m in methods if n in vars(thing) and not n.startswith("_")]
        assert all(inspect.getdoc(m) for m in own), name


RETURNED = {
    "EncodedPairs",
    "Labelled",
    "Layout",
    "LinearForecast",
    "OnnxLayer",
    "Panel",
    "Recordings",
    "Series",
    "SoundInfo",
    "Tensor",
    "Windows",
}
"""Data classes that functions of the library return. Users read their fields."""

CALLED = {
    f"{m.__name__}.{n}": getattr(m, n)
    for m, n in NAMES
    if callable(getattr(m, n))
    and n not in RETURNED
    and not (
        inspect.isclass(getattr(m, n)) and issubclass(getattr(m, n), (tuple, Exception))
    )
}
"""Functions, and classes that users make."""

ARRAYS = re.compile(r"\b(ndarray|ArrayLike|Array)\b")
SHAPE = re.compile(r"\[[^\]]*\]|scalar|number")
CHECKS = re.compile(r"_?(check|require)")


def code_of(thing):
    """The functions that run when a user calls it."""
    if not inspect.isclass(thing):
        return [inspect.unwrap(thing)]
    own = [vars(thing).get(name) for name in ("__init__", "__post_init__")]
    file = inspect.getsourcefile(thing)
    return [
        f for f in own if inspect.isfunction(f) and inspect.getsourcefile(f) == file
    ]


def tree_of(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def may_raise(function):
    """Whether it has a ``raise``, or calls a check."""
    for node in ast.walk(tree_of(function)):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call) and CHECKS.match(
            getattr(node.func, "id", getattr(node.func, "attr", ""))
        ):
            return True
    return False


def takes_arrays(function):
    """Whether an argument is an array whose annotation has no shape."""
    arguments = [n for n in ast.walk(tree_of(function)) if isinstance(n, ast.arg)]
    notes = [ast.unparse(a.annotation) for a in arguments if a.annotation]
    return any(ARRAYS.search(note) and "Array, '" not in note for note in notes)


def lacks(thing, code):
    """What the docstring of a function or class lacks."""
    doc = inspect.getdoc(thing) or ""
    whole = doc + "".join(inspect.getdoc(f) or "" for f in code if f is not thing)
    if not re.match(r"\S.*[.:]", doc, flags=re.DOTALL):
        yield "a sentence that says what it does"
    if any(map(takes_arrays, code)) and not SHAPE.search(whole):
        yield "the shapes of its arrays, such as [T, B, D]"
    if any(map(may_raise, code)) and "Raises:" not in whole:
        yield "a section Raises:"
    if ">>>" not in doc:
        yield "an example, >>>"


@pytest.mark.parametrize("name", CALLED)
def test_says_all_that_a_caller_needs(name):
    thing = CALLED[name]
    assert not [*lacks(thing, code_of(thing))]


def test_returned_classes_are_public():
    assert {*RETURNED} <= {name for _, name in NAMES}


def test_planted_gaps_are_found():
    def planted(xs: np.ndarray):
        raise ValueError

    assert len([*lacks(planted, [planted])]) == 4
    planted.__doc__ = """Adds up.

    Args:
        xs: numbers ``[T]``.

    Raises:
        ValueError: always.

    >>> planted()
    """
    assert not [*lacks(planted, [planted])]
