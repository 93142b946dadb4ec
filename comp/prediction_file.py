"""A table of predictions as one file, x.npz, which numpy.load opens: one rename makes the whole of it old or new.

predictions.npy   float32 (images, columns)
images.csv        the columns image, or image,label,fold and perhaps row_id: a row per row of predictions
table.json        TableRecord: the names of the columns, what they were computed from, and the hash of all

Versions up to 0.3 wrote x.csv, with a column per class, and x.from.json beside it. They are read as before.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import pandas as pd

from comp.errors import UserError
from comp.files import MAX_TEXT_BYTES, file_exists, file_sha256, open_atomic, open_file, parse_json, read_bytes
from comp.records.predictions import Provenance, TableRecord, provenance_path, read_provenance
from comp.tables import (
    INDEX_COLUMNS,
    INDEX_TEXT_COLUMNS,
    MAX_TABLE_BYTES,
    parse_csv,
    parse_predictions,
    probability_problem,
    write_csv,
)

VALUES, IMAGES, RECORD = "predictions.npy", "images.csv", "table.json"
MAX_READABLE_VALUES = 1_000_000  # an oof.csv of as many takes a second and 14 MB
BLOCK_BYTES = 2**24  # read and hashed at a time
ZIP_ERRORS = (BadZipFile, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError, struct.error)


@dataclass(frozen=True, eq=False)
class StoredPredictions:
    """A table that was read: indexed by image, with `label` and `fold` if it has them, and float32 predictions."""

    table: pd.DataFrame
    columns: tuple[str, ...]
    sha256: str
    made_from: Provenance | None


def prediction_values(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return the float32 predictions (images, columns) of a table, without a copy where its last columns are they."""
    if list(table.columns[-len(columns) :]) == list(columns):
        return table.iloc[:, -len(columns) :].to_numpy(np.float32)
    return table[list(columns)].to_numpy(np.float32)


