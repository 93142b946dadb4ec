"""Suspected label errors: labels that the predictions contradict, and copies of one image under different labels.

relabel.csv lists them beside the page. A person fills in its column new_label, which the next report keeps, and
`python -m comp data relabel` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from comp.data.duplicates import find_duplicates
from comp.data.relabel import RELABEL_COLUMNS, read_filled_labels
from comp.diagnosis.label_issues import find_class_issues, find_tag_issues
from comp.report.oof import OofPredictions
from comp.report.section import Finding, Section
from comp.report.source import Source

MAX_ISSUES = 48
MAX_PAIRS = 24
FILE = "relabel.csv"


@dataclass(frozen=True)
class Suspect:
    """An image whose label is doubted."""

    image: str
    label: str
    suggested: str
    confidence: float
    uri: str = ""


@dataclass(frozen=True)
class DisagreeingPair:
    """Two copies of an image under different labels."""

    images: tuple[str, str]
    labels: tuple[str, str]
    uris: tuple[str, str]
    remark: str


def build(source: Source) -> Section | None:
    oof = source.oof
    if oof is None or not oof.has_confidence:
        return None
    suspects, pairs = find_suspects(oof), _disagreeing_pairs(source)
    if not suspects and not pairs:
        return None
    path = source.directory / FILE
    shown = [
        Suspect(item.image, item.label, item.suggested, item.confidence, source.pictures.data_uri(item.image))
        for item in suspects[:MAX_ISSUES]
    ]
    config = f" -c {source.runs[0].path / 'config.yaml'}" if source.runs else ""
    values = {
        "suspects": shown,
        "count": len(suspects),
        "pairs": pairs[:MAX_PAIRS],
        "pair_count": len(pairs),
        "images": len(oof.images),
        "path": path,
        "command": f"python -m comp data relabel {path}{config}",
    }
    text = f"{len(suspects):,} of {len(oof.images):,} labels are doubtful, and {len(pairs):,} pairs of copies disagree"
    files = {FILE: _table(suspects, pairs, read_filled_labels(path)).to_csv(index=False, lineterminator="\n")}
    findings = (Finding("trust", text, "problem" if pairs else "notice"),)
    return Section("Suspected labels", "labels", "label_issues.html", values, findings=findings, files=files)


def find_suspects(oof: OofPredictions) -> list[Suspect]:
    """Return the images whose labels the predictions contradict, the most suspicious first; of tags one line each."""
    names = oof.task.columns
    if oof.task.form == "classes":
        issues = find_class_issues(oof.targets, oof.predictions)
        suggested = [names[column] for column in issues.columns]
    else:
        issues = find_tag_issues(oof.targets, oof.predictions)
        suggested = [
            f"not {names[tag]}" if oof.targets[row, tag] else names[tag]
            for row, tag in zip(issues.rows, issues.columns, strict=True)
        ]
    return [
        Suspect(oof.images[row], oof.labels[row], suggestion, float(confidence))
        for row, suggestion, confidence in zip(issues.rows, suggested, issues.confidence, strict=True)
    ]


def _disagreeing_pairs(source: Source) -> list[DisagreeingPair]:
    stats = source.survey
    if stats is None:
        return []
    return [
        DisagreeingPair(
            (pair.a.id, pair.b.id),
            (pair.a.label or "", pair.b.label or ""),
            (source.pictures.data_uri(pair.a.id), source.pictures.data_uri(pair.b.id)),
            ", ".join(filter(None, ["exact" if pair.kind == "exact" else f"{pair.similarity:.3f}", pair.transform])),
        )
        for pair in find_duplicates(stats)
        if pair.a.label != pair.b.label
    ]


def _table(suspects: list[Suspect], pairs: list[DisagreeingPair], filled: dict[str, str]) -> pd.DataFrame:
    """Return a row per doubted image, with what a person has filled in before."""
    rows: dict[str, tuple[str, str, str]] = {}
    for item in suspects:
        rows.setdefault(item.image, (item.label, item.suggested, f"{item.confidence:.4f}"))
    for pair in pairs:
        for this, other in ((0, 1), (1, 0)):
            rows.setdefault(pair.images[this], (pair.labels[this], pair.labels[other], ""))
    for image in filled:
        rows.setdefault(image, ("", "", ""))
    lines = [(image, *row, filled.get(image, "")) for image, row in rows.items()]
    return pd.DataFrame(lines, columns=RELABEL_COLUMNS)
