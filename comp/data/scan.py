"""What a dataset is: a folder per class under train/, images under test/, and the identity of each."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from comp.errors import UserError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Image:
    """One picture: its id (the only thing joins use), where it lies, and its class name (None for a test image)."""

    id: str
    path: Path
    label: str | None = None


@dataclass(frozen=True)
class Dataset:
    root: Path
    classes: tuple[str, ...]  # in the order of class_map.json, else sorted: the order of every class column
    class_numbers: tuple[int, ...]  # what a submission calls each class
    train: tuple[Image, ...]
    test: tuple[Image, ...]
    id_kind: str  # "name" or "path": see _identify

    @property
    def name(self) -> str:
        return dataset_name(self.root)

    @property
    def image_list_sha256(self) -> str:
        """Hash of the training list: who is there and under which label, whatever the order or the folder."""
        lines = sorted(f"{image.id}\t{image.label}\n" for image in self.train)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def dataset_name(root: Path | str) -> str:
    return Path(root).name


def scan(root: Path | str) -> Dataset:
    """Read the tree below `root`. Only names are read here; `check` and the cache open the files."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no dataset at {root}; put train/<class>/ and test/ there, or set data.root")
    if not (root / "train").is_dir():
        raise UserError(f"{root} has no train/ folder; it must hold one folder of images per class")
    folders = sorted(
        path.name for path in (root / "train").iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    classes, numbers = _class_order(root / "class_map.json", folders)
    taken = sorted({"image", "label", "fold"} & set(classes))
    if taken:
        raise UserError(f"a class cannot be called {taken[0]}: tables of predictions have a column of that name")
    train = [(path, label) for label in classes for path in _images_below(root / "train" / label)]
    if not train:
        raise UserError(f"{root / 'train'} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in class folders")
    train_ids, id_kind = _identify([path for path, _ in train], root / "train")
    return Dataset(
        root,
        classes,
        numbers,
        tuple(Image(id, path, label) for id, (path, label) in zip(train_ids, train, strict=True)),
        find_test_images(root),
        id_kind,
    )


def find_test_images(root: Path) -> tuple[Image, ...]:
    paths = _images_below(root / "test") if (root / "test").is_dir() else []
    return tuple(Image(id, path) for id, path in zip(_identify(paths, root / "test")[0], paths, strict=True))


def _class_order(class_map: Path, folders: list[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if not class_map.is_file():
        return tuple(folders), tuple(range(len(folders)))
    try:
        numbers = json.loads(class_map.read_text())
        whole = all(type(number) is int for number in numbers.values())
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise UserError(f"{class_map} must be a JSON map of class name to whole number")
    if set(numbers) != set(folders):
        odd = sorted(set(numbers) ^ set(folders))
        raise UserError(f"{class_map} and the folders of train/ disagree about: {', '.join(odd)}")
    if len(set(numbers.values())) != len(numbers):
        raise UserError(f"{class_map} gives one number to two classes")
    classes = sorted(numbers, key=numbers.get)
    return tuple(classes), tuple(numbers[name] for name in classes)


def _images_below(folder: Path) -> list[Path]:
    """Every image file below `folder`, hidden ones left out, in natural order: img_2 before img_10."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: (len(path.name), path.as_posix()))


def _identify(paths: list[Path], base: Path) -> tuple[list[str], str]:
    """The file name where all are unique, else the path below `base`: one rule for the whole list."""
    names = Counter(path.name for path in paths)
    if all(count == 1 for count in names.values()):
        return [path.name for path in paths], "name"
    return [path.relative_to(base).as_posix() for path in paths], "path"
