"""Export the training images of a dataset as a MedMNIST file; medmnist_import.py describes the format."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.cache import decode
from comp.data.folds import make_folds
from comp.data.images import SquareSpec
from comp.data.scan import Dataset
from comp.errors import UserError
from comp.files import write_atomic
from comp.progress_bar import progress_bar

# Subset -> its folds of the ten that `assign_subsets` makes: 70 % training, 10 % validation, 20 % test.
SUBSET_FOLDS = {"train": range(7), "val": range(7, 8), "test": range(8, 10)}
TENTHS = 10


def assign_subsets(dataset: Dataset, groups: Mapping[str, str], seed: int) -> pd.DataFrame:
    """Split the training images into ten folds, duplicates together; SUBSET_FOLDS makes subsets of them."""
    for label in dataset.classes:
        different = len({groups[image.id] for image in dataset.train if image.label == label})
        if different < TENTHS:
            raise UserError(
                f"a 70/10/20 split needs {TENTHS} different images of each class; class {label} has {different}"
            )
    return make_folds(dataset, groups, TENTHS, seed)


def pack_arrays(dataset: Dataset, table: pd.DataFrame, square_spec: SquareSpec, seed: int) -> dict[str, np.ndarray]:
    """Return MedMNIST's arrays for a table of `assign_subsets`.

    Each subset is shuffled with `seed`, because images in the order of their ids may be sorted by class. A label is
    the index of its class in `dataset.classes`, whatever number a submission gives the class.
    """
    images_by_id = {image.id: image for image in dataset.train}
    class_indices = {label: index for index, label in enumerate(dataset.classes)}
    label_type = np.min_scalar_type(len(class_indices) - 1)
    arrays: dict[str, np.ndarray] = {}
    with (
        ThreadPoolExecutor(os.cpu_count()) as executor,
        progress_bar(total=len(table), desc="packing images", unit="img") as bar,
    ):
        for subset, folds in SUBSET_FOLDS.items():
            rows = table[table["fold"].isin(folds)].sample(frac=1, random_state=seed)
            images = np.empty((len(rows), square_spec.size, square_spec.size, 3), np.uint8)
            squares = executor.map(lambda id: decode(images_by_id[id], square_spec), rows["image"])
            for row, square in enumerate(squares):
                images[row] = square
                bar.update()
            labels = np.array([[class_indices[label]] for label in rows["label"]], label_type)
            arrays |= {f"{subset}_images": images, f"{subset}_labels": labels}
    return arrays | {"class_names": np.array(dataset.classes)}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Write a compressed npz file, and return False if it exists already; one with other content is refused.

    The same arrays make the same bytes: numpy dates every member 1980.
    """
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    if path.is_file() and path.read_bytes() == content.getvalue():
        return False
    if path.exists():
        raise UserError(f"{path} exists with other content; remove it, or set --out FILE")
    write_atomic(path, content.getvalue())
    return True
