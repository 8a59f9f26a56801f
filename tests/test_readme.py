"""The README's Python runs, in order, as it stands there."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["hs"].shape == (8, 7, 2, 5)
    assert names["grads"].w_h.shape == (5, 20)


def test_every_path_it_names_is_there():
    root = Path(__file__).parent.parent
    paths = re.findall(r"\]\(([^)#]+)\)|((?:scripts|configs)/[\w./]+)", README)
    assert paths
    for link, path in paths:
        assert (root / (link or path)).exists(), link or path
