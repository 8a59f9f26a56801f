"""Links to files beside the folder of these pages, such as ``../README.md``.

Code and results become downloads, by myst itself. The pages named here have a page of
the site in their place.
"""

import re

INSTEAD = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}


def rewrite(text: str, docname: str) -> str:
    """The text of a page, with its links to `INSTEAD`.

    >>> rewrite("[what is new](../../CHANGELOG.md)", "howto/streaming")
    '[what is new](../changelog.md)'
    """
    up = "../" * docname.count("/")

    def page(match):
        return f"]({up}{INSTEAD[match[1]]}"

    return re.sub(r"\]\((?:\.\./)+(README\.md|CHANGELOG\.md)\b", page, text)


def _on_source(app, docname, source):
    source[0] = rewrite(source[0], docname)


def setup(app):
    app.connect("source-read", _on_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
