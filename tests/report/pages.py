"""A page of a report, parsed: its elements, its texts, and the addresses in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class Page(HTMLParser):
    """The content of a page."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)  # of the sections, in their order

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "section":
            self.anchors.append(dict(attrs)["id"])

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        """The text of the page, without line ends."""
        return " ".join(" ".join(self.texts).split())


def parse_page(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page
