"""Names the pages of a built site that request a file from another host.

python docs/_ext/offline.py docs/_build
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

OTHER_HOST = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(
    r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^\s'\")]+)", re.IGNORECASE
)
LINKS = {"a", "form"}  # followed by the reader alone
DESCRIBES = {"canonical", "alternate", "author", "license", "next", "prev"}


class _Requests(HTMLParser):
    """Collects what a browser loads with the page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        self.found += IN_STYLE.findall(attrs.get("style", ""))
        if tag in LINKS or DESCRIBES & {*attrs.get("rel", "").split()}:
            return
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            if OTHER_HOST.match(attrs.get(name, "")):
                self.found.append(attrs[name])

    def handle_data(self, data):
        if self.lasttag == "style":
            self.found += IN_STYLE.findall(data)


def external_requests(site: Path) -> list[str]:
    """``page: address`` for every request to another host."""
    found = []
    for path in sorted(site.rglob("*.html")):
        parser = _Requests()
        parser.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {address}" for address in parser.found]
    for path in sorted(site.rglob("*.css")):
        addresses = IN_STYLE.findall(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {address}" for address in addresses]
    return found


if __name__ == "__main__":
    if found := external_requests(Path(sys.argv[1])):
        sys.exit("\n".join(["These pages request files from other hosts:", *found]))
