"""Several runs: a table with paired tests against the best, and what the score costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from comp.figures import GOOD, QUIET, TEXT, new_figure, style_axis, use_log_scale
from comp.report.section import Figure, Finding, Section
from comp.report.sections.curves import read_histories
from comp.report.source import Source
from comp.stats import format_p
from comp.study.leaderboard.entries import LeaderboardEntry
from comp.study.leaderboard.ranking import LeaderboardGroup, PairedTest
from comp.study.plots import pareto_front
from comp.text import format_metric, shorten

MAX_LABELS = 12  # runs whose names a scatter has
MAX_LABEL = 22


@dataclass(frozen=True)
class Row:
    """An entry of the leaderboard as the page shows it."""

    entry: LeaderboardEntry
    is_best: bool
    test: PairedTest | None
    verdict: str
    memory: float | None


@dataclass(frozen=True)
class Table:
    """Comparable entries, and the names of their figures."""

    group: LeaderboardGroup
    rows: list[Row]
    figures: list[str]


def build(source: Source) -> Section | None:
    if not source.groups or source.kind == "study":
        return None
    memory = {run.path: peak_memory_gb(source, run.path.as_posix()) for run in source.runs}
    tables, figures, findings = [], [], []
    for number, group in enumerate(source.groups):
        rows = make_rows(group, {path.as_posix(): value for path, value in memory.items()})
        drawn = _draw_costs(group, rows, "" if len(source.groups) == 1 else f"-{number + 1}")
        tables.append(Table(group, rows, [figure.name for figure in drawn]))
        figures += drawn
        findings += _findings(group, rows)
    return Section("Comparison", "comparison", "comparison.html", {"tables": tables}, tuple(figures), tuple(findings))


def peak_memory_gb(source: Source, path: str) -> float | None:
    """Return the largest memory of the folds of a run, if it was measured."""
    run = next(run for run in source.runs if run.path.as_posix() == path)
    peaks = [float(history["peak_memory_gb"].max()) for history in read_histories(run).values()]
    known = [peak for peak in peaks if peak == peak]
    return max(known) if known else None


def make_rows(group: LeaderboardGroup, memory: dict[str, float | None]) -> list[Row]:
    """Return the rows of a group, best first."""
    rows = []
    for entry in group.entries:
        test = group.tests.get(entry.name)
        text = f"{test.verdict}, {format_p(test.p)}" if test else ""
        rows.append(Row(entry, entry is group.best, test, text, memory.get(entry.path.as_posix())))
    return rows


def _findings(group: LeaderboardGroup, rows: list[Row]) -> list[Finding]:
    best = group.best
    if best is None or best.score is None:
        return [Finding("wrong", f"No run of {group.dataset} has a score yet", "problem")]
    interval = f"95 % interval {best.interval[0]:.3f} to {best.interval[1]:.3f}" if best.interval else ""
    remark = f"{format_metric(group.metric)} of {best.name}, the best on {group.dataset}; {interval}"
    findings = [Finding("good", f"{best.score:.4f}", "fine", is_headline=True, remark=remark)]
    tested = [row for row in rows if row.test]
    alike = [row.entry.name for row in tested if row.test and row.test.inside_noise]
    text = f"{len(alike)} of {len(tested)} others are inside the noise of the best"
    if tested:
        findings.append(Finding("trust", text, "notice" if alike else "fine"))
    cheaper = [row.entry for row in tested if row.test and row.test.inside_noise and row.entry.parameters]
    smallest = min(cheaper, key=lambda entry: entry.parameters or 0, default=None)
    if smallest and best.parameters and (smallest.parameters or 0) < best.parameters:
        share = (smallest.parameters or 0) / best.parameters
        text = f"{smallest.name} is as good inside the noise with {share:.0%} of the parameters"
        findings.append(Finding("good", text, "fine"))
    for entry in group.entries:
        if entry.remark or entry.optimistic:
            text = "; ".join(filter(None, ["optimistic" if entry.optimistic else "", entry.remark]))
            findings.append(Finding("wrong", f"{entry.name}: {text}", "notice"))
    return findings


def _draw_costs(group: LeaderboardGroup, rows: list[Row], suffix: str) -> list[Figure]:
    """Draw the score against each cost that at least two entries have."""
    costs: dict[str, tuple[str, Callable[[Row], float | None]]] = {
        "parameters": ("parameters (millions)", lambda row: row.entry.parameters and row.entry.parameters / 1e6),
        "time": ("training time of all folds (minutes)", lambda row: row.entry.seconds and row.entry.seconds / 60),
        "memory": ("peak memory (GB)", lambda row: row.memory),
    }
    figures = []
    for name, (label, cost_of) in costs.items():
        points = [(float(cost), row) for row in rows if (cost := cost_of(row)) and row.entry.score is not None]
        if len({cost for cost, _ in points}) > 1:
            figures.append(_draw_scatter(f"cost-{name}{suffix}", label, group, points))
    return figures


def _draw_scatter(name: str, label: str, group: LeaderboardGroup, points: list[tuple[float, Row]]) -> Figure:
    figure = new_figure(4.5, 3.2)
    axis = figure.subplots()
    scored = [(cost, row.entry.score or 0.0) for cost, row in points]
    costs = [cost for cost, _ in scored]
    front = pareto_front(scored, group.higher_is_better)
    axis.step(*zip(*front, strict=True), where="post", color=GOOD, linewidth=1.2, linestyle="--")
    for (cost, score), (_, row) in zip(scored, points, strict=True):
        is_on_front = (cost, score) in front
        if row.entry.interval:
            axis.vlines(cost, *row.entry.interval, color=QUIET, linewidth=0.8)
        axis.plot(cost, score, "o" if is_on_front else "s", color=GOOD if is_on_front else QUIET, markersize=5)
        if len(points) <= MAX_LABELS:
            is_right = cost > (min(costs) * max(costs)) ** 0.5
            offset, side = ((-4, 4), "right") if is_right else ((4, 4), "left")
            text = shorten(row.entry.name, MAX_LABEL)
            axis.annotate(text, (cost, score), offset, textcoords="offset points", fontsize=6.5, color=TEXT, ha=side)
    if max(costs) > 20 * min(costs):
        use_log_scale(axis, "x")
    axis.margins(x=0.18)
    axis.set_ylabel(f"{format_metric(group.metric)}, out of fold")
    style_axis(axis, label=label, grid="both")
    caption = (
        f"Score against {label}; line: 95 % interval, circles and dashes: the Pareto front (n = {len(points)} runs)"
    )
    return Figure(name, figure, caption)
