"""Format the report of a dataset check for a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

from comp.data.check import count_text
from comp.records.dataset import DataIssue, DatasetReport

MAX_CLASSES = 40  # whose counts are shown
MAX_CASES, MAX_FILES = 20, 4  # cases of an issue, and files of a case, on the screen; the JSON has all


def format_report(report: DatasetReport) -> str:
    """Return the report as text: classes with counts, the issues with their files, and the number of errors."""
    shown = list(report.classes.items())[:MAX_CLASSES]
    classes = "  ".join(f"{label} {count}" for label, count in shown) + "  ..." * (len(report.classes) > MAX_CLASSES)
    train = sum(report.classes.values()) if report.train is None else report.train
    among = f" in {len(report.classes):,} classes" if report.classes else ""
    lines = [
        f"{report.dataset}: {count_text(train, 'training image')}{among}, {count_text(report.test, 'test image')}",
        *_wrap(classes),
    ]
    if report.conversions:
        lines += ["", "how values of more than 8 bits, and arrays, become an image:"]
        for rule, count in report.conversions.items():
            lines += _wrap(f"{count_text(count, 'image')}: {rule}")
    for issue in report.issues:
        lines += [
            "",
            f"{issue.severity}: {issue.summary}",
            *_format_cases(report.dataset, issue),
            *_wrap(f"-> {issue.advice}"),
        ]
    counts = Counter(issue.severity for issue in report.issues)
    return "\n".join(
        [*lines, "", f"{count_text(counts['error'], 'error')}, {count_text(counts['warning'], 'warning')}"]
    )


def _format_cases(dataset: str, issue: DataIssue) -> Iterator[str]:
    """Yield a line per case with its files and remark; long lists are cut and refer to the JSON."""
    cases = list(zip_longest(issue.files, issue.remarks, fillvalue=""))
    for files, remark in cases[:MAX_CASES]:
        more = [f"and {len(files) - MAX_FILES} more"] if len(files) > MAX_FILES else []
        shown = ", ".join([*files[:MAX_FILES], *more])
        if more:
            yield from [*_wrap(remark), *_wrap(shown, indent=4)]
        else:
            yield f"  {shown} ({remark})" if shown and remark else f"  {shown or remark}"
    hidden = max(0, len(cases) - MAX_CASES)
    if hidden or any(len(files) > MAX_FILES for files in issue.files):
        yield f"  {f'and {hidden} more, see' if hidden else 'all files:'} runs/checks/{dataset}.json"


def _wrap(text: str, indent: int = 2) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text, 110, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
