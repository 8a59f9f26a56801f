"""The examples of libraries that the other tests of the docs do without."""

import re
from pathlib import Path

import jax
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "porting.md"
BLOCKS = re.findall(r"```py\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)


@pytest.mark.usefixtures("optax_promotion")
@pytest.mark.parametrize("library", ["keras", "haiku"])
def test_the_example_runs(library):
    (block,) = [block for block in BLOCKS if f"import {library}" in block]
    with jax.numpy_rank_promotion("allow"):  # Keras relies on it
        exec(block, {})
