"""MedMNIST's files: one becomes a dataset with its official split, and a dataset of ours becomes such a file.

    train_images  uint8 (N, height, width, 3), or (N, height, width) of grey;  val_images, test_images likewise
    train_labels  whole numbers 0..K-1 as (N, 1) or (N,);                      val_labels, test_labels likewise
    class_names   the K names as text: only files of ours have it

An npz is a zip of .npy members, and each is opened by itself: labels and headers are checked before anything is
written, and no more than one part's images are in memory at a time (1.8 GB for BloodMNIST's training part at 224 px).
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from comp.data.folds import make_folds
from comp.data.images import SquareSpec, longest_side, read_image
from comp.data.scan import Dataset, scan
from comp.errors import UserError
from comp.files import write_atomic, write_json
from comp.tables import FOLDS_COLUMNS, read_csv, write_csv

SUBSET_FOLDS = {
    "train": range(7),
    "val": [7],
    "test": [8, 9],
}  # part -> which tenths of a dataset `choose_parts` puts there
ARRAY_KEYS = [f"{part}_{what}" for part in SUBSET_FOLDS for what in ("images", "labels")]
BLOOD_CELLS = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
# What zipfile and numpy raise of a file that is none, was cut short, was changed, or needs a password.
READ_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError)


@dataclass(frozen=True)
class MedMnistFile:
    """A file whose every label and header was found good; its pixels are still on the disk."""

    path: Path
    classes: tuple[str, ...]
    labels: Mapping[str, np.ndarray]  # part -> the class number of each image
    shape: tuple[int, ...]  # of one picture, the same in all parts

    def images(self, part: str) -> np.ndarray:
        with _open_archive(self.path) as archive:
            return _read(archive, f"{part}_images")

    def ids(self, part: str) -> list[str]:
        """The file name of each image: its part, and its place in the array."""
        return [f"{part}_{row:05d}.png" for row in range(len(self.labels[part]))]

    def names(self, part: str) -> list[str]:
        """The class name of each image."""
        return [self.classes[label] for label in self.labels[part]]


# ---- a file becomes a dataset ----


def read_npz(path: Path) -> MedMnistFile:
    """Refuse whatever is not such a file, by what is wrong with it; no image is read yet."""
    with _open_archive(path) as archive:
        missing = [key for key in ARRAY_KEYS if f"{key}.npy" not in archive.namelist()]
        if missing:
            raise UserError(f"{path} lacks {', '.join(missing)}; a MedMNIST file has {', '.join(ARRAY_KEYS)}")
        shapes = {part: _check_arrays(archive, part, path) for part in SUBSET_FOLDS}
        labels = {part: _read(archive, f"{part}_labels").reshape(-1).astype(np.int64) for part in SUBSET_FOLDS}
        names = _class_names(archive, path)
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            raise UserError(
                f"{path}: pictures of {part}_images are {shape} and those of train_images "
                f"{shapes['train']}; they must be alike"
            )
    count = _count_classes(labels, path)
    if not names:
        known = path.stem.startswith("bloodmnist") and count == len(BLOOD_CELLS)
        names = BLOOD_CELLS if known else tuple(f"class_{label:0{len(str(count - 1))}d}" for label in range(count))
    if len(names) != count:
        raise UserError(f"{path}: class_names has {len(names)} names for {count} classes")
    return MedMnistFile(path, names, labels, shapes["train"])


def official_split(npz: MedMnistFile) -> pd.DataFrame:
    """The official validation part is fold 0, and the official training part is never validated. A group is one
    image: copies on both sides of a split that others drew stay where they are (`data check` shows them), because
    moving one would make it another split."""
    parts = [
        pd.DataFrame({"image": npz.ids(part), "label": npz.names(part), "group": npz.ids(part), "fold": fold})
        for part, fold in (("train", -1), ("val", 0))
    ]
    return pd.concat(parts, ignore_index=True)[FOLDS_COLUMNS]


def check_split_file(path: Path, split: pd.DataFrame) -> None:
    """Refuse to write over a split that differs, before anything is made."""
    if path.is_file() and not read_csv(path, FOLDS_COLUMNS, text_columns=("image", "label", "group")).equals(split):
        raise UserError(f"{path} is there and is another split; remove it, or give --folds FILE")


def write_official_split(path: Path, split: pd.DataFrame, dataset: Dataset) -> None:
    """Nobody chose a k or a seed for it, so its note has neither."""
    write_csv(path, split)
    write_json(
        path.with_suffix(".json"),
        {
            "dataset": dataset.name,
            "official": True,
            "images": len(split),
            "image_id": dataset.id_kind,
            "image_list_sha256": dataset.image_list_sha256,
        },
    )


def write_dataset(npz: MedMnistFile, root: Path) -> None:
    """Write the new folder `root`, which appears only once it is complete. What a killed unpacking left goes first."""
    part = root.with_name(f".{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for name in npz.classes:
            (part / "train" / name).mkdir(parents=True)
        (part / "test").mkdir()
        _write_images(npz, "train", [part / "train" / name for name in npz.names("train")])
        _write_images(npz, "val", [part / "train" / name for name in npz.names("val")])
        _write_images(npz, "test", [part / "test"] * len(npz.labels["test"]))
        test = pd.DataFrame({"image": npz.ids("test"), "label": npz.names("test")})
        write_csv(part / "test_labels.csv", test)
        write_csv(part / "sample_submission.csv", test.assign(label=0))
        write_json(part / "class_map.json", {name: label for label, name in enumerate(npz.classes)})
        part.rename(root)
    except OSError as problem:  # a full disk, say
        raise OSError(problem.errno, problem.strerror, str(root)) from problem
    finally:
        shutil.rmtree(part, ignore_errors=True)


def dataset_matches(root: Path, npz: MedMnistFile, split: pd.DataFrame) -> bool:
    """Whether `root` is what `unpack` would make, as far as names, labels and the size of a picture tell."""
    try:
        dataset = scan(root)
    except UserError:
        return False
    return (
        dataset.classes == npz.classes
        and [image.id for image in dataset.test] == npz.ids("test")
        and {i.id: i.label for i in dataset.train} == dict(zip(split["image"], split["label"], strict=True))
        and longest_side(dataset.train[0].path) == max(npz.shape[:2])
    )


@contextlib.contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except READ_ERRORS as problem:
        raise UserError(f"{path} is not a whole npz file ({problem}); get it again") from None


def _read(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _header(archive: zipfile.ZipFile, key: str, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type of an array, without the array."""
    with archive.open(f"{key}.npy") as stream:
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise UserError(f"{path}: {key} holds pickled objects, and reading those can run code; save a plain array")
    return shape, dtype


