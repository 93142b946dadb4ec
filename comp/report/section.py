"""A section of a report, the figures in it, and the findings that it adds to the first screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Question = Literal["good", "trust", "wrong"]  # how good is it, may it be trusted, what is wrong with it
Level = Literal["fine", "notice", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the first screen, as an answer to one of its three questions. It links to its section."""

    question: Question
    text: str
    level: Level = "notice"
    is_headline: bool = False  # shown large, as the score is, with the remark below
    remark: str = ""


@dataclass(frozen=True, eq=False)
class Figure:
    """A drawing, made by `comp.figures.new_figure`. The page has it as SVG, and a PNG is written beside the page.

    Draw it about 4.5 inches wide with text of 8 points: a phone then shows it at its size. The caption says its n.
    """

    name: str  # of the PNG, and in the template: {{ figure("name") }}
    drawing: Drawing
    caption: str
    is_inline: bool = True  # False: only the PNG, because the template shows the same values as a table


@dataclass(frozen=True, eq=False)
class Section:
    """A section: a template below comp/report/templates/ and the values that it shows.

    The template is rendered with the keys of `values`, `figure(name)` and the macros of macros.html. Jinja2 escapes all
    values. A function `build(source) -> Section | None` makes a section; None leaves it out.
    """

    title: str
    anchor: str  # of its link: #anchor
    template: str
    values: Mapping[str, object] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)  # texts that are written beside the page, by name
