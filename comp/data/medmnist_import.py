"""Import a MedMNIST file: a dataset of PNG images with the official split.

    train_images  uint8 (N, height, width, 3), or (N, height, width) of grey;  val_images, test_images likewise
    train_labels  whole numbers 0..K-1 as (N, 1) or (N,);                      val_labels, test_labels likewise
    class_names   the K names as text: only files of `data export-npz` have it

An npz file is a zip of .npy members, and each member is opened by itself. Labels and headers are checked before
anything is written, and the images of only one subset are in memory at a time (1.8 GB for the training subset of
BloodMNIST at 224 px).
"""

from __future__ import annotations

import contextlib
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from comp.data.images import longest_side
from comp.data.scan import RESERVED_LABELS, Dataset, scan
from comp.errors import UserError
from comp.files import file_exists, write_json
from comp.progress_bar import progress_bar
from comp.records.dataset import SplitRecord
from comp.tables import FOLDS_COLUMNS, read_csv, write_csv

SUBSETS = ("train", "val", "test")
ARRAY_KEYS = [f"{subset}_{content}" for subset in SUBSETS for content in ("images", "labels")]
BLOOD_CELLS = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
# What zipfile and numpy raise for a file that is not an npz, was cut short, was changed, or needs a password.
READ_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError)


@dataclass(frozen=True)
class MedMnistFile:
    """A MedMNIST file whose labels and headers have been checked. Its images are read on request."""

    path: Path
    classes: tuple[str, ...]
    targets: Mapping[str, np.ndarray]  # subset -> the class index of each image
    image_shape: tuple[int, ...]  # the same in all subsets

    def read_images(self, subset: str) -> np.ndarray:
        """Read the images of a subset as one array."""
        with _open_archive(self.path) as archive:
            return _read_array(archive, f"{subset}_images")

    def image_ids(self, subset: str) -> list[str]:
        """Return the file name of each image: its subset, and its position in the array."""
        return [f"{subset}_{row:05d}.png" for row in range(len(self.targets[subset]))]

    def image_labels(self, subset: str) -> list[str]:
        """Return the class name of each image."""
        return [self.classes[class_index] for class_index in self.targets[subset]]


def read_npz(path: Path) -> MedMnistFile:
    """Read the labels and headers of a MedMNIST file; a UserError says what is wrong with any other file."""
    with _open_archive(path) as archive:
        missing = [key for key in ARRAY_KEYS if f"{key}.npy" not in archive.namelist()]
        if missing:
            raise UserError(f"{path} lacks {', '.join(missing)}; a MedMNIST file has {', '.join(ARRAY_KEYS)}")
        shapes = {subset: _check_arrays(archive, subset, path) for subset in SUBSETS}
        targets = {subset: _read_array(archive, f"{subset}_labels").reshape(-1).astype(np.int64) for subset in SUBSETS}
        classes = _read_class_names(archive, path)
    for subset, shape in shapes.items():
        if shape != shapes["train"]:
            raise UserError(
                f"{path}: the images of {subset}_images are {shape} and those of train_images {shapes['train']}; "
                f"they must have one shape"
            )
    count = _count_classes(targets, path)
    if classes and len(classes) != count:
        raise UserError(f"{path}: class_names has {len(classes)} names for {count} classes")
    return MedMnistFile(path, classes or _default_class_names(path, count), targets, shapes["train"])


def make_official_split(medmnist: MedMnistFile) -> pd.DataFrame:
    """Return the official split as a folds table: validation images are fold 0, training images are never validated.

    Every image is a group of its own. Duplicates on both sides of the official split stay there (`data check` shows
    them), because moving one would make it another split.
    """
    tables = [
        pd.DataFrame(
            {
                "image": medmnist.image_ids(subset),
                "label": medmnist.image_labels(subset),
                "group": medmnist.image_ids(subset),
                "fold": fold,
            }
        )
        for subset, fold in (("train", -1), ("val", 0))
    ]
    return pd.concat(tables, ignore_index=True)[FOLDS_COLUMNS]


def check_split_file(path: Path, split: pd.DataFrame) -> None:
    """Raise a UserError if `path` has another split, before anything is written."""
    if file_exists(path) and not read_csv(path, FOLDS_COLUMNS, text_columns=("image", "label", "group")).equals(split):
        raise UserError(f"{path} exists and has another split; remove it, or use --folds FILE")


def write_official_split(path: Path, split: pd.DataFrame, dataset: Dataset) -> None:
    """Write the folds table and its JSON, which has no k and no seed, because the split is not ours."""
    write_csv(path, split)
    record = SplitRecord(dataset.name, len(split), dataset.id_kind, dataset.original.image_list_sha256, official=True)
    record.write(path.with_suffix(".json"))


