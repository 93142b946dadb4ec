"""Draw all conclusions about a competition's files, from the sample submission to the size of the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from comp.data.adopt.answers import find_metric_and_answer
from comp.data.adopt.evidence import Evidence, ImageNames, ImageTable, Sample, read_evidence, read_sample, why_no_images
from comp.data.adopt.folders import choose_folders, choose_images, count_below, has_role, is_below
from comp.data.adopt.groups import find_group
from comp.data.adopt.labelling import MIN_MATCHED, Labelling, find_labels
from comp.data.adopt.options import NONE, AdoptOptions, Conclusion, Finding, Findings, ambiguous, listed, quoted
from comp.data.adopt.rows import find_row
from comp.data.adopt.targets import find_target
from comp.data.images import longest_side
from comp.data.scan import scan
from comp.errors import UserError, did_you_mean
from comp.records.source import DataSource

USUAL_SAMPLES = ("sample_submission.csv", "sample_submission.json")
MAX_SIZE = 224
MEASURED = 64  # images whose headers are read


def conclude(root: Path, options: AdoptOptions, findings: Findings) -> Conclusion:
    """Return what the files mean; each conclusion is added to `findings` as soon as it is drawn.

    An open question or a mistake in the files is a UserError.
    """
    evidence = read_evidence(root)
    for reason in evidence.skipped:
        findings.append(Finding("skipped", "", reason))
    if not evidence.images:
        raise UserError(why_no_images(evidence))
    _check_folders(root, options)
    suffixes = Counter(PurePosixPath(image).suffix.lower() for image in evidence.images)
    shown = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common())
    findings.append(Finding("images", f"{len(evidence.images):,}", shown))
    sample = read_sample(evidence, options.sample)
    if sample is not None:
        findings.append(Finding("submit.sample", sample.path, f"{len(sample.ids):,} rows: {_columns(sample)}"))
    test_folders, ids, test_images = _find_test(evidence, options, sample, findings)
    labelling = find_labels(evidence, options, sample, test_images, findings)
    group = find_group(evidence, options, labelling, findings)
    row = find_row(evidence, options, labelling, sample, ids, findings)
    target = find_target(evidence, options, labelling, sample, findings)
    metric, answer = find_metric_and_answer(options, labelling, target, sample, findings)
    source = DataSource(
        root=root.as_posix(),
        labels=labelling.labels,
        image=None if labelling.table is None or labelling.table.is_coco else labelling.image,
        label=() if labelling.table is None or labelling.table.is_coco else labelling.label,
        separator=target.separator,
        group=group,
        train=_unless_default(labelling.train, "train"),
        test=_unless_default(test_folders, "test"),
        ids=ids,
        row=row,
        pool=options.pool or "mean",
        allow_missing=options.allow_missing or _are_labelled_elsewhere(evidence, labelling, test_folders, findings),
        task=target.task,
        positive=target.positive,
        sample=None if sample is None or sample.path in USUAL_SAMPLES else sample.path,
        answer=answer,
        metric=metric,
    )
    size = _choose_size(root, labelling.files, findings)
    dataset = scan(source)  # what every later command does: its errors come now, and its counts are shown
    columns = listed(dataset.classes, 4)
    count = f"{len(dataset.train):,} training images, {len(dataset.test):,} test images"
    findings.append(Finding("result", count, f"{len(dataset.classes):,} columns: {columns}"))
    return Conclusion(source, "smooth_l1" if target.task == "regression" else None, size, dataset)


def _check_folders(root: Path, options: AdoptOptions) -> None:
    folders = [path.name for path in root.iterdir() if path.is_dir()]
    for key, names in (("train", options.train), ("test", options.test)):
        if missing := [name for name in names if not (root / name).is_dir()]:
            raise UserError(f"{root} has no folder {missing[0]}{did_you_mean(missing[0], folders)} (--{key})")


def _columns(sample: Sample) -> str:
    return f"{sample.rows.columns[0]} and {listed(sample.targets, 3)}"


def _unless_default(folders: tuple[str, ...], default: str) -> tuple[str, ...]:
    return () if folders == (default,) else folders


def _find_test(
    evidence: Evidence, options: AdoptOptions, sample: Sample | None, findings: Findings
) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """Return the folders of test images, the table from ids to images, and the test images."""
    if sample is None:
        folders = options.test or _folders_called_test(evidence)
        images = tuple(image for image in evidence.images if any(is_below(image, folder) for folder in folders))
        findings.append(Finding("data.test", listed(folders) or NONE, f"{len(images):,} images; there is no sample"))
        return tuple(folders), None, images
    names = ImageNames(evidence.images)
    ids, needed = _find_ids(evidence, options, sample, names, findings)
    matches = names.match(needed)
    missing = [name for name in needed if name not in matches]
    if missing and not (matches and options.allow_missing):
        if cases := _folders_named(evidence, sample.ids):
            raise UserError(
                f"the ids of {sample.path} are folders with many images each, such as {cases[0]}: a series is one "
                f"case, and volumes are not read; make one image of each folder, or a table for --ids"
            )
        raise UserError(
            f"{sample.path} needs {len(missing):,} of {len(needed):,} images that no file has, such as "
            f"{listed(missing)}; add them, or --allow-missing, or --ids FILE if a table says which images the ids mean"
        )
    chosen = choose_images(matches, "test", options.test)
    folders = options.test or choose_folders(chosen, "test", evidence.images)
    count = f"{len(chosen):,} images of the sample, of {count_below(evidence.images, folders):,} below"
    findings.append(Finding("data.test", listed(folders), count))
    return folders, ids, tuple(files[0] for files in chosen.values())


def _folders_named(evidence: Evidence, ids: list[str]) -> list[str]:
    """Return the folders that are called after an id, or after what precedes its last underscore, as in CASE_C1."""
    names = {name for id in ids for name in (id, id.rpartition("_")[0]) if name}
    return [
        parent.as_posix()
        for image in evidence.images
        for parent in PurePosixPath(image).parents
        if parent.name in names
    ]


def _folders_called_test(evidence: Evidence) -> tuple[str, ...]:
    folders = {
        parent.as_posix()
        for image in evidence.images
        for parent in PurePosixPath(image).parents
        if has_role(parent.name, "test")
    }
    return tuple(
        sorted(folder for folder in folders if not any(is_below(folder, other) for other in folders - {folder}))
    )


def _find_ids(
    evidence: Evidence, options: AdoptOptions, sample: Sample, names: ImageNames, findings: Findings
) -> tuple[str | None, list[str]]:
    """Return the table that says which images the sample's ids mean, or None, and the names of all these images."""
    if options.ids in (None, NONE) and (options.ids == NONE or len(names.match(sample.ids)) * 2 > len(sample.ids)):
        return None, sample.ids
    tables = {
        **{path: pairs for path, pairs in evidence.id_lists.items() if set(sample.ids) <= set(pairs)},
        **{
            _ids_key(table, column): _pairs(table, column, image)
            for table in evidence.tables
            for column, image in _id_columns(table, sample, names, MIN_MATCHED if options.allow_missing else 1)
        },
    }
    if options.ids is not None:
        tables = {path: pairs for path, pairs in tables.items() if options.ids in (path, path.partition(":")[0])}
    if not tables:
        if options.ids is not None:
            raise UserError(f"{options.ids} does not list all ids of {sample.path} beside names of images; fix --ids")
        return None, sample.ids  # the missing images are counted and named
    if len(tables) > 1:
        raise ambiguous(
            f"the sample's ids may be looked up in {' or '.join(list(tables)[:3])}",
            *(f"--ids {quoted(path)}" for path in list(tables)[:3]),
        )
    [(path, pairs)] = tables.items()
    images = [image for id in sample.ids for image in pairs[id]]
    several = sum(len(pairs[id]) > 1 for id in sample.ids)
    text = f"its ids are those of the sample: {sample.ids[0]} is {pairs[sample.ids[0]][0]}"
    findings.append(Finding("data.ids", path, text + (f"; {several:,} ids have several images" if several else "")))
    return path, images


