"""The documentation site. ``scripts/docs.sh`` builds it into ``docs/_build``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import lstm_jax  # noqa: E402  the package beside these pages

project = "lstm_jax"
author = "the authors of lstm_jax"
release = version = lstm_jax.__version__
html_title = f"lstm_jax {release}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "equations",
    "outside",
    "public_names",
    "short_types",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

# Pages. The same files are read on GitHub, so links go to files and headings.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Docstrings. `name` in single backticks is a link.
default_role = "py:obj"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"  # short_types writes them
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

public_modules = [
    "lstm_jax",
    "lstm_jax.audio",
    "lstm_jax.data",
    "lstm_jax.data.baselines",
    "lstm_jax.data.labelled",
    "lstm_jax.data.panel",
    "lstm_jax.data.parallel",
    "lstm_jax.data.sounds",
    "lstm_jax.scores",
    "lstm_jax.scores.forecast",
    "lstm_jax.diagnostics",
    "lstm_jax.inference",
    "lstm_jax.interop",
    "lstm_jax.linen",
    "lstm_jax.nn",
]

# Every link to a name of this package must lead somewhere. Annotations name types of
# other libraries, and those are not documented here.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:(class|exc)", name)
    for name in (
        r"(jax|jaxlib|numpy|np|nnx|nn|flax|collections\.abc|pathlib|pydantic)\..*",
        # of jaxtyping, numpy and the standard library
        r"Array|ArrayLike|Bool|Float|Int|Key|Iterable|Iterator|Mapping|NoneType|Path",
        r"PyTree|Lengths",  # names of lstm_jax/_types.py
        # functions and protocols that the text explains
        r"Dot|Loss|Nats|Noise|Number|Piece|Product|Step|WindowLoss",
        r"Exportable|Giving|Table|Task|WritesOnnx",
    )
]
