"""Choose where the labels are: a table and its columns, a COCO file, class folders, or the names of the files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from comp.data.adopt.evidence import Evidence, ImageNames, ImageTable, Sample, find_table
from comp.data.adopt.folders import choose_folders, choose_images, class_folders, count_below, has_role, is_below, twice
from comp.data.adopt.name_patterns import find_patterns
from comp.data.adopt.options import AdoptOptions, Finding, Findings, ambiguous, listed, quoted
from comp.data.labels import check_spelling, is_pattern, label_of_name
from comp.data.missing import check_missing
from comp.errors import UserError, did_you_mean, shorten

FOLDERS = "folders"  # the value of --labels for class folders
MAX_TRIED = 2_000  # values of a column that are looked up to find that of the images
MIN_MATCHED_OWN = 0.05  # of a column that is called as that of the sample's ids: its missing images are counted
MIN_MATCHED = 0.5  # share of a column's values that are names of images, if it is the column of images


@dataclass(frozen=True)
class Labelling:
    """The labels as a config names them, and the values themselves."""

    labels: str | None  # None: class folders
    train: tuple[str, ...]
    values: tuple[str, ...]  # a label per training image; empty for several columns
    files: tuple[str, ...]  # the training images
    image: str | None = None
    label: tuple[str, ...] = ()
    table: ImageTable | None = None

    @property
    def rows(self) -> pd.DataFrame | None:
        """The rows of the table, if there is one."""
        return None if self.table is None else self.table.rows


@dataclass(frozen=True)
class _Candidate:
    """A table with a column of images."""

    table: ImageTable
    image: str
    label: tuple[str, ...]
    reason: str  # why these are the labels; empty if it is not sure


def find_labels(
    evidence: Evidence, options: AdoptOptions, sample: Sample | None, test: Sequence[str], findings: Findings
) -> Labelling:
    """Return the labels of all images but `test`, the images and folders that the sample submission means."""
    if options.labels == FOLDERS:
        return _from_folders(evidence, options, test, findings)
    if options.labels is not None and is_pattern(options.labels):
        return _from_names(evidence, options, test, [options.labels], findings)
    names = ImageNames(evidence.images)
    tables = [find_table(evidence, options.labels)] if options.labels else list(evidence.tables)
    _check_typed_columns(tables, options)
    candidates = _candidates(tables, names, options, sample)
    if options.labels and not candidates:
        raise UserError(
            f"no column of {options.labels} has the names of images ({listed(evidence.images, 2)}); "
            f"fix --labels or --image"
        )
    explained = [candidate for candidate in candidates if candidate.reason]
    if len(explained) > 1:
        explained = [one for one in explained if has_role(one.table.path.rpartition("/")[2], "train")] or explained
    if len(explained) > 1:
        raise ambiguous(
            f"the labels may be those of {' or '.join(one.table.path for one in explained[:3])}",
            *(f"--labels {quoted(one.table.path)}" for one in explained[:3]),
        )
    if explained:
        return _from_table(evidence, options, explained[0], names, test, sample, findings)
    folders = class_folders(evidence.images, test)
    if candidates and folders and not options.labels:
        one = candidates[0]
        raise ambiguous(
            f"the labels may be the folders below {listed(folders, 2)} or a column of {one.table.path}",
            f"--labels {FOLDERS}",
            f"--labels {quoted(one.table.path)} --label COLUMN",
        )
    if candidates:
        raise _open_columns(candidates, options)
    if folders:
        return _from_folders(evidence, options, test, findings)
    return _from_names(evidence, options, test, find_patterns(_unlabelled(evidence, options, test)), findings)


def _check_typed_columns(tables: Sequence[ImageTable], options: AdoptOptions) -> None:
    """Refuse columns that were typed and that no table has."""
    columns = {str(column) for table in tables for column in table.rows.columns}
    for key, names in (("image", [options.image] if options.image else []), ("label", options.label)):
        if unknown := [name for name in names if name not in columns]:
            where = tables[0].path if len(tables) == 1 else f"none of the {len(tables)} tables"
            verb = "has no" if len(tables) == 1 else "has a"
            raise UserError(f"{where} {verb} column {unknown[0]}{did_you_mean(unknown[0], columns)} (--{key})")


def _candidates(
    tables: Sequence[ImageTable], names: ImageNames, options: AdoptOptions, sample: Sample | None
) -> list[_Candidate]:
    candidates = []
    for table in tables:
        image = _image_column(table, names, options, sample)
        if image is None:
            continue
        label, reason = _label_columns(table, image, options, sample)
        if label or len(table.rows.columns) > 1:
            is_test = sample is not None and set(table.rows[image]) <= set(sample.ids)
            if not is_test or options.labels:
                candidates.append(_Candidate(table, image, label, reason))
    return candidates


def _image_column(table: ImageTable, names: ImageNames, options: AdoptOptions, sample: Sample | None) -> str | None:
    """Return the column whose values are names of images: that of the sample's ids, else the best match."""
    columns = list(table.rows.columns)
    if options.image is not None and (options.labels or options.image in columns):
        return check_column(table, options.image, "image")
    if table.is_coco:
        return "file_name"
    shares = {}
    for column in columns:
        values = table.rows[column].drop_duplicates()
        values = values.iloc[:: max(1, len(values) // MAX_TRIED)]
        shares[column] = len(values) > 1 and sum(bool(names.find(value)) for value in values) / len(values)
    own = None if sample is None else sample.rows.columns[0]
    best = max(columns, key=lambda column: (shares[column], column == own, table.rows[column].nunique()))
    return best if shares[best] >= (MIN_MATCHED if best != own else MIN_MATCHED_OWN) else None


def _label_columns(
    table: ImageTable, image: str, options: AdoptOptions, sample: Sample | None
) -> tuple[tuple[str, ...], str]:
    """Return the columns of labels, and why they are; no reason where they are not sure."""
    columns = [column for column in table.rows.columns if column != image]
    if options.label and (options.labels or set(options.label) <= set(columns)):
        return tuple(check_column(table, name, "label") for name in options.label), "as typed"
    if table.is_coco:
        return ("category_id",), "a COCO file: images and annotations"
    targets = [] if sample is None else sample.targets
    if targets and set(targets) <= set(columns):
        return tuple(targets), "of that name in the sample" if len(targets) == 1 else "of those names in the sample"
    if len(targets) > 1:
        equal = [column for column in columns if set(table.rows[column]) == set(targets)]
        return (tuple(equal), "its values are the columns of the sample") if len(equal) == 1 else ((), "")
    alike = [column for column in columns if targets and _is_alike(column, targets[0])]
    if len(alike) == 1:
        return tuple(alike), f"named like {targets[0]} in the sample"
    return (tuple(columns), "the only column beside the images") if len(columns) == 1 else ((), "")


def _is_alike(column: str, target: str) -> bool:
    first, second = sorted((re.sub("[^a-z0-9]", "", name.lower()) for name in (column, target)), key=len)
    return len(first) > 2 and second.startswith(first)


def _open_columns(candidates: Sequence[_Candidate], options: AdoptOptions) -> UserError:
    table = candidates[0].table
    columns = [column for column in table.rows.columns if column != candidates[0].image]
    return ambiguous(
        f"the label may be any of the columns {listed(columns)} of {table.path}",
        *(f"--label {quoted(column)}" for column in columns[:3]),
    )


def check_column(table: ImageTable, name: str, key: str) -> str:
    """Return the name of a column that a table has; a UserError names the nearest."""
    if name not in table.rows.columns:
        raise UserError(f"{table.path} has no column {name}{did_you_mean(name, table.rows.columns)} (--{key})")
    return name


def _from_table(
    evidence: Evidence,
    options: AdoptOptions,
    one: _Candidate,
    names: ImageNames,
    test: Sequence[str],
    sample: Sample | None,
    findings: Findings,
) -> Labelling:
    rows, path = one.table.rows, one.table.path
    listed_names = list(dict.fromkeys(rows[one.image]))
    matches = names.match(listed_names)
    check_missing(
        [name for name in listed_names if name not in matches],
        f"images of {path} have no file",
        "add them, remove their rows, or fix --image",
        result="left out",
        allowed=options.allow_missing,
    )
    unique = list(matches)
    images = choose_images(matches, "train", options.train)
    train = options.train or choose_folders(images, "train", evidence.images)
    if problem := twice(images):
        raise UserError(f"of {path}, {problem}; add --train FOLDER to choose")
    files = tuple(images[name][0] for name in unique)
    test_images = set(test)
    if sample is not None and (both := [name for name in unique if images[name][0] in test_images]):
        raise UserError(
            f"{sample.path} has {len(both):,} ids of training images, such as {listed(both, 3)}; take the sample of "
            f"the test images (--sample), or fix --train and --test"
        )
    if len(one.label) == 1:
        check_spelling(evidence.root / path, one.label[0], rows[one.image], rows[one.label[0]])
    findings.append(Finding("data.labels", path, f"{len(rows):,} rows of {len(unique):,} images"))
    findings.append(Finding("data.image", one.image, f"names of images, such as {shorten(unique[0], 40)}"))
    findings.append(Finding("data.label", listed(one.label, 4), one.reason))
    _note_others(evidence, one, sample, findings)
    count = f"{len(files):,} of its {count_below(evidence.images, train):,} images are labelled"
    findings.append(Finding("data.train", listed(train), count))
    values = tuple(rows[one.label[0]].str.strip()) if len(one.label) == 1 else ()
    return Labelling(path, train, values, files, one.image, one.label, one.table)


def _note_others(evidence: Evidence, one: _Candidate, sample: Sample | None, findings: Findings) -> None:
    """Add a line about other COCO files with labels, such as those of a validation set."""
    others = [table for table in evidence.tables if table.is_coco and table is not one.table]
    if one.table.is_coco and others:
        count = sum(len(table.rows) for table in others)
        findings.append(Finding("not used", listed(table.path for table in others), f"{count:,} more labels"))


def _from_folders(evidence: Evidence, options: AdoptOptions, test: Sequence[str], findings: Findings) -> Labelling:
    classes_below = class_folders(evidence.images, test)
    bases = [base for base in classes_below if not options.train or base in options.train]
    if len(bases) > 1:
        bases = [base for base in bases if has_role(base, "train")] or bases
    if not bases:
        raise UserError(
            f"{evidence.root} has no folder per class{' below ' + listed(options.train) if options.train else ''}; "
            f"add --labels FILE or --train FOLDER"
        )
    if len(bases) > 1:
        raise ambiguous(
            f"the classes may be the folders below {' or '.join(sorted(bases)[:3])}",
            *(f"--train {quoted(base)}" for base in sorted(bases)[:3]),
        )
    [base] = bases
    prefix = 0 if base == "." else len(PurePosixPath(base).parts)
    classes = set(classes_below[base])
    test_images = set(test)
    files = [
        image
        for image in evidence.images
        if is_below(image, base) and PurePosixPath(image).parts[prefix] in classes and image not in test_images
    ]
    values = tuple(PurePosixPath(image).parts[prefix] for image in files)
    findings.append(
        Finding("data.labels", "class folders", f"{len(classes)} folders: {listed(classes_below[base], 4)}")
    )
    findings.append(Finding("data.train", base, f"{len(files):,} images in folders of classes"))
    return Labelling(None, (base,), values, tuple(files))


def _unlabelled(evidence: Evidence, options: AdoptOptions, test: Sequence[str]) -> list[str]:
    excluded = set(test)
    images = [image for image in evidence.images if image not in excluded and not has_role(image, "test")]
    return [image for image in images if not options.train or any(is_below(image, base) for base in options.train)]


def _from_names(
    evidence: Evidence, options: AdoptOptions, test: Sequence[str], patterns: Sequence[str], findings: Findings
) -> Labelling:
    images = _unlabelled(evidence, options, test)
    if not patterns:
        tables = ", ".join(table.path for table in evidence.tables) or "no table"
        raise UserError(
            f"no labels were found: {tables} names images beside a column of labels, no folder holds a folder per "
            f"class, and names such as {listed(images, 2)} hold none; add --labels and --label"
        )
    if len(patterns) > 1:
        raise ambiguous(
            f"the labels in names such as {listed(images, 1)} may be read in two ways",
            *(f"--labels {quoted(pattern)}" for pattern in patterns),
        )
    [pattern] = patterns
    named = {image: label_of_name(pattern, PurePosixPath(image).name) for image in images}
    labelled = {image: label for image, label in named.items() if label is not None}
    if not labelled:
        raise UserError(f"no image has a name like {pattern}; names are such as {listed(images, 3)} (--labels)")
    chosen = {image: [image] for image in labelled}
    train = options.train or choose_folders(chosen, "train", evidence.images)
    findings.append(Finding("data.labels", pattern, f"names such as {', '.join(map(_name, list(labelled)[:2]))}"))
    rest = len(images) - len(labelled)
    findings.append(Finding("data.train", listed(train), f"{len(labelled):,} images fit the pattern, {rest:,} do not"))
    return Labelling(pattern, tuple(train), tuple(labelled.values()), tuple(labelled))


def _name(path: str) -> str:
    return PurePosixPath(path).name
