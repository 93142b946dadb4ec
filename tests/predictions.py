"""Tables of predictions in tests: read them, and write them as versions up to 0.3 did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pandas as pd

from comp.prediction_file import read_any_predictions, read_predictions
from comp.records.predictions import Provenance, provenance_path
from comp.tables import write_csv


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of predictions, indexed by image."""
    return read_predictions(path, columns).table


def write_old_table(path: Path, table: pd.DataFrame, made_from: Provenance | None, hashed: bool = True) -> Path:
    """Write x.csv and x.from.json in place of x.npz. `hashed`: the second has the hash of the first."""
    path.unlink(missing_ok=True)
    old = path.with_suffix(".csv")
    sha256 = write_csv(old, table)
    if made_from is not None:
        replace(made_from, sha256=sha256 if hashed else None).write(provenance_path(old))
    return old


def make_old(path: Path) -> Path:
    """Replace x.npz by x.csv and x.from.json of the same content."""
    stored = read_any_predictions(path)
    return write_old_table(path, stored.table.reset_index(), stored.made_from)


def read_member(path: Path, name: str) -> bytes:
    with ZipFile(path) as archive:
        return archive.read(name)


def rewrite_member(path: Path, name: str, change: Callable[[bytes], bytes], compress: bool = False) -> None:
    """Write x.npz again with one of its files changed: a sound zip file, whose hash is another."""
    with ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with ZipFile(path, "w", ZIP_DEFLATED if compress else ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, change(content) if member == name else content)
