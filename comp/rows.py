"""Rows of a submission that several images make, such as the views of one breast, and the pooling of their predictions.

The same pooling is applied to out-of-fold predictions, so that each score is by row, and to those of the test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

ROW_COLUMN = "row_id"  # of an OOF table whose images are not a row each
PoolMethod = Literal["mean", "max"]


@dataclass(frozen=True, eq=False)
class Rows:
    """The images of each row, as positions in a list of images."""

    ids: tuple[str, ...]
    images: np.ndarray  # the images of the first row, then those of the second, ...
    counts: np.ndarray  # how many each row has
    default: np.ndarray | None = None  # the prediction of a row without an image

    @classmethod
    def of_positions(
        cls, ids: Sequence[str], positions: Sequence[Sequence[int]], default: np.ndarray | None = None
    ) -> Self:
        """Return rows from the positions of the images of each."""
        flat = np.array([position for row in positions for position in row], np.int64)
        return cls(tuple(ids), flat, np.array([len(row) for row in positions], np.int64), default)

    @classmethod
    def of_images(cls, row_ids: Sequence[str]) -> Self:
        """Return rows from the row of each image, in the order of their first images."""
        members: dict[str, list[int]] = {}
        for position, row_id in enumerate(row_ids):
            members.setdefault(row_id, []).append(position)
        return cls.of_positions(tuple(members), list(members.values()))

    @property
    def first(self) -> np.ndarray:
        """The first image of each row, where each has one."""
        return self.images[np.cumsum(self.counts) - self.counts]

    @property
    def are_images(self) -> bool:
        """True if each row has exactly one image."""
        return bool((self.counts == 1).all())

    def pool(self, predictions: np.ndarray, method: PoolMethod) -> np.ndarray:
        """Return (..., rows, columns): the mean or maximum of the predictions (..., images, columns) of each row."""
        gathered = predictions[..., self.images, :]
        if self.are_images:
            return gathered
        has_image = self.counts > 0
        counts = self.counts[has_image]
        combine = np.add if method == "mean" else np.maximum
        pooled = np.empty((*gathered.shape[:-2], len(self.ids), gathered.shape[-1]))
        combined = combine.reduceat(gathered.astype(np.float64), np.cumsum(counts) - counts, axis=-2)
        pooled[..., has_image, :] = combined / counts[:, None] if method == "mean" else combined
        if not has_image.all():
            pooled[..., ~has_image, :] = self.default
        return pooled
