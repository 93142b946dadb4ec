"""Render the sections of a report as one HTML file, which loads nothing, and write their figures as PNG beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from tqdm import tqdm

from comp.environment import git_state
from comp.figures import page_style, save_figure, to_svg
from comp.files import write_atomic
from comp.report.section import Section
from comp.report.sections import headline
from comp.report.source import Source
from comp.runs import RUNS

REPORTS = RUNS / "reports"
BUILDERS: tuple[Callable[[Source], Section | None], ...] = (  # in the order of the page
    headline.build,
)


def write_report(source: Source) -> Path:
    """Write a report into runs/reports/<name>/ and return the path of its page."""
    sections = build_sections(source)
    directory = REPORTS / source.name
    directory.mkdir(parents=True, exist_ok=True)
    html = render(source, sections)
    names = set()
    for figure in (figure for section in sections for figure in section.figures):
        save_figure(directory / f"{figure.name}.png", figure.drawing)
        names.add(f"{figure.name}.png")
    for file in directory.glob("*.png"):
        if file.name not in names:  # of a report before, when there was such a section
            file.unlink()
    path = directory / "report.html"
    write_atomic(path, html)
    return path


def build_sections(source: Source) -> list[Section]:
    """Return the sections that have a meaning for the source, in their order."""
    with page_style():
        built = [build(source) for build in tqdm(BUILDERS, "report", disable=None, leave=False)]
    return [section for section in built if section]


def render(source: Source, sections: Sequence[Section]) -> str:
    """Return the page of a source and its sections as HTML."""
    environment = _environment()
    page = environment.get_template("page.html")
    bodies = [_render_section(environment, section) for section in sections]
    script = _read("page.js")
    return page.render(
        source=source,
        sections=list(zip(sections, bodies, strict=True)),
        findings=[(finding, section) for section in sections for finding in section.findings],
        style=Markup(_read("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=version("comp"),
        git=git_state(),
    )


def _render_section(environment: Environment, section: Section) -> Markup:
    figures = {figure.name: figure for figure in section.figures if figure.is_inline}

    def figure(name: str) -> Markup:
        chosen = figures[name]
        svg = Markup(to_svg(chosen.drawing))  # matplotlib has escaped its texts
        return Markup(environment.get_template("figure.html").render(figure=chosen, svg=svg))

    return Markup(environment.get_template(section.template).render(**section.values, figure=figure))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("comp.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment


def _read(name: str) -> str:
    return (files("comp.report") / "templates" / name).read_text(encoding="utf-8")
