"""Find the columns that say which training images make a row of the submission, as several test images make one."""

from __future__ import annotations

from itertools import permutations

import pandas as pd

from comp.data.adopt.evidence import Evidence, Sample
from comp.data.adopt.labelling import Labelling, check_column
from comp.data.adopt.options import NONE, AdoptOptions, Finding, Findings, ambiguous, listed, quoted
from comp.data.labels import ROW_SEPARATOR

MAX_COLUMNS = 3  # that name a row together
MAX_TRIED = 1_000  # rows of the table of ids that a combination of columns is compared with first


def find_row(
    evidence: Evidence,
    options: AdoptOptions,
    labelling: Labelling,
    sample: Sample | None,
    ids: str | None,
    findings: Findings,
) -> tuple[str, ...]:
    """Return the columns of a row, or none where each image is one; `ids` is the table from the sample's ids to images.

    The columns are those that the ids of the sample follow from in that table, and that the labels have too.
    """
    if options.row == (NONE,):
        return ()
    if options.row:
        if labelling.table is not None:
            columns = tuple(check_column(labelling.table, name, "row") for name in options.row)
            findings.append(Finding("data.row", listed(columns), f"as typed; {_counts(labelling, columns)}"))
        return options.row  # without a table `scan` refuses them
    ids_table = _ids_with_copies(evidence, sample, ids)
    if ids_table is None:
        return ()
    rows, id_column = ids_table
    columns, reason = _explain(rows, id_column, labelling)
    if not columns:
        findings.append(Finding("data.row", NONE, "CV IS BY IMAGE: add --row COLUMN if columns name a row"))
        return ()
    findings.append(Finding("data.row", listed(columns), f"{reason}; {_counts(labelling, columns)}"))
    return columns


def _ids_with_copies(evidence: Evidence, sample: Sample | None, ids: str | None) -> tuple[pd.DataFrame, str] | None:
    """Return the table of ids and its column, if an id of the sample has several images; else None."""
    if sample is None or ids is None:
        return None
    path, _, column = ids.partition(":")
    table = next((table for table in evidence.tables if table.path == path), None)
    if table is None:
        several = any(len(evidence.id_lists[path][id]) > 1 for id in sample.ids)
        pairs = [(id, name) for id, names in evidence.id_lists[path].items() for name in names]
        return (pd.DataFrame(pairs, columns=["id", "file_name"]), "id") if several else None
    id_column = column or str(table.rows.columns[0])
    return (table.rows, id_column) if table.rows[id_column].duplicated().any() else None


def _explain(rows: pd.DataFrame, id_column: str, labelling: Labelling) -> tuple[tuple[str, ...], str]:
    """Return the columns that the ids follow from, and how; no columns where none are found."""
    if labelling.rows is None:
        return (), ""
    if id_column in labelling.rows.columns:
        return (id_column,), "the column of the sample's ids"
    common = [column for column in rows.columns if column in labelling.rows.columns and column != labelling.image]
    for count in range(1, MAX_COLUMNS + 1):
        for columns in permutations(common, count):
            if _spells(rows.head(MAX_TRIED), columns, id_column) and _spells(rows, columns, id_column):
                parts = " and ".join(str(rows[column].iloc[0]) for column in columns)
                return columns, f"{rows[id_column].iloc[0]} joins {parts}"
    for count in range(1, MAX_COLUMNS + 1):
        fitting = [
            columns
            for columns in permutations(common, count)
            if list(columns) == sorted(columns, key=common.index)
            and _separates(rows, columns, id_column)
            and _have_one_label(labelling, columns)
        ]
        if len(fitting) > 1:
            raise ambiguous(
                f"the sample's ids follow from {' or from '.join(listed(columns) for columns in fitting[:3])}",
                *(" ".join(f"--row {quoted(column)}" for column in columns) for columns in fitting[:3]),
            )
        if fitting:
            return fitting[0], "each id has its own values"
    return (), ""


def _spells(rows: pd.DataFrame, columns: tuple[str, ...], id_column: str) -> bool:
    """Return whether each id is the values of `columns`, joined."""
    return bool((rows[list(columns)].agg(ROW_SEPARATOR.join, axis=1) == rows[id_column]).all())


def _separates(rows: pd.DataFrame, columns: tuple[str, ...], id_column: str) -> bool:
    """Return whether each id has its own values of `columns`."""
    pairs = rows[[*columns, id_column]].drop_duplicates()
    return len(pairs) == rows[id_column].nunique() == len(pairs.drop_duplicates(list(columns)))


def _have_one_label(labelling: Labelling, columns: tuple[str, ...]) -> bool:
    """Return whether the training images of each row have one label."""
    assert labelling.rows is not None, "columns are those of a table"
    labels = labelling.rows.groupby(list(columns))[list(labelling.label)].nunique()
    return bool((labels <= 1).all(axis=None))


def _counts(labelling: Labelling, columns: tuple[str, ...]) -> str:
    assert labelling.rows is not None, "columns are those of a table"
    counts = labelling.rows.groupby(list(columns)).size()
    least = "" if counts.min() == counts.max() else f"{counts.min()} to "
    return f"{len(counts):,} rows of {least}{counts.max()} images"