def _id_columns(table: ImageTable, sample: Sample, names: ImageNames, share: float) -> list[tuple[str, str]]:
    """Return the pairs of a column with all ids of the sample and a column of which this share names images."""
    ids = set(sample.ids)
    id_columns = [column for column in table.rows.columns if ids <= set(table.rows[column])]
    if not id_columns:
        return []
    images = [
        column
        for column in table.rows.columns
        if column not in id_columns and _share_of_names(table.rows[column], names) >= share
    ]
    return [(id_columns[0], images[0])] if images else []


def _share_of_names(column: pd.Series, names: ImageNames) -> float:
    values = column.drop_duplicates()
    return sum(bool(names.find(value)) for value in values) / max(1, len(values))


def _ids_key(table: ImageTable, column: str) -> str:
    return table.path if column == table.rows.columns[0] else f"{table.path}:{column}"


def _pairs(table: ImageTable, column: str, image: str) -> dict[str, list[str]]:
    images: dict[str, list[str]] = {}
    for id, name in zip(table.rows[column], table.rows[image], strict=True):
        images.setdefault(id, []).append(name)
    return images


def _are_labelled_elsewhere(
    evidence: Evidence, labelling: Labelling, test_folders: Sequence[str], findings: Findings
) -> bool:
    """Return whether all training images without a label are those of other COCO files, such as a validation set's."""
    labelled, others = set(labelling.files), [table for table in evidence.tables if table.is_coco]
    rest = [
        image
        for image in evidence.images
        if image not in labelled
        and any(is_below(image, folder) for folder in labelling.train)
        and not any(is_below(image, folder) for folder in test_folders)
    ]
    if labelling.table is None or not rest or len(others) < 2:
        return False
    names = ImageNames(rest)
    named = {
        image
        for table in others
        if table is not labelling.table
        for name in table.rows["file_name"].drop_duplicates()
        for image in names.find(name)
    }
    if len(named) < len(rest):
        return False
    text = f"{len(rest):,} images below data.train are those of the other labels, which are not used"
    findings.append(Finding("data.allow_missing", "true", text))
    return True


def _choose_size(root: Path, files: tuple[str, ...], findings: Findings) -> int:
    """Return the longest usual side as a multiple of 32, up to 224."""
    chosen = files[:: max(1, len(files) // MEASURED)]
    sides = sorted(side for file in chosen if (side := longest_side(root / file)))
    if not sides:
        raise UserError(f"none of {len(chosen)} images below {root} can be read, such as {chosen[0]}; restore them")
    side = sides[len(sides) // 2]
    size = min(MAX_SIZE, max(32, round(side / 32) * 32))
    text = f"longest sides of {sides[0]} to {sides[-1]} pixels in {len(sides)} images"
    findings.append(Finding("data.size", str(size), text))
    return size
