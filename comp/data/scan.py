"""The layout of a dataset: a folder per class under train/, images under test/, and an id for each image."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from comp.errors import UserError
from comp.files import read_json
from comp.records.dataset import IdKind
from comp.tasks import Task, single_label

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
NUMBER_NAME = re.compile("-?[0-9]{1,18}")  # a class name that is a number, as in 007
MAX_CLASS_NUMBER = 10**18  # numbers of classes fit into 64 bits
FORBIDDEN_IN_NAMES = {"Cc", "Cs", "Zl", "Zp"}  # controls, bytes that are not UTF-8, and line ends of Unicode
RESERVED_LABELS = {"image", "label", "fold"}  # columns of the tables of predictions, beside one per class


@dataclass(frozen=True)
class Image:
    """An image file: its id (the only key of joins), its path, and its class name (None for a test image)."""

    id: str
    path: Path
    label: str | None = None


@dataclass(frozen=True)
class Dataset:
    """The images of a dataset, found by `scan`. No image file has been opened."""

    root: Path
    task: Task
    class_numbers: tuple[int, ...]  # the number of each class in a submission
    train: tuple[Image, ...]
    test: tuple[Image, ...]
    id_kind: IdKind

    @property
    def classes(self) -> tuple[str, ...]:
        """The columns of predictions; for classes in the order of class_map.json, else sorted."""
        return self.task.columns

    @cached_property
    def targets(self) -> np.ndarray:
        """The target of each training image."""
        return self.task.encode([image.label or "" for image in self.train])

    @property
    def name(self) -> str:
        """The name of the dataset, which is that of its folder."""
        return dataset_name(self.root)

    @property
    def image_list_sha256(self) -> str:
        """A hash of the ids and labels of all training images. It ignores their order and their folders."""
        lines = sorted(f"{image.id}\t{image.label}\n" for image in self.train)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def dataset_name(root: Path | str) -> str:
    """Return the name of the dataset at `root`."""
    return Path(root).name


def scan(root: Path | str) -> Dataset:
    """List the images below `root`. Only names are read; `data check` and the cache open the files."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no dataset at {root}; put train/<class>/ and test/ there, or set data.root")
    check_file_name(root, root.parent)
    if not (root / "train").is_dir():
        raise UserError(f"{root} has no train/ folder; add one with a folder of images per class")
    folders = sorted(
        check_file_name(path, root / "train").name
        for path in (root / "train").iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    classes, class_numbers = _class_order(root / "class_map.json", folders)
    reserved = sorted(RESERVED_LABELS & set(classes))
    if reserved:
        raise UserError(
            f"a class cannot be called {reserved[0]}, because tables of predictions have a column of that name; "
            f"rename its folder"
        )
    train = [(path, label) for label in classes for path in _images_below(root / "train" / label)]
    if not train:
        raise UserError(
            f"{root / 'train'} contains no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in class folders; add some"
        )
    ids, id_kind = _identify([path for path, _ in train], root / "train")
    return Dataset(
        root,
        single_label(classes),
        class_numbers,
        tuple(Image(id, path, label) for id, (path, label) in zip(ids, train, strict=True)),
        find_test_images(root),
        id_kind,
    )


def find_test_images(root: Path) -> tuple[Image, ...]:
    """Return the images below test/, which may be missing."""
    paths = _images_below(root / "test") if (root / "test").is_dir() else []
    ids, _ = _identify(paths, root / "test")
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


def files_below(folder: Path) -> list[Path]:
    """Return everything below `folder` that is neither hidden nor an ordinary directory, in natural order.

    Natural: img_2 before img_10. A directory that is named like an image is listed, but not an image (`is_image`).
    """
    paths = [
        check_file_name(path, folder)
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (_is_named_like_an_image(path) or not path.is_dir())
    ]
    return sorted(paths, key=lambda path: (len(path.name), path.as_posix()))


def is_image(path: Path) -> bool:
    """Return whether a path is named like an image and is a file: not a pipe, a device or a broken link."""
    return _is_named_like_an_image(path) and path.is_file()


def _is_named_like_an_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def check_file_name(path: Path, base: Path) -> Path:
    """Return `path`; refuse a name below `base` that a line of text or a CSV cannot hold."""
    name = path.relative_to(base).as_posix()
    if any(unicodedata.category(character) in FORBIDDEN_IN_NAMES for character in name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        shown = "".join(ascii(c)[1:-1] if unicodedata.category(c) in FORBIDDEN_IN_NAMES else c for c in shown)
        raise UserError(
            f"the name of {base / shown} is not UTF-8, or has a line end or another control character; rename it"
        )
    return path


def _images_below(folder: Path) -> list[Path]:
    return [path for path in files_below(folder) if is_image(path)]


def _identify(paths: list[Path], base: Path) -> tuple[list[str], IdKind]:
    """Return an id per path: the file name if all names are unique, else the path below `base` for all of them."""
    counts = Counter(path.name for path in paths)
    if all(count == 1 for count in counts.values()):
        return [path.name for path in paths], "name"
    return [path.relative_to(base).as_posix() for path in paths], "path"
