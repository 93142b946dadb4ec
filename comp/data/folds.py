"""The split that all runs share: stratified, with duplicates in one fold; written once and checked on every read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from comp.data.scan import Dataset
from comp.data.stratify import spread
from comp.errors import UserError
from comp.files import file_exists
from comp.records.base import Fold
from comp.records.dataset import SplitRecord
from comp.tables import FOLDS_COLUMNS, read_csv, write_csv

MAX_FOLD = 1000  # a larger number is a typing error, and its range would take long to list


def make_folds(dataset: Dataset, groups: Mapping[str, str], k: int, seed: int) -> pd.DataFrame:
    """Assign the training images to the folds 0..k-1, with the classes spread evenly.

    `groups` has the group of each image id: the images of a group are duplicates and share a fold. A class that
    cannot be in every fold, because it has fewer than `k` images or copies of one alone, is in fold -1.
    """
    dataset = dataset.original  # the split depends on no correction
    table = pd.DataFrame(
        {
            "image": [image.id for image in dataset.train],
            "label": [image.label for image in dataset.train],
            "group": [groups[image.id] for image in dataset.train],
        }
    )
    table = table.sort_values("image", ignore_index=True)  # the split depends on ids, not on the order of files
    if dataset.task.has_confusion and (empty := sorted(set(dataset.classes) - set(table["label"]))):
        raise UserError(f"class {empty[0]} has no images; add some, or remove its folder")
    table["fold"] = -1
    validated = _validated_rows(table, k) if dataset.task.has_confusion else table
    if (counts := table["group"].value_counts()).size < k:
        raise UserError(
            f"{dataset.root} has {counts.size} groups of images that share a fold (data.group, data.row and copies), "
            f"too few for {k} folds; the largest, that of {counts.index[0]}, has {counts.iloc[0]} of {len(table)}"
        )
    if validated["group"].nunique() < k:
        raise UserError(
            f"{dataset.root} has {validated['group'].nunique()} different images in classes of {k} or more, too few "
            f"for {k} folds; add images{' or lower folds.k' if k > 2 else ''}"
        )
    strata = dataset.task.strata(validated["label"].tolist())
    table.loc[validated.index, "fold"] = spread(strata, validated["group"].to_numpy(), k, seed)
    return table[FOLDS_COLUMNS]


def _validated_rows(table: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return the rows without small classes, and without copies of their images under another label."""
    while len(table):
        classes = table.groupby("label")
        is_small = (classes.size() < k) | (classes["group"].nunique() < 2)
        small_groups = table.loc[table["label"].isin(is_small.index[is_small]), "group"]
        if small_groups.empty:
            break
        table = table[~table["group"].isin(small_groups)]
    return table


def trained_only_classes(table: pd.DataFrame) -> list[str]:
    """Return the classes of a split that no fold validates."""
    return sorted(set(table["label"]) - set(table.loc[table["fold"] >= 0, "label"]))


def count_split_groups(table: pd.DataFrame) -> int:
    """Return the number of groups whose images are in several folds, or both in a fold and in -1."""
    return int((table.groupby("group")["fold"].nunique() > 1).sum())


def describe_split_groups(count: int) -> str:
    """Return the remark that belongs beside each score of a split with `count` split groups; empty for none."""
    noun = "group of copies spans" if count == 1 else "groups of copies span"
    return f"{count} {noun} folds, the score may be too high" if count else ""