def _check_arrays(archive: zipfile.ZipFile, part: str, path: Path) -> tuple[int, ...]:
    """The shape of one picture of a part whose two arrays fit each other and their description above."""
    images, labels = f"{part}_images", f"{part}_labels"
    (shape, dtype), (label_shape, label_dtype) = _header(archive, images, path), _header(archive, labels, path)
    if dtype != np.uint8:
        raise UserError(f"{path}: {images} is {dtype}, not uint8")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
        raise UserError(f"{path}: {images} has the shape {shape}, not (N, height, width, 3) or (N, height, width)")
    if 0 in shape:
        raise UserError(f"{path}: {images} is empty")
    if label_dtype.kind not in "iu":
        raise UserError(f"{path}: {labels} is {label_dtype}, not whole numbers")
    if len(label_shape) == 2 and label_shape[1] > 1:
        raise UserError(f"{path}: {labels} has {label_shape[1]} labels for each image; the kit learns one of several")
    if label_shape not in ((shape[0],), (shape[0], 1)):
        raise UserError(f"{path}: {labels} has the shape {label_shape}, and {images} holds {shape[0]} images")
    return shape[1:]


def _class_names(archive: zipfile.ZipFile, path: Path) -> tuple[str, ...]:
    """The names of a file of ours, or none. They become folders, so they may not lead out of train/."""
    if "class_names.npy" not in archive.namelist():
        return ()
    shape, dtype = _header(archive, "class_names", path)
    if len(shape) != 1 or dtype.kind != "U":
        raise UserError(f"{path}: class_names is {dtype} of the shape {shape}, not a list of names")
    names = tuple(_read(archive, "class_names").tolist())
    taken = {"image", "label", "fold"}  # as `scan` says
    for name in names:
        if not name or not name.isprintable() or name != Path(name).name or name.startswith(".") or name in taken:
            raise UserError(f"{path}: class_names has {name!r}, which cannot be the name of a class folder")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: class_names has a name twice")
    return names


