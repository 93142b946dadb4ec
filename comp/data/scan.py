"""The layout of a dataset: a folder per class under train/, images under test/, and an id for each image."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comp.data.dataset import Dataset, Image
from comp.data.image_files import check_file_name, images_below
from comp.data.image_index import ImageIndex
from comp.data.labels import TAG_SEPARATOR, binary_labels, is_pattern, label_of_name, read_labels
from comp.data.missing import check_missing
from comp.data.relabel import apply_corrections
from comp.data.suffixes import IMAGE_SUFFIXES
from comp.errors import UserError
from comp.files import read_json
from comp.records.dataset import IdKind
from comp.records.source import DataSource
from comp.rows import ROW_COLUMN
from comp.tasks import TASKS, Task, single_label

NUMBER_NAME = re.compile("-?[0-9]{1,18}")  # a class name that is a number, as in 007
MAX_CLASS_NUMBER = 10**18  # numbers of classes fit into 64 bits
CLASS_MAP = "class_map.json"
NAME_GROUP = "{name}"  # the group of class folders with the same file names in each
RESERVED_LABELS = {"image", "label", "fold", ROW_COLUMN}  # columns of the tables of predictions, beside one per class


def scan(source: DataSource | Path | str) -> Dataset:
    """List the images and labels of a dataset. Only names and tables are read; `data check` and the cache open images.

    A path is the dataset with a folder per class in train/, and test/.
    """
    if not isinstance(source, DataSource):
        source = DataSource(str(source))
    root = Path(source.root)
    if not root.is_dir():
        raise UserError(f"there is no dataset at {root}; put train/<class>/ and test/ there, or set data.root")
    check_file_name(root, root.parent)
    _check_keys(source)
    labelled, id_base, left_out = (_label_folders if source.labels is None else _label_images)(root, source)
    labels = binary_labels(source, [image.label for image in labelled])
    task, numbers = _make_task(root, source, labels)
    task = replace(task, spec=replace(task.spec, pool=source.pool))
    reserved = sorted(RESERVED_LABELS & set(task.columns))
    if reserved and task.kind != "regression":
        raise UserError(
            f"a class cannot be called {reserved[0]}, because tables of predictions have a column of that name; "
            f"rename its folder"
        )
    ids, id_kind = _identify([image.path for image in labelled], id_base)
    train = [
        Image(id, image.path, label, image.group, image.row)
        for id, image, label in zip(ids, labelled, labels, strict=True)
    ]
    test = find_test_images(root, source.test, {image.path for image in labelled})
    dataset = apply_corrections(Dataset(root, task, numbers, tuple(train), test, id_kind, source, left_out))
    _check_rows(dataset.train)
    return dataset


def _check_keys(source: DataSource) -> None:
    """Refuse keys about a table of labels where there is none: they would have no effect."""
    is_table = source.labels is not None and not is_pattern(source.labels)
    for key, is_set in (("image", source.image and not source.ids), ("label", source.label), ("row", source.row)):
        if is_set and not is_table:
            raise UserError(f"data.{key} names a column, and data.labels names no table; set data.labels")


def _check_rows(images: Sequence[Image]) -> None:
    """Refuse rows whose images have different labels: the row would have two."""
    labels: dict[str, set[str]] = {}
    for image in images:
        labels.setdefault(image.row_id, set()).add(image.label or "")
    if several := [f"{row} ({' and '.join(sorted(values))})" for row, values in labels.items() if len(values) > 1]:
        raise UserError(
            f"{len(several):,} rows have images with different labels, such as {', '.join(several[:5])}; fix the "
            f"labels, or data.row"
        )


@dataclass(frozen=True)
class _LabelledFile:
    path: Path
    label: str
    group: str | None = None
    row: str | None = None


def _label_folders(root: Path, source: DataSource) -> tuple[list[_LabelledFile], Path, tuple[str, ...]]:
    """Return the images of a folder per class, the folder that holds these, and that nothing was left out."""
    base = root / (source.train[0] if source.train else "train")
    if not base.is_dir():
        raise UserError(f"{root} has no {base.relative_to(root)}/ folder; add one with a folder of images per class")
    folders = sorted(check_file_name(path, base).name for path in _class_folders(root, source))
    classes = _class_order(root / CLASS_MAP, folders)[0]
    by_name = source.group == NAME_GROUP
    images = [
        _LabelledFile(path, label, path.stem if by_name else None)
        for label in classes
        for path in images_below(base / label)
    ]
    if not images:
        raise UserError(f"{base} contains no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in class folders; add some")
    return images, base, ()


def _label_images(root: Path, source: DataSource) -> tuple[list[_LabelledFile], Path, tuple[str, ...]]:
    """Return the images that a table, a COCO file or their names label, the folder that their ids are below, and lines
    about what was left out."""
    folders = [root / folder for folder in source.train or ("train",)]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{root} has no folder {folder.relative_to(root)}; set data.train to that of the images")
    files = [path for folder in folders for path in images_below(folder)]
    lines = []
    assert source.labels is not None, "without labels there is a folder per class"
    if is_pattern(source.labels):
        named = ((path, label_of_name(source.labels, path.name)) for path in files)
        images = [_LabelledFile(path, label) for path, label in named if label is not None]
        if not images:
            raise UserError(f"no image below {folders[0]} has a name like {source.labels}; fix data.labels")
    else:
        rows, index = read_labels(source), ImageIndex([root, *folders], files)
        matches = [(row, index.find(row.image)) for row in rows]
        lines.append(
            check_missing(
                [row.image for row, path in matches if path is None],
                f"images of {root / source.labels} are not below {', '.join(map(str, folders))}",
                "add them, remove their rows, or fix data.train",
                result="left out",
                allowed=source.allow_missing,
            )
        )
        images = [_LabelledFile(path, row.label, row.group, row.row) for row, path in matches if path is not None]
    labelled, tests = {image.path for image in images}, [root / folder for folder in source.test or ("test",)]
    lines.append(
        check_missing(
            [
                path.relative_to(root).as_posix()
                for path in files
                if path not in labelled and not any(path.is_relative_to(test) for test in tests)
            ],
            f"images below {', '.join(map(str, folders))} have no label in {source.labels}",
            "add their rows, move them away, or fix data.train",
            result="left out",
            allowed=source.allow_missing,
        )
    )
    return images, folders[0] if len(folders) == 1 else root, tuple(filter(None, lines))


def _make_task(root: Path, source: DataSource, labels: Sequence[str]) -> tuple[Task, tuple[int, ...]]:
    """Return the task of the labels, and the number of each class in a submission."""
    if source.labels is None and source.task == "single":
        classes = sorted(path.name for path in _class_folders(root, source))
        names, numbers = _class_order(root / CLASS_MAP, classes)
        return single_label(names), numbers
    name = source.label[0] if len(source.label) == 1 and source.label[0] not in RESERVED_LABELS else "prediction"
    options = {"separator": source.separator or (TAG_SEPARATOR if len(source.label) > 1 else " ")}
    task = TASKS[source.task].from_labels(labels, name=name, **options)
    columns = task.columns
    if all(map(NUMBER_NAME.fullmatch, columns)):
        return task, tuple(map(int, columns))
    ordered, numbers = _class_order(root / CLASS_MAP, sorted(columns)) if task.has_confusion else ((), ())
    number_of = dict(zip(ordered, numbers, strict=True))
    return task, tuple(number_of.get(column, position) for position, column in enumerate(columns))


def _class_folders(root: Path, source: DataSource) -> list[Path]:
    base = root / (source.train[0] if source.train else "train")
    tests = {root / folder for folder in source.test or ("test",)}
    return [path for path in base.iterdir() if path.is_dir() and not path.name.startswith(".") and path not in tests]


def find_test_images(
    root: Path, folders: Sequence[str] = (), labelled: Collection[Path] = frozenset()
) -> tuple[Image, ...]:
    """Return the images below the test folders, which may be missing, without those that are labelled."""
    existing = [root / folder for folder in folders or ("test",) if (root / folder).is_dir()]
    paths = [path for folder in existing for path in images_below(folder) if path not in labelled]
    ids, _ = _identify(paths, existing[0] if len(existing) == 1 else root)
    return tuple(Image(id, path) for id, path in zip(ids, paths, strict=True))


def _class_order(class_map: Path, folders: list[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the classes in order and their numbers: those of class_map.json, else the sorted folders from 0 on.

    Folders that are all named by different numbers have those numbers: class 15504 must not be submitted as class 1.
    """
    if not os.path.lexists(class_map):
        is_numbered = all(map(NUMBER_NAME.fullmatch, folders))
        numbers_of_names = tuple(map(int, folders)) if is_numbered else ()
        is_unique = is_numbered and len(set(numbers_of_names)) == len(folders)
        return tuple(folders), numbers_of_names if is_unique else tuple(range(len(folders)))
    numbers = read_json(class_map)
    if not isinstance(numbers, dict) or not all(
        type(number) is int and abs(number) < MAX_CLASS_NUMBER for number in numbers.values()
    ):
        raise UserError(f"{class_map} must be a JSON map of class name to whole number; fix it, or remove it")
    if set(numbers) != set(folders):
        different = sorted(set(numbers) ^ set(folders))
        raise UserError(f"{class_map} and the folders of train/ disagree about: {', '.join(different)}; fix either")
    if len(set(numbers.values())) != len(numbers):
        raise UserError(f"{class_map} gives one number to two classes; fix it")
    classes = sorted(numbers, key=numbers.__getitem__)
    return tuple(classes), tuple(numbers[label] for label in classes)


def _identify(paths: list[Path], base: Path) -> tuple[list[str], IdKind]:
    """Return an id per path: the file name if all names are unique, else the path below `base` for all of them."""
    counts = Counter(path.name for path in paths)
    if all(count == 1 for count in counts.values()):
        return [path.name for path in paths], "name"
    return [path.relative_to(base).as_posix() for path in paths], "path"
