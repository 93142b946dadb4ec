"""A dataset: its training and test images with their ids, labels, groups and rows, and its kind of target."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from comp.records.dataset import IdKind
from comp.records.source import DataSource
from comp.tasks import Task


@dataclass(frozen=True)
class Image:
    """An image file: its id (the only key of joins), its path, its label (None for a test image), and its group."""

    id: str
    path: Path
    label: str | None = None
    group: str | None = None  # of the images that must share a fold with it, such as a patient's
    row: str | None = None  # the row of a submission that it is of; None: it is its own
    original_label: str | None = None  # of the files, where it has been corrected; None: `label` is

    @property
    def row_id(self) -> str:
        """The row of a submission that the image is of."""
        return self.id if self.row is None else self.row


@dataclass(frozen=True)
class Dataset:
    """The images of a dataset, found by `scan`. No image file has been opened."""

    root: Path
    task: Task
    class_numbers: tuple[int, ...]  # the number of each class in a submission
    train: tuple[Image, ...]
    test: tuple[Image, ...]
    id_kind: IdKind
    source: DataSource | None = None
    left_out: tuple[str, ...] = ()  # lines about labels without an image and images without a label

    @property
    def classes(self) -> tuple[str, ...]:
        """The columns of predictions; for classes in the order of class_map.json, else sorted."""
        return self.task.columns

    @cached_property
    def targets(self) -> np.ndarray:
        """The target of each training image."""
        return self.task.encode([image.label or "" for image in self.train])

    @property
    def folders(self) -> list[Path]:
        """The folders of the training and the test images that exist."""
        source = self.source or DataSource(str(self.root))
        folders = [self.root / folder for folder in (*(source.train or ("train",)), *(source.test or ("test",)))]
        return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    @property
    def sample(self) -> str | None:
        """The sample submission that the config names, below the root."""
        return self.source.sample if self.source else None

    @property
    def name(self) -> str:
        """The name of the dataset, which is that of its folder."""
        return dataset_name(self.root)

    @cached_property
    def original(self) -> Dataset:
        """The dataset with the labels of its files, none corrected. A split is of these."""
        train = tuple(
            image if image.original_label is None else replace(image, label=image.original_label, original_label=None)
            for image in self.train
        )
        return replace(self, train=train)

    @property
    def relabel_sha256(self) -> str | None:
        """A hash of the corrected labels; None if there are none."""
        lines = sorted(f"{image.id}\t{image.label}\n" for image in self.train if image.original_label is not None)
        return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else None

    @property
    def image_list_sha256(self) -> str:
        """A hash of the ids, labels and rows of all training images. It ignores their order and their folders."""
        lines = sorted(
            f"{image.id}\t{image.label}\n" if image.row is None else f"{image.id}\t{image.label}\t{image.row}\n"
            for image in self.train
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def dataset_name(root: Path | str) -> str:
    """Return the name of the dataset at `root`."""
    return Path(root).name