def write_dataset(medmnist: MedMnistFile, root: Path) -> None:
    """Write the dataset to a temporary folder, and rename it to `root` when it is complete.

    Files that a killed import left behind are removed first.
    """
    temporary = root.with_name(f".{root.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for label in medmnist.classes:
            (temporary / "train" / label).mkdir(parents=True)
        (temporary / "test").mkdir()
        for subset in ("train", "val"):
            folders = [temporary / "train" / label for label in medmnist.image_labels(subset)]
            _write_images(medmnist, subset, folders)
        test_labels = pd.DataFrame({"image": medmnist.image_ids("test"), "label": medmnist.image_labels("test")})
        _write_images(medmnist, "test", [temporary / "test"] * len(test_labels))
        write_csv(temporary / "test_labels.csv", test_labels)
        write_csv(temporary / "sample_submission.csv", test_labels.assign(label=0))
        write_json(temporary / "class_map.json", {label: index for index, label in enumerate(medmnist.classes)})
        temporary.rename(root)
    except OSError as error:  # a full disk, for example
        raise OSError(error.errno, error.strerror, str(root)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def dataset_matches(root: Path, medmnist: MedMnistFile, split: pd.DataFrame) -> bool:
    """Return whether `root` has the names, labels and image size that `write_dataset` would write."""
    try:
        dataset = scan(root)
    except UserError:
        return False
    return (
        dataset.classes == medmnist.classes
        and [image.id for image in dataset.test] == medmnist.image_ids("test")
        and {i.id: i.label for i in dataset.original.train} == dict(zip(split["image"], split["label"], strict=True))
        and longest_side(dataset.train[0].path) == max(medmnist.image_shape[:2])
    )


@contextlib.contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except READ_ERRORS as error:
        raise UserError(f"{path} is not a complete npz file ({error}); download it again") from None


def _read_array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _read_header(archive: zipfile.ZipFile, key: str, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and type of an array without reading the array."""
    with archive.open(f"{key}.npy") as stream:
        is_version_1 = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_version_1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise UserError(f"{path}: {key} contains pickled objects, and reading them can run code; save a plain array")
    return shape, dtype


def _check_arrays(archive: zipfile.ZipFile, subset: str, path: Path) -> tuple[int, ...]:
    """Return the shape of an image of a subset; a UserError says how its two arrays differ from the format above."""
    images, labels = f"{subset}_images", f"{subset}_labels"
    (shape, dtype), (label_shape, label_dtype) = (
        _read_header(archive, images, path),
        _read_header(archive, labels, path),
    )
    if dtype != np.uint8:
        raise UserError(f"{path}: {images} is {dtype}, not uint8")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
        raise UserError(f"{path}: {images} has the shape {shape}, not (N, height, width, 3) or (N, height, width)")
    if 0 in shape:
        raise UserError(f"{path}: {images} is empty")
    if label_dtype.kind not in "iu":
        raise UserError(f"{path}: {labels} is {label_dtype}, not whole numbers")
    if len(label_shape) == 2 and label_shape[1] > 1:
        raise UserError(
            f"{path}: {labels} has {label_shape[1]} labels per image; only one label per image is supported"
        )
    if label_shape not in ((shape[0],), (shape[0], 1)):
        raise UserError(f"{path}: {labels} has the shape {label_shape}, and {images} has {shape[0]} images")
    return shape[1:]


def _read_class_names(archive: zipfile.ZipFile, path: Path) -> tuple[str, ...]:
    """Return the names in an exported file, or none. They become folders, so they must not lead out of train/."""
    if "class_names.npy" not in archive.namelist():
        return ()
    shape, dtype = _read_header(archive, "class_names", path)
    if len(shape) != 1 or dtype.kind != "U":
        raise UserError(f"{path}: class_names is {dtype} of the shape {shape}, not a list of names")
    names = tuple(_read_array(archive, "class_names").tolist())
    for name in names:
        is_folder_name = name and name.isprintable() and name == Path(name).name and not name.startswith(".")
        if not is_folder_name or name in RESERVED_LABELS:
            raise UserError(f"{path}: class_names has {name!r}, which cannot be the name of a class folder")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: class_names has a name twice")
    return names


def _default_class_names(path: Path, count: int) -> tuple[str, ...]:
    """Return BloodMNIST's class names for a file of that name, else class_0, class_1 and so on."""
    if path.stem.startswith("bloodmnist") and count == len(BLOOD_CELLS):
        return BLOOD_CELLS
    digits = len(str(count - 1))
    return tuple(f"class_{index:0{digits}d}" for index in range(count))


def _count_classes(targets: Mapping[str, np.ndarray], path: Path) -> int:
    """Return the number of classes; a UserError if the training labels have gaps, or other subsets more labels."""
    present = np.unique(targets["train"]).tolist()
    if present[0] != 0 or present[-1] != len(present) - 1:
        raise UserError(
            f"{path}: train_labels must be 0..K-1 without gaps, and are "
            f"{', '.join(map(str, present[:12]))}{', ...' if len(present) > 12 else ''}"
        )
    for subset in ("val", "test"):
        unknown = np.setdiff1d(targets[subset], present)
        if len(unknown):
            raise UserError(f"{path}: {subset}_labels has the label {unknown[0]}, which no training image has")
    return len(present)


def _write_images(medmnist: MedMnistFile, subset: str, folders: list[Path]) -> None:
    """Write the images of a subset as PNG files, each into its folder, in one thread.

    All 17,092 images of BloodMNIST take 4 s at 64 px and 31 s at 224 px; a second thread saves a third at 224 px and
    nothing at 64 px. `cv2.imwrite` is not used because it does not report a full disk.
    """
    rows = zip(folders, medmnist.image_ids(subset), medmnist.read_images(subset), strict=True)
    for folder, name, pixels in progress_bar(rows, total=len(folders), desc=f"writing {subset}", unit="img"):
        bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV's order of colours
        (folder / name).write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
