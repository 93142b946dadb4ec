"""The split the whole team shares: stratified, duplicates never parted, written once and checked ever after."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from comp.data.scan import Dataset
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.tables import FOLDS_COLUMNS, read_csv, write_csv


def make_folds(dataset: Dataset, groups: dict[str, str], k: int, seed: int) -> pd.DataFrame:
    """Every training image in exactly one fold 0..k-1, classes spread evenly, a group of duplicates in one fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    table = pd.DataFrame(
        {
            "image": [image.id for image in dataset.train],
            "label": [image.label for image in dataset.train],
            "group": [groups[image.id] for image in dataset.train],
        }
    )
    table = table.sort_values("image", ignore_index=True)  # the split depends on ids, not on the order of files
    smallest = table["label"].value_counts().reindex(list(dataset.classes), fill_value=0)
    if smallest.min() < k:
        raise UserError(
            f"class {smallest.idxmin()} has {smallest.min()} images, fewer than the {k} folds; "
            f"add images or lower folds.k"
        )
    table["fold"] = -1
    splitter = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(table, table["label"], table["group"])):
        table.loc[held_out, "fold"] = fold
    return table[FOLDS_COLUMNS]


def write_folds(path: Path, table: pd.DataFrame, dataset: Dataset, k: int, seed: int) -> None:
    write_csv(path, table)
    write_json(
        path.with_suffix(".json"),
        {
            "dataset": dataset.name,
            "k": k,
            "seed": seed,
            "images": len(table),
            "image_id": dataset.id_kind,
            "image_list_sha256": dataset.image_list_sha256,
        },
    )


def read_folds(path: Path, dataset: Dataset) -> pd.DataFrame:
    """The split, refused where it does not hold exactly the dataset's images under the dataset's labels."""
    if not path.is_file():
        raise UserError(f"{path} is missing; make it with `python -m comp folds` and the same -c and key=value")
    table = read_csv(path, FOLDS_COLUMNS, text_columns=("image", "label", "group"))
    about = read_json(path.with_suffix(".json"))
    listed, there = dict(zip(table["image"], table["label"], strict=True)), {i.id: i.label for i in dataset.train}
    again = (
        "import its file again: python -m comp data import"
        if isinstance(about, dict) and about.get("official")
        else "restore the images or make a new split with: python -m comp folds --force"
    )
    for odd, what in ((there.keys() - listed.keys(), "lacks"), (listed.keys() - there.keys(), "lists absent")):
        if odd:
            raise UserError(
                f"{path} does not match {dataset.root}: it {what} {len(odd)} images, such as {min(odd)}; {again}"
            )
    moved = sorted(image for image, label in there.items() if listed[image] != label)
    if moved:
        raise UserError(
            f"{path} does not match {dataset.root}: {len(moved)} images changed their label, "
            f"such as {moved[0]}; {again}"
        )
    if not isinstance(about, dict) or about.get("image_list_sha256") != dataset.image_list_sha256:
        raise UserError(f"{path.with_suffix('.json')} was written for another split; {again}")
    if table["image"].duplicated().any() or not pd.api.types.is_integer_dtype(table["fold"]) or min(table["fold"]) < -1:
        raise UserError(f"{path} names an image twice or has a fold that is no number; restore it")
    return table


def parse_folds(text: str | None, table: pd.DataFrame) -> list[int | str]:
    """`0..4`, `2`, `0,3`, `full`, or None for all folds of the split."""
    known = sorted(int(fold) for fold in table["fold"].unique() if fold >= 0)
    if text is None or text == "full":
        return ["full"] if text else list(known)
    wanted = parse_fold_range(text)
    absent = sorted(set(wanted) - set(known))
    if absent:
        raise UserError(f"there is no fold {', '.join(map(str, absent))}; the split has folds {known[0]}..{known[-1]}")
    return list(wanted)


def parse_fold_range(text: str) -> list[int]:
    """`0,2..4` -> [0, 2, 3, 4]."""
    wanted: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not (last.isdecimal() and int(last) >= int(first))):
            raise UserError(f"cannot read the folds {text!r}; write 2, or 0,3, or 0..4, or full")
        if int(last or first) > 1000:
            raise UserError(f"cannot read the folds {text!r}; there are never so many")
        wanted += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(wanted))
