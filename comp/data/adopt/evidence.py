"""Read what a competition delivers: the names of its images, its tables, JSON files and sample submissions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from comp.data.adopt.options import ambiguous, listed, quoted
from comp.data.image_files import files_below, is_image
from comp.data.labels import MAX_METADATA_BYTES
from comp.data.row_numbers import find_row_numbers
from comp.data.suffixes import IMAGE_SUFFIXES
from comp.errors import UserError, did_you_mean
from comp.files import read_json
from comp.tables import read_table

SAMPLE_NAME = re.compile("sample.*sub|sub.*sample|submission_format")
MAX_TABLES_PER_FOLDER = 20  # a folder with more has a file per image, which is no table of images
MAX_DEPTH = 3
UNSUPPORTED = {
    ".bson": "images inside a BSON file",
    ".parquet": "arrays in Parquet files",
    ".tfrec": "images inside TFRecords",
    ".nii": "volumes",
    ".7z": "7z archives; unpack them with 7z x",
    ".zip": "zip archives; unpack them with unzip, or use --zip FILE",
    ".gz": "tar archives; unpack them with tar xf",
    ".tar": "tar archives; unpack them with tar xf",
}


@dataclass(frozen=True)
class ImageTable:
    """A table with a row per image or label: a CSV, or a COCO file with images and annotations joined."""

    path: str  # below the root
    rows: pd.DataFrame  # all text
    is_coco: bool = False
    has_names: bool = False  # a COCO file that names its categories


@dataclass(frozen=True)
class Sample:
    """The sample submission."""

    path: str
    rows: pd.DataFrame  # all text; the first column has the ids

    @property
    def ids(self) -> list[str]:
        return self.rows.iloc[:, 0].tolist()

    @property
    def first_answer(self) -> str:
        return str(self.rows.iloc[0, 1])

    @property
    def targets(self) -> list[str]:
        """The columns beside the ids."""
        return list(self.rows.columns[1:])


@dataclass(frozen=True)
class Evidence:
    """The files below the root of a competition: images, tables, samples."""

    root: Path
    images: tuple[str, ...]  # paths below the root
    suffixes: Mapping[str, int]  # of all files
    tables: tuple[ImageTable, ...]
    id_lists: Mapping[str, dict[str, list[str]]]  # JSON files that give an id's images and no labels
    name_maps: Mapping[str, dict[str, str]]  # JSON files that map a label to its name
    samples: tuple[str, ...]
    skipped: tuple[str, ...]  # tables that could not be read, with the reason


def read_evidence(root: Path) -> Evidence:
    """Read all names, tables and JSON files below a folder. No image is opened."""
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; unpack the competition's files there, or add --zip FILE")
    paths = files_below(root)
    images = tuple(path.relative_to(root).as_posix() for path in paths if is_image(path))
    tables: list[ImageTable] = []
    id_lists: dict[str, dict[str, list[str]]] = {}
    name_maps: dict[str, dict[str, str]] = {}
    samples, skipped = [], []
    for path in _table_files(root, paths):
        name = path.relative_to(root).as_posix()
        if path.parent == root and SAMPLE_NAME.search(path.name.lower()):
            samples.append(name)
            continue
        try:
            if path.suffix.lower() == ".csv":
                tables.append(ImageTable(name, read_table(path)))
                continue
            content = read_json(path, MAX_METADATA_BYTES)
        except UserError as error:
            skipped.append(str(error))
            continue
        if coco := _join_coco(name, content):
            tables.append(coco)
        elif pairs := _id_pairs(content):
            id_lists[name] = pairs
        elif isinstance(content, dict) and all(isinstance(value, str) for value in content.values()):
            name_maps[name] = content
        elif _has_arrays(content):
            skipped.append(f"{path} holds images as lists of numbers, which are not read")
    suffixes = Counter(path.suffix.lower() for path in paths)
    return Evidence(root, images, suffixes, tuple(tables), id_lists, name_maps, tuple(samples), tuple(skipped))


def why_no_images(evidence: Evidence) -> str:
    """Return which files there are instead of images."""
    counts = Counter(evidence.suffixes).most_common(4)
    shown = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts) or "nothing"
    reasons = [reason for suffix, reason in UNSUPPORTED.items() if suffix in evidence.suffixes]
    hint = f": {'; '.join(reasons)}" if reasons else f"; images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
    return f"{evidence.root} has no images, but {shown}{hint}"


def read_sample(evidence: Evidence, chosen: str | None) -> Sample | None:
    """Return the sample submission: the chosen one, or the only one at the root."""
    if chosen is None and len(evidence.samples) > 1:
        raise ambiguous(
            f"{listed(evidence.samples)} may each be the sample submission",
            *(f"--sample {quoted(name)}" for name in evidence.samples[:5]),
        )
    if chosen is None and not evidence.samples:
        return None
    name = chosen or evidence.samples[0]
    path = evidence.root / name
    rows = _json_rows(path) if path.suffix == ".json" else read_table(path)
    if find_row_numbers(list(rows.columns), rows.to_numpy().tolist()) is not None:
        rows = rows.iloc[:, 1:]
    if len(rows.columns) < 2 or not len(rows):
        raise UserError(f"{path} needs a column of ids, one or more columns to fill in, and rows; fix --sample")
    if (copies := rows.iloc[:, 0].duplicated()).any():
        raise UserError(f"{path} has the id {rows.iloc[:, 0][copies].iloc[0]} twice; remove one")
    return Sample(name, rows)


def find_table(evidence: Evidence, name: str) -> ImageTable:
    """Return a table by its path below the root."""
    match = next((table for table in evidence.tables if table.path == name), None)
    if match is None:
        names = [table.path for table in evidence.tables]
        raise UserError(f"{evidence.root} has no readable table {name}{did_you_mean(name, names)} (--labels)")
    return match


class ImageNames:
    """The images by every name that a table may give them."""

    def __init__(self, images: Iterable[str]):
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for image in images:
            path = PurePosixPath(image)
            for name in {path.name, path.stem}:
                self.by_name[name].append(image)

    def find(self, name: str) -> list[str]:
        """Return the images of this name: with or without suffix, and with or without folders."""
        path = PurePosixPath(name)
        images = self.by_name.get(path.name)
        if images is None and path.suffix.lower() in IMAGE_SUFFIXES:
            images = self.by_name.get(path.stem)
        if not images or len(path.parts) < 2:
            return images or []
        ending = tuple(path.with_suffix("").parts if path.suffix.lower() in IMAGE_SUFFIXES else path.parts)
        return [image for image in images if PurePosixPath(image).with_suffix("").parts[-len(ending) :] == ending]

    def match(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return the images of each name that has one."""
        pairs = ((name, self.find(name)) for name in dict.fromkeys(names))
        return {name: images for name, images in pairs if images}


