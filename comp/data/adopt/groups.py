"""Choose the column whose equal values share a fold, such as a patient."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

import pandas as pd

from comp.data.adopt.evidence import Evidence
from comp.data.adopt.labelling import Labelling, check_column
from comp.data.adopt.options import NONE, AdoptOptions, Finding, Findings, ambiguous, listed, quoted
from comp.data.scan import NAME_GROUP
from comp.errors import UserError

PERSONS = {"patient", "subject", "person", "individual", "owner"}
PLACES = {"location", "site", "camera", "case", "study", "session", "sequence", "seq", "series", "slide", "product"}
MIN_GROUPS = 10  # fewer cannot be spread over five folds: they are an attribute, such as the sex
MAX_SHARE = 0.5  # of all images in one group


def find_group(evidence: Evidence, options: AdoptOptions, labelling: Labelling, findings: Findings) -> str | None:
    """Return the column of groups, or None; of nested ones the coarsest, and a person before a place."""
    rows = labelling.rows
    if options.group == NONE:
        return None
    if rows is None or labelling.table is None:
        return _group_of_names(options, labelling, findings)
    if options.group is not None:
        column = check_column(labelling.table, options.group, "group")
        findings.append(Finding("data.group", column, f"as typed; {_counts(rows, column)}"))
        return column
    test_columns = {
        name
        for table in evidence.tables
        if table is not labelling.table and not set(labelling.label) <= set(table.rows.columns)
        for name in table.rows.columns
    }
    kinds = {
        column: kind
        for column in rows.columns
        if column not in (labelling.image, *labelling.label)
        and (kind := _kind(column, column in test_columns))
        and _repeats(rows, column, labelling)
    }
    if not kinds:
        return None
    best = min(kinds.values())
    columns = [column for column, kind in kinds.items() if kind == best]
    coarsest = [column for column in columns if all(_is_inside(rows, other, column) for other in columns)]
    if not coarsest:
        raise ambiguous(
            f"images may share a fold by {' or '.join(columns[:3])}",
            *(f"--group {quoted(column)}" for column in columns[:3]),
            f"--group {NONE}",
        )
    column = coarsest[0]
    others = [name for name in kinds if name != column]
    hint = f"; not by {listed(others, 3)}" if others else f"; --group {NONE} to ignore it"
    findings.append(Finding("data.group", column, f"{_counts(rows, column)} share a fold{hint}"))
    return column


def _group_of_names(options: AdoptOptions, labelling: Labelling, findings: Findings) -> str | None:
    """Return the group of class folders: the file's name, where most names are in several folders."""
    if options.group not in (None, NAME_GROUP) or (labelling.labels is not None and options.group):
        raise UserError(f"labels without a table have no column {options.group}; remove --group")
    counts = Counter(PurePosixPath(file).stem for file in labelling.files)
    several = sum(count > 1 for count in counts.values())
    if options.group is None and (labelling.labels is not None or several < MAX_SHARE * len(counts)):
        return None
    text = f"{several:,} of {len(counts):,} names are in several class folders; --group {NONE} to ignore it"
    findings.append(Finding("data.group", NAME_GROUP, text))
    return NAME_GROUP


def _kind(column: str, is_in_test: bool) -> int:
    """Return 1 for the name of a person's column, 2 for that of a place, 3 for another id, 0 for none."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", column).lower()
    parts = [part for part in re.split("[^a-z0-9]+", words) if part]
    stem = [part for part in parts if part not in ("id", "uid", "instance", "number", "no", "name", "code")]
    if len(stem) == 1 and stem[0].removesuffix("id") in PERSONS:
        return 1
    if len(stem) == 1 and stem[0].removesuffix("id") in PLACES:
        return 2
    return 3 if is_in_test and parts and parts[-1] in ("id", "uid") else 0


def _repeats(rows: pd.DataFrame, column: str, labelling: Labelling) -> bool:
    """Return whether values repeat as those of groups do, and are no function of the label."""
    counts = rows[column].value_counts()
    if not MIN_GROUPS <= len(counts) < len(rows) or counts.iloc[0] > MAX_SHARE * len(rows):
        return False
    follows_label = len(labelling.label) == 1 and _is_inside(rows, labelling.label[0], column)
    return not follows_label


def _is_inside(rows: pd.DataFrame, finer: str, coarser: str) -> bool:
    """Return whether each value of `finer` has one value of `coarser`."""
    return finer == coarser or bool((rows.groupby(finer)[coarser].nunique() <= 1).all())


def _counts(rows: pd.DataFrame, column: str) -> str:
    counts = rows[column].value_counts()
    return f"{len(counts):,} values of 1 to {counts.iloc[0]:,} images"