def prediction_table(index: pd.DataFrame, values: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of the columns of `index` (image, label, fold) and then of the predictions."""
    table = pd.DataFrame(values, columns=list(columns), copy=False)
    for position, name in enumerate(index.columns):
        table.insert(position, name, index[name].to_numpy())
    return table


def write_predictions(
    path: Path, table: pd.DataFrame, columns: Sequence[str], made_from: Provenance | None = None
) -> str:
    """Write x.npz, and remove the table that an older version wrote in its place. Return the hash of its content."""
    sha256 = _write_npz(path, table, columns, made_from)
    for old in (path.with_suffix(".csv"), provenance_path(path)):
        old.unlink(missing_ok=True)
    return sha256


def _write_npz(path: Path, table: pd.DataFrame, columns: Sequence[str], made_from: Provenance | None) -> str:
    values = np.ascontiguousarray(prediction_values(table, columns))
    index = table[[name for name in INDEX_COLUMNS if name in table]]
    images = index.to_csv(index=False, lineterminator="\n").encode()
    sha256 = _hash_start(columns, images)
    sha256.update(values.data)
    record = TableRecord(tuple(columns), sha256.hexdigest(), made_from)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    with open_atomic(path) as file, ZipFile(file, "w", ZIP_STORED) as archive:
        archive.writestr(ZipInfo(RECORD), json.dumps(record.to_dict(), indent=1, ensure_ascii=False))
        archive.writestr(ZipInfo(IMAGES), images)
        with archive.open(ZipInfo(VALUES), "w", force_zip64=values.nbytes > 2**31) as member:
            member.write(header.getvalue())
            member.write(values.reshape(-1).view(np.uint8).data)
    return record.sha256


def write_oof(path: Path, table: pd.DataFrame, columns: Sequence[str], made_from: Provenance | None = None) -> str:
    """Write oof.npz, and beside it oof.csv for people where it has at most `MAX_READABLE_VALUES`. Return its hash."""
    if len(table) * len(columns) > MAX_READABLE_VALUES:
        return write_predictions(path, table, columns, made_from)
    write_csv(path.with_suffix(".csv"), table)  # first: a valid oof.npz is not written again, and so would lack it
    sha256 = _write_npz(path, table, columns, made_from)
    provenance_path(path).unlink(missing_ok=True)
    return sha256


def find_table(path: Path) -> Path | None:
    """Return the file of a table x.npz: it, or the x.csv of an older version; None if there is neither."""
    return next((file for file in (path, path.with_suffix(".csv")) if file_exists(file)), None)


def read_predictions(
    path: Path, columns: Sequence[str], find_invalid: Callable[[np.ndarray], str] = probability_problem
) -> StoredPredictions:
    """Read x.npz, or an x.csv of an older version. `find_invalid` says why values cannot be predictions, or "".

    The columns must be `columns`, in that order, and the content must be what was written.
    """
    stored = read_any_predictions(path)
    if stored.columns != tuple(columns):
        raise UserError(f"{path} has other classes ({_first_difference(stored.columns, columns)}); predict again")
    if problem := find_invalid(prediction_values(stored.table, columns)):
        raise UserError(f"{path} has {problem}; predict again")
    return stored


def read_any_predictions(path: Path) -> StoredPredictions:
    """Read a table of predictions with the columns that it has. See `read_predictions`."""
    stored = _read_csv(path) if path.suffix == ".csv" else _read_npz(path)
    if stored.table.index.has_duplicates:
        image = stored.table.index[stored.table.index.duplicated()][0]
        raise UserError(f"{path} has image {image} twice; predict again")
    return stored


def _first_difference(stored: Sequence[str], columns: Sequence[str]) -> str:
    if len(stored) != len(columns):
        return f"{len(stored):,} instead of {len(columns):,}"
    return next(f"{a} instead of {b}" for a, b in zip(stored, columns, strict=True) if a != b)


def _read_csv(path: Path) -> StoredPredictions:
    content, made_from = read_bytes(path, MAX_TABLE_BYTES), read_provenance(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if made_from is not None and made_from.sha256 not in (None, sha256):  # None: written by an even older version
        raise UserError(f"{path}: its content is not what was written; predict again")
    table, columns = parse_predictions(path, content)
    return StoredPredictions(table, columns, sha256, made_from)


def _read_npz(path: Path) -> StoredPredictions:
    with open_file(path) as file:
        try:
            with ZipFile(file) as archive:
                record, made_from, images = _read_head(path, archive)
                index = parse_csv(path, images, ["image"], INDEX_TEXT_COLUMNS)
                values, sha256 = _read_values(archive, _hash_start(record.columns, images))
        except UserError:
            raise
        except ZIP_ERRORS:
            raise UserError(f"{path} is damaged; predict again") from None
    if sha256 != record.sha256:
        raise UserError(f"{path}: its content is not what was written; predict again")
    if values.shape != (len(index), len(record.columns)):
        raise UserError(f"{path} has {len(values):,} rows for {len(index):,} images; predict again")
    table = prediction_table(index, values, record.columns).set_index("image")
    return StoredPredictions(table, record.columns, record.sha256, made_from)


def _read_head(path: Path, archive: ZipFile) -> tuple[TableRecord, Provenance | None, bytes]:
    """Return the record of a table, its provenance if this version knows all of it, and images.csv."""
    for name, limit in ((RECORD, MAX_TEXT_BYTES), (IMAGES, MAX_TABLE_BYTES)):
        if (size := archive.getinfo(name).file_size) > limit:
            raise UserError(f"{path} has a {name} of {size:,} bytes, more than the {limit:,} that are read")
    content = parse_json(archive.read(RECORD).decode())
    record = TableRecord.from_dict(content, path)
    known = record.to_dict()["made_from"] == content.get("made_from")  # a key that is unknown here may matter
    return record, record.made_from if known else None, archive.read(IMAGES)


def _read_values(archive: ZipFile, sha256: hashlib._Hash) -> tuple[np.ndarray, str]:
    """Return the predictions and the hash of the whole table. Nothing is allocated that the file does not have."""
    with archive.open(VALUES) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError("another version of .npy")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(member)
        size = archive.getinfo(VALUES)
        if dtype != np.float32 or fortran_order or len(shape) != 2 or size.compress_type != ZIP_STORED:
            raise ValueError("not float32 rows")
        if member.tell() + 4 * int(np.prod(shape, dtype=object)) != size.compress_size:
            raise ValueError("a matrix of another size")
        values = np.empty(shape, np.float32)
        content, position = values.reshape(-1).view(np.uint8).data, 0
        while block := member.read(BLOCK_BYTES):
            content[position : position + len(block)] = block  # raises where the file has more than it should
            sha256.update(block)
            position += len(block)
        if position != len(content):
            raise EOFError
    return values, sha256.hexdigest()


def _hash_start(columns: Sequence[str], images: bytes) -> hashlib._Hash:
    return hashlib.sha256(json.dumps(list(columns)).encode() + b"\n" + images)


def recorded_sha256(path: Path) -> str | None:
    """Return the hash that a table of predictions is recorded with; None if it is not recorded."""
    if path.suffix == ".csv":
        provenance = read_provenance(path)
        return provenance.sha256 if provenance else None
    with open_file(path) as file:
        try:
            with ZipFile(file) as archive:
                return _read_head(path, archive)[0].sha256
        except ZIP_ERRORS:
            return ""


def content_sha256(path: Path) -> str:
    """Return the hash of a table of predictions as it is now; "" if it is damaged."""
    if path.suffix == ".csv":
        return file_sha256(path)
    try:
        return _read_npz(path).sha256
    except UserError:
        return ""