def _table_files(root: Path, paths: Sequence[Path]) -> list[Path]:
    files = [path for path in paths if path.suffix.lower() in (".csv", ".json") and path.is_file()]
    files = [path for path in files if len(path.relative_to(root).parts) <= MAX_DEPTH]
    per_folder = Counter(path.parent for path in files)
    return [path for path in files if per_folder[path.parent] <= MAX_TABLES_PER_FOLDER]


def _json_rows(path: Path) -> pd.DataFrame:
    content = read_json(path, MAX_METADATA_BYTES)
    if isinstance(content, dict):
        return pd.DataFrame({"id": list(content), "label": [str(value) for value in content.values()]})
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise UserError(f"{path} must be a list of records or a map of ids to labels; fix --sample")
    return pd.DataFrame(content).astype(str)


def _join_coco(name: str, content: Any) -> ImageTable | None:
    """Return images and annotations of a COCO file as one table; None for any other content."""
    if not isinstance(content, dict) or not content.get("images") or not content.get("annotations"):
        return None
    try:
        images = pd.DataFrame(_scalars(content["images"]))
        images["image_id"] = images["id"] if "id" in images else images["image_id"]
        labels = pd.DataFrame(_scalars(content["annotations"]))[["image_id", "category_id"]].astype(str)
        images = images.drop(columns=["id", "category_id"], errors="ignore").astype(str)
        rows = labels.merge(images, on="image_id", how="left")[["file_name", "category_id", *_rest(images)]]
    except (KeyError, TypeError, ValueError):
        return None
    return ImageTable(name, rows.fillna(""), is_coco=True, has_names=bool(content.get("categories")))


def _rest(images: pd.DataFrame) -> list[str]:
    return [column for column in images.columns if column not in ("file_name", "image_id")]


def _has_arrays(content: Any) -> bool:
    first = content[0] if isinstance(content, list) and content else None
    values = first.values() if isinstance(first, dict) else ()
    return any(isinstance(value, list) and len(value) > 100 for value in values)


def _scalars(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if not isinstance(value, list | dict)} for record in records]


def _id_pairs(content: Any) -> dict[str, list[str]]:
    """Return the images of each id of a JSON list of records with an id and a file_name; empty for other content."""
    records = content.get("images") if isinstance(content, dict) else content
    names: dict[str, list[str]] = {}
    for record in records if isinstance(records, list) else ():
        if not isinstance(record, dict) or "file_name" not in record or not {"id", "image_id"} & set(record):
            return {}
        names.setdefault(str(record["id" if "id" in record else "image_id"]), []).append(str(record["file_name"]))
    return names
