"""The members of a blend: the weight of each, its gain with an interval, and its time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from comp.figures import BAD, GOOD, QUIET, new_figure, style_axis
from comp.files import file_exists
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.stats import SIGNIFICANCE_LEVEL
from comp.tables import read_csv
from comp.text import format_metric, shorten

NUMBERS = ("weight", "weight_low", "weight_high", "chosen", "gain", "gain_low", "gain_high", "p", "ms")
MAX_ROWS = 30


@dataclass(frozen=True)
class MemberRow:
    """A member of the blend. What was not fitted or not measured is None."""

    name: str
    verdict: str
    weight: float | None
    weights: tuple[float, float] | None  # 95 %
    gain: float | None
    gains: tuple[float, float] | None  # 95 %
    ms: float | None
    is_inside_noise: bool


def build(source: Source) -> Section | None:
    if source.blend is None:
        return None
    rows = _read_members(source.blend_directory / "members.csv")
    return Section(
        "Members",
        "members",
        "blend.html",
        {"blend": source.blend, "rows": rows},
        (_draw_gains(rows, source.blend.metric),) if rows else (),
        tuple(_findings(rows)) if rows else (),
    )


def _read_members(file: Path) -> list[MemberRow]:
    """Return the rows of members.csv; none for a blend of one member, which has no such file."""
    if not file_exists(file):
        return []
    table = read_csv(file, ("name",), text_columns=("name", "verdict"))
    numbers = table.reindex(columns=list(NUMBERS)).apply(pd.to_numeric, errors="coerce")
    rows = []
    for name, verdict, values in zip(table["name"], table["verdict"], numbers.to_dict("records"), strict=True):
        known = {str(key): None if math.isnan(value) else float(value) for key, value in values.items()}
        p = known["p"]
        rows.append(
            MemberRow(
                name,
                verdict,
                known["weight"],
                _pair(known["weight_low"], known["weight_high"]),
                known["gain"],
                _pair(known["gain_low"], known["gain_high"]),
                known["ms"],
                p is None or p >= SIGNIFICANCE_LEVEL,
            )
        )
    return rows


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _findings(rows: list[MemberRow]) -> list[Finding]:
    changing = [row for row in rows if row.gain is not None and not row.is_inside_noise]
    helpful = [row.name for row in changing if (row.gain or 0) > 0]
    harmful = [row.name for row in changing if (row.gain or 0) < 0]
    text = f"{len(helpful)} of {len(rows)} members improve the blend beyond the noise"
    findings = [Finding("good", text, "fine" if helpful else "notice")]
    if harmful:
        findings.append(Finding("wrong", f"The blend is better without {', '.join(harmful)}", "problem"))
    return findings


def _draw_gains(rows: list[MemberRow], metric: str) -> Figure:
    shown = rows[:MAX_ROWS]
    figure = new_figure(4.5, 0.8 + 0.26 * len(shown))
    axis = figure.subplots()
    axis.axvline(0, color=QUIET, linewidth=0.9)
    for position, row in enumerate(shown):
        if row.gain is not None and row.gains is not None:
            colour = QUIET if row.is_inside_noise else GOOD if row.gain > 0 else BAD
            axis.hlines(position, *row.gains, color=colour, linewidth=2)
            axis.plot(row.gain, position, "o", color=colour, markersize=5)
    axis.set_yticks(range(len(shown)), [shorten(row.name, 28) for row in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    style_axis(axis, label=f"gain in {format_metric(metric)}: the blend minus the blend without the member")
    caption = (
        f"Gain of each member with its 95 % interval; grey: inside the noise (n = {len(shown)} of {len(rows)} members)"
    )
    return Figure("members", figure, caption)
