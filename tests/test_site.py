"""The documentation site builds without warnings, and its checks find what is wrong."""

import doctest
import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import MODULES, NAMES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OFFLINE = runpy.run_path(str(DOCS / "_ext" / "offline.py"))["external_requests"]


def build(source, site):
    """``sphinx-build`` with warnings as errors: its exit code and what it says."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going"]
    command += ["-n", "-q", "-d", str(site) + ".trees", str(source), str(site)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"}
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    code, said = build(DOCS, folder)
    assert (code, said.strip()) == (0, "")
    return folder


def anchors(site):
    """The names that the reference has an entry for."""
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        found = InventoryFile.load(file, "", lambda base, path: path)
    entries = found.data if hasattr(found, "data") else found
    return {name for kind, of in entries.items() if "py:" in kind for name in of}


def test_every_public_name_is_in_the_reference(site):
    missing = {f"{module.__name__}.{name}" for module, name in NAMES} - anchors(site)
    assert not missing


def test_the_build_checks_the_same_modules():
    config = runpy.run_path(str(DOCS / "conf.py"))
    assert set(config["public_modules"]) == {module.__name__ for module in MODULES}


def test_no_page_requests_a_file_from_another_host(site):
    assert len([*site.rglob("*.html")]) > 30
    assert OFFLINE(site) == []


def test_links_to_files_beside_the_pages_lead_somewhere(site):
    assert "_downloads/" in (site / "performance.html").read_text(encoding="utf-8")
    assert 'href="training.html"' in (site / "changelog.html").read_text("utf-8")


PLANTED = '''
"""A module with a name that the reference forgets."""

__all__ = ["forgotten", "shown"]


def shown():
    """Like `planted.nothing`, which does not exist."""


def forgotten():
    """Documented, but in no page."""
'''

PAGE = """
# A page

[no such page](missing.md) [no such heading](index.md#nowhere)

<img src="https://example.com/counter.png">

```{eval-rst}
.. autofunction:: planted.shown
```
"""

CONFIG = """
import runpy
import sys

globals().update(runpy.run_path({real!r}))
sys.path.insert(0, {folder!r})
public_modules = ["planted"]
"""


@pytest.mark.parametrize("name", ["equations", "outside", "short_types"])
def test_the_examples_of_the_extensions_run(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    failed, attempted = doctest.testmod(module)
    assert attempted
    assert not failed


def test_planted_faults_are_found(tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    real, folder = str(DOCS / "conf.py"), str(pages)
    (pages / "planted.py").write_text(PLANTED)
    (pages / "index.md").write_text(PAGE)
    (pages / "conf.py").write_text(CONFIG.format(real=real, folder=folder))
    code, said = build(pages, tmp_path / "site")
    assert code != 0
    assert "planted.forgotten is public, but has no entry in the reference" in said
    assert "planted.shown is public" not in said
    for fault in ("missing.md", "nowhere", "planted.nothing"):
        assert fault in said, said
    (request,) = OFFLINE(tmp_path / "site")
    assert request == "index.html: https://example.com/counter.png"


@pytest.mark.parametrize(
    "page",
    [
        '<link rel="stylesheet" href="https://example.com/a.css">',
        '<script src="//example.com/a.js"></script>',
        '<style>@import "https://example.com/a.css";</style>',
        '<p style="background: url(https://example.com/a.png)">',
    ],
)
def test_requests_are_found(page, tmp_path):
    (tmp_path / "a.html").write_text(page)
    assert len(OFFLINE(tmp_path)) == 1
    (tmp_path / "a.html").write_text('<a href="https://example.com">a link</a>')
    assert OFFLINE(tmp_path) == []