def _count_classes(labels: Mapping[str, np.ndarray], path: Path) -> int:
    present = np.unique(labels["train"]).tolist()
    if present[0] != 0 or present[-1] != len(present) - 1:
        raise UserError(
            f"{path}: train_labels must be 0..K-1 with none left out, and are "
            f"{', '.join(map(str, present[:12]))}{', ...' if len(present) > 12 else ''}"
        )
    for part in ("val", "test"):
        odd = np.setdiff1d(labels[part], present)
        if len(odd):
            raise UserError(f"{path}: {part}_labels has the label {odd[0]}, which no training image has")
    return len(present)


def _write_images(npz: MedMnistFile, part: str, folders: list[Path]) -> None:
    """In one thread: all of BloodMNIST's 17,092 pictures are 4 s of work at 64 px and 31 s at 224, and a second thread
    gains a third at 224 px alone. Not by cv2.imwrite, which says nothing of a disk that is full."""
    rows = zip(folders, npz.ids(part), npz.images(part), strict=True)
    for folder, name, pixels in tqdm(
        rows, total=len(folders), desc=f"writing {part}", unit="img", disable=None, leave=False
    ):
        bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV's order of colours
        (folder / name).write_bytes(cv2.imencode(".png", bgr)[1])


# ---- a dataset becomes a file ----


def assign_subsets(dataset: Dataset, groups: Mapping[str, str], seed: int) -> pd.DataFrame:
    """The training images in ten folds, copies together; PARTS makes 70 % training, 10 % validation, 20 % test."""
    for label in dataset.classes:
        different = len({groups[image.id] for image in dataset.train if image.label == label})
        if different < 10:
            raise UserError(f"a 70/10/20 split needs 10 different images of each class; class {label} has {different}")
    return make_folds(dataset, groups, 10, seed)


def pack_arrays(dataset: Dataset, table: pd.DataFrame, square: SquareSpec, seed: int) -> dict[str, np.ndarray]:
    """MedMNIST's arrays, each part shuffled by `seed`: in the order of their ids, images may lie class by class.
    A label is the place of its class in `dataset.classes`, whatever a submission calls it."""
    paths = {image.id: image.path for image in dataset.train}
    numbers = {name: label for label, name in enumerate(dataset.classes)}
    arrays: dict[str, np.ndarray] = {}
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(table), desc="packing images", unit="img", disable=None, leave=False) as bar,
    ):
        for part, folds in SUBSET_FOLDS.items():
            rows = table[table["fold"].isin(folds)].sample(frac=1, random_state=seed)
            images = np.empty((len(rows), square.size, square.size, 3), np.uint8)
            for row, pixels in enumerate(pool.map(lambda image: square(read_image(paths[image])), rows["image"])):
                images[row] = pixels
                bar.update()
            labels = np.array([[numbers[name]] for name in rows["label"]], np.min_scalar_type(len(numbers) - 1))
            arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    return arrays | {"class_names": np.array(dataset.classes)}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """The same arrays make the same bytes: numpy dates every member 1980."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomic(path, content.getbuffer())
