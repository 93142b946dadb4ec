"""The page table.md of a paper: the protocol, a summary, tables of scores, costs and classes, and caveats."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np
from scipy.stats import kendalltau

from comp.papers.markdown_tables import class_table, cost_table, paired_gain, score_table
from comp.papers.results import Protocol, RowResult, TrainedRow

Row = TypeVar("Row", bound=RowResult)

READING_GUIDE = (
    "Measured is the kept epoch of a training on the paper's training part, the mean over seeds; the interval is over "
    "the images (bootstrap, 95 %), the standard deviation over seeds. Best epoch: the highest validation accuracy of "
    "any epoch. In brackets: reported. Against ^: the difference from the row marked ^ on the same images, the best "
    "reported one of those measured; an interval that contains 0 is noise, and one that does not may still be due to "
    "the seed. Parameters are those at the paper's image size, all numbers with running statistics."
)


def render(protocol: Protocol, results: Sequence[RowResult]) -> str:
    """Return the page in Markdown."""
    lines = [*_heading(protocol, results), *_summary(results), *_shared_trainings(results), ""]
    for title, group in groupby(results, key=lambda result: result.row.table):
        lines += [f"## {title}", "", *score_table(list(group)), ""]
    per_config = _unique_by(results, key=lambda result: result.row.config)
    lines += ["## Cost", "", *cost_table(per_config), "", "## F1 of each class", "", *class_table(per_config), ""]
    return "\n".join([*lines, *_caveats(results)])


def _heading(protocol: Protocol, results: Sequence[RowResult]) -> list[str]:
    """Return the title, the warning if the data differ from the paper's, the command and the machines."""
    deviations = protocol.deviations
    name = f"a reduced protocol: {', '.join(deviations)}" if deviations else "the paper's own protocol"
    seeds = f"{protocol.seeds} seed{'s' * (protocol.seeds > 1)}"
    lines = [f"# {protocol.paper.capitalize()}'s tables, measured under {name}, {seeds}", ""]
    if protocol.paper_datasets != protocol.our_datasets:
        lines += [
            f"**Different data: reported on {', '.join(protocol.paper_datasets)}, measured on "
            f"{', '.join(protocol.our_datasets)}. Reported and measured numbers are not comparable.**",
            "",
        ]
    machines = sorted({result.measured.machine for result in results if isinstance(result, TrainedRow)})
    lines += [f"`{protocol.command}`; {'; '.join(machines)}; {time.strftime('%Y-%m-%d')}.", READING_GUIDE, ""]
    return lines


def _summary(results: Sequence[RowResult]) -> list[str]:
    """Count the reported accuracies inside the measured intervals, and compare the orders of the rows."""
    comparable = _comparable(results)
    if not comparable:
        return ["No row with a reported accuracy is measured yet."]
    met = lower = 0
    for result in comparable:
        low, high = result.measured.interval
        met += low <= result.row.reported["accuracy"] <= high
        lower += result.accuracy < result.row.reported["accuracy"]
    sentences = [
        f"Models measured and with a reported accuracy: {len(comparable)}. The reported number is inside the interval "
        f"of {met}; the measured one is lower for {lower}."
    ]
    for title, group in groupby(results, key=lambda result: result.row.table):
        rows = _comparable(group)
        if len(rows) > 2:
            sentences.append(f"{title}: {_order_summary(rows)}")
    return [f"* {sentence}" for sentence in sentences]


def _order_summary(rows: Sequence[TrainedRow]) -> str:
    """Compare the measured order of rows with the reported one, and name the rows that are as good as the best."""
    order = kendalltau([row.row.reported["accuracy"] for row in rows], [row.accuracy for row in rows])
    best = max(rows, key=lambda row: row.accuracy)
    tied = [row.row.label for row in rows if row is not best and paired_gain(best, row)[1] <= 0]
    agreement = (
        f"Kendall's tau between the reported and the measured order of {len(rows)} models is "
        f"{order.statistic:.2f} (p {order.pvalue:.2g}); "
        if np.isfinite(order.statistic)
        else ""
    )
    return f"{agreement}best measured is {best.row.label}, and inside the noise of it {', '.join(tied) or 'none'}."


def _shared_trainings(results: Sequence[RowResult]) -> list[str]:
    """List the rows that are different trainings in the paper and one training under a reduced protocol."""
    labels_by_run: dict[str, list[str]] = {}
    for result in _unique_by(results, key=lambda result: result.row.config):
        labels_by_run.setdefault(result.config.name, []).append(result.row.label)
    return [
        f"* **One training under this protocol: {', '.join(labels)}.**"
        for labels in labels_by_run.values()
        if len(labels) > 1
    ]


def _caveats(results: Sequence[RowResult]) -> list[str]:
    """List the reported numbers that cannot be correct, rows with the same caveat together."""
    labels_by_caveat: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.row.caveat:
            labels_by_caveat.setdefault((result.row.table, result.row.caveat), []).append(result.row.label)
    if not labels_by_caveat:
        return []
    caveats = [f"* {title}, {', '.join(labels)}: {caveat}" for (title, caveat), labels in labels_by_caveat.items()]
    return ["## \\* Reported numbers with a caveat", "", *caveats, ""]


def _comparable(results: Iterable[RowResult]) -> list[TrainedRow]:
    """Return the trained rows with a reported accuracy, one per training."""
    rows = [result for result in results if isinstance(result, TrainedRow) and result.has_reported_accuracy]
    return _unique_by(rows, key=lambda row: row.config.name)


def _unique_by(rows: Iterable[Row], key: Callable[[Row], str]) -> list[Row]:
    """Return the first row of each key."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(key(row), row)
    return list(first.values())
