"""Render the sections of a report as one HTML file, which loads nothing, and write their figures as PNG beside it."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from comp.environment import command_line
from comp.errors import UserError
from comp.figures import page_style, save_figure, to_svg
from comp.files import write_atomic
from comp.progress_bar import progress_bar
from comp.report.section import Finding, Section
from comp.report.sections import (
    blend,
    calibration,
    classes,
    comparison,
    conformal,
    confused,
    curves,
    embedding,
    headline,
    label_issues,
    mistakes,
    numbers,
    outliers,
    study,
    submission,
    tags,
    training,
)
from comp.report.source import Source
from comp.text import format_count, format_duration, format_interval, format_metric, format_share

BUILDERS: tuple[Callable[[Source], Section | None], ...] = (  # in the order of the page
    submission.build,
    headline.build,
    comparison.build,
    study.build,
    blend.build,
    classes.build,
    tags.build,
    numbers.build,
    confused.build,
    mistakes.build,
    label_issues.build,
    outliers.build,
    embedding.build,
    calibration.build,
    conformal.build,
    curves.build,
    training.build,
)
LEVELS = ("problem", "notice", "fine")  # the worst first
UNKNOWN = "no answer yet"


@dataclass(frozen=True)
class _Entry:
    """A finding and the section that it is of."""

    finding: Finding
    section: Section


def write_report(source: Source) -> Path:
    """Write a report into runs/reports/<name>/ and return the path of its page."""
    sections = build_sections(source)
    directory = source.directory
    directory.mkdir(parents=True, exist_ok=True)
    html = render(source, sections)
    figures = [figure for section in sections for figure in section.figures]
    for figure in figures:
        save_figure(directory / f"{figure.name}.png", figure.drawing)
    names = {f"{figure.name}.png" for figure in figures}
    for file in directory.glob("*.png"):
        if file.name not in names:  # of an earlier report, which had such a section
            file.unlink()
    for section in sections:
        for name, text in section.files.items():
            write_atomic(directory / name, text)
    path = directory / "report.html"
    write_atomic(path, html)
    return path


def build_sections(source: Source) -> list[Section]:
    """Return the sections that have a meaning for the source, in their order.

    One whose files are missing or damaged is left out with a warning: a lost split must not hide the scores.
    """
    sections = []
    with page_style():
        for build in progress_bar(BUILDERS, "report"):
            try:
                section = build(source)
            except UserError as error:
                name = build.__module__.rpartition(".")[2]
                print(f"warning: the section {name} is left out: {error}", file=sys.stderr)
                continue
            if section:
                sections.append(section)
    return sections


def render(source: Source, sections: Sequence[Section], live_version: str | None = None) -> str:
    """Return the page of a source and its sections as HTML.

    A page with a `live_version` asks the server that it came from for the version there, and loads itself again.
    """
    environment = _environment()
    bodies = [_render_section(environment, section) for section in sections]
    scripts = [_read("page.js"), *([_read("live.js")] if live_version else [])]
    return environment.get_template("page.html").render(
        title=source.title,
        lead=_lead(source),
        sections=list(zip(sections, bodies, strict=True)),
        findings=sorted(
            (_Entry(finding, section) for section in sections for finding in section.findings),
            key=lambda entry: LEVELS.index(entry.finding.level),
        ),
        unknown=UNKNOWN,
        style=Markup(_read("page.css")),
        scripts=[Markup(script) for script in scripts],
        script_sources=Markup(" ".join(map(_hash_source, scripts))),
        live_version=live_version,
        written=time.strftime("%Y-%m-%d %H:%M"),
        version=version("comp"),
        command=command_line(),
    )


def _lead(source: Source) -> str:
    """Return the line below the title: what the report is about."""
    if not source.runs:
        return source.kind
    run, oof = source.runs[0], source.oof
    columns = len(run.classes)
    kinds = {
        "single": f"{columns:,} classes",
        "binary": "yes or no",
        "multilabel": f"{columns:,} tags",
        "ordinal": f"{columns:,} grades",
        "regression": f"the number {run.classes[0]}",
    }
    images = f"{len(oof.images):,} images out of fold" if oof else ""
    kind = {"comparison": f"comparison of {len(source.runs)} runs"}.get(source.kind, source.kind)
    return " · ".join(
        filter(None, [kind, run.config.dataset, kinds[run.task.kind], images, format_metric(run.record.metric)])
    )


def _render_section(environment: Environment, section: Section) -> Markup:
    figures = {figure.name: figure for figure in section.figures if figure.is_inline}

    def figure(name: str) -> Markup:
        svg = Markup(to_svg(figures[name].drawing))  # matplotlib has escaped its texts
        return Markup(environment.get_template("figure.html").render(figure=figures[name], svg=svg))

    return Markup(environment.get_template(section.template).render(**section.values, figure=figure))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("comp.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": "{:.4f}".format,
        "percent": format_share,
        "short_interval": lambda interval: "–".join(f"{end:.2f}" for end in interval),  # noqa: RUF001
        "whole": "{:,}".format,
        "interval": lambda interval: format_interval(interval, 3),
        "words": format_metric,
        "duration": format_duration,
        "count": format_count,
        "time": _format_time,
    }
    return environment


def _format_time(text: str) -> str:
    """Return an ISO time as `2026-11-30 12:01`; another text as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"
    except ValueError:
        return text


def _hash_source(script: str) -> str:
    """Return the only script that the page's policy lets run, by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (files("comp.report") / "templates" / name).read_text(encoding="utf-8")