def groups_sha256(table: pd.DataFrame) -> str:
    """Return a hash of the group of each image, whatever the order of the rows."""
    lines = sorted(f"{image}\t{group}\n" for image, group in zip(table["image"], table["group"], strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_folds(path: Path, table: pd.DataFrame, dataset: Dataset, k: int, seed: int) -> None:
    """Write a split of `dataset`, and beside it the JSON with its origin."""
    write_csv(path, table)
    record = SplitRecord(
        dataset.name,
        len(table),
        dataset.id_kind,
        dataset.original.image_list_sha256,
        k=k,
        seed=seed,
        groups_sha256=groups_sha256(table),
    )
    record.write(path.with_suffix(".json"))


def read_folds(path: Path, dataset: Dataset, allow_split_groups: bool = False) -> pd.DataFrame:
    """Read a split. It must have exactly the dataset's training images, under the dataset's labels.

    A group of copies in several folds is refused unless `allow_split_groups`: a model would be scored on images that
    it was trained on.
    """
    if not file_exists(path):
        raise UserError(f"{path} is missing; make it with `python -m comp folds` and the same -c and key=value")
    table = read_csv(path, FOLDS_COLUMNS, text_columns=("image", "label", "group"))
    record = SplitRecord.read(path.with_suffix(".json"))
    advice = (
        "import its file again: python -m comp data import"
        if record.official
        else "restore the images or make a new split with: python -m comp folds --force"
    )
    mismatch = _find_mismatch(table, dataset.original)
    if mismatch:
        raise UserError(f"{path} does not match {dataset.root}: {mismatch}; {advice}")
    if record.image_list_sha256 != dataset.original.image_list_sha256:
        raise UserError(f"{path.with_suffix('.json')} was written for another split; {advice}")
    if table["image"].duplicated().any():
        raise UserError(f"{path} has an image twice; restore it")
    if not pd.api.types.is_integer_dtype(table["fold"]) or min(table["fold"]) < -1 or max(table["fold"]) > MAX_FOLD:
        raise UserError(f"{path} has a fold that is not a number from -1 to {MAX_FOLD}; restore it")
    if record.groups_sha256 not in (None, groups_sha256(table)):
        raise UserError(f"{path}: the column group is not as it was written; {advice}")
    if row := _find_split(table, {image.id: image.row_id for image in dataset.train}):
        raise UserError(f"{path}: the images of the row {row} are in several folds, and it has one score; {advice}")
    if not allow_split_groups and (group := _find_split(table, {image.id: image.group for image in dataset.train})):
        raise UserError(
            f"{path}: the images of the group {group} (data.group) are in several folds; make a new split with: "
            f"python -m comp folds --force, or set folds.allow_split_groups=true"
        )
    if (count := count_split_groups(table)) and not allow_split_groups:
        folds = table.groupby("group")["fold"].unique()
        example = folds[folds.map(len) > 1]
        raise UserError(
            f"{path}: {count} group(s) of copies span folds, such as {example.index[0]} in "
            f"{', '.join(map(str, sorted(example.iloc[0])))}: a model would be scored on images it was trained on; "
            f"restore the file, or set folds.allow_split_groups=true"
        )
    return table


def _find_split(table: pd.DataFrame, group_of: Mapping[str, str | None]) -> str:
    """Return a group whose images are in several folds; an empty text if there is none."""
    fold_of: dict[str, int] = {}
    for image, fold in zip(table["image"], table["fold"], strict=True):
        group = group_of[image]
        if group is not None and fold_of.setdefault(group, fold) != fold:
            return group
    return ""


def _find_mismatch(table: pd.DataFrame, dataset: Dataset) -> str:
    """Return how the images of a split differ from the training images of the dataset, or an empty text."""
    split_labels = dict(zip(table["image"], table["label"], strict=True))
    labels = {image.id: image.label for image in dataset.train}
    if missing := labels.keys() - split_labels.keys():
        return f"it lacks {len(missing)} images, such as {min(missing)}"
    if absent := split_labels.keys() - labels.keys():
        return f"it lists {len(absent)} images that do not exist, such as {min(absent)}"
    if changed := [image for image, label in labels.items() if split_labels[image] != label]:
        return f"{len(changed)} images changed their label, such as {min(changed)}"
    return ""


def parse_folds(text: str | None, table: pd.DataFrame) -> list[Fold]:
    """Return the folds that `--fold` requests: `0..4`, `2`, `0,3`, `full`, or None for all folds of the split."""
    available = sorted(int(fold) for fold in table["fold"].unique() if fold >= 0)
    if text == "full":
        return ["full"]
    if not available:
        raise UserError("the split validates no image: each has fold -1; use --fold full, or another folds.file")
    if text is None:
        return list(available)
    requested = parse_fold_range(text)
    missing = sorted(set(requested) - set(available))
    if missing:
        raise UserError(
            f"there is no fold {', '.join(map(str, missing))}; the split has folds {available[0]}..{available[-1]}"
        )
    return list(requested)


def parse_fold_range(text: str) -> list[int]:
    """Parse a list of folds, without repetition: `0,2..4` is [0, 2, 3, 4]."""
    folds: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not (last.isdecimal() and int(last) >= int(first))):
            raise UserError(f"cannot read the folds {text!r}; write 2, or 0,3, or 0..4, or full")
        if int(last or first) > MAX_FOLD:
            raise UserError(f"cannot read the folds {text!r}; a fold is at most {MAX_FOLD}")
        folds += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(folds))
