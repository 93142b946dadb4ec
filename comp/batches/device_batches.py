"""Batches made on the training's device: uint8 squares there, augmented all at once.

The squares of the whole dataset lie on the device where they fit; else those of each batch are read (by workers, if
there are any) and sent. Which images, and every draw, are those of the step: the same either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from comp.batches.augment_batch import augment_batch, to_device
from comp.batches.augment_sampling import SampledTransforms, sample_transforms, uniform_rows
from comp.batches.loader import Batch, TrainingSet, iterate_batches
from comp.batches.policies import POLICIES
from comp.data.cache import Cache


@dataclass(frozen=True)
class DeviceBatches:
    """`batches(steps)` for `fit`: float images (N, 3, size, size) from 0 to 255, on the device, and class numbers."""

    source: TrainingSet
    device: torch.device
    workers: int
    pool: torch.Tensor | None  # every square of the cache, on the device

    def __call__(self, steps: range) -> Iterator[Batch]:
        for step, (squares, labels) in zip(steps, self._squares(steps), strict=True):
            yield augment_batch(squares, self._draws(step), self.source.size), labels

    def _squares(self, steps: range) -> Iterator[Batch]:
        if self.pool is None:
            for squares, labels in iterate_batches(
                SquareBatches(self.source), steps, self.workers, pin=self.device.type == "cuda"
            ):
                yield squares.to(self.device, non_blocking=True), labels
            return
        for step in steps:
            _, _, items = self.source.plan(step)
            yield self._from_pool(items), torch.from_numpy(self.source.labels[items])

    def _from_pool(self, items: np.ndarray) -> torch.Tensor:
        squares, added = self.pool[to_device(self.source.rows[items], self.device)], self.source.added
        extra = np.flatnonzero(items >= added.first) if added else ()
        if len(extra):  # blends, or copies where the share is 0
            which, where = items[extra] - added.first, to_device(extra, self.device)
            partners = self.pool[to_device(added.partners[which], self.device)].float()
            share = to_device(added.shares[which], self.device)[:, None, None, None]
            squares.index_copy_(0, where, squares[where].float().lerp_(partners, share).round_().byte())
        return squares

    def _draws(self, step: int) -> SampledTransforms:
        source, (epoch, places, items) = self.source, self.source.plan(step)
        rows = uniform_rows(source.stream, epoch, places)
        draws = sample_transforms(POLICIES[source.policy.name], rows, source.size)
        if source.added and (items >= source.added.first).any():
            draws = draws.replaced(
                items >= source.added.first, sample_transforms(POLICIES[source.added.policy.name], rows, source.size)
            )
        return draws


@dataclass(frozen=True)
class SquareBatches:
    """Item `step` is what the batch of that step is made of."""

    source: TrainingSet

    def __getitem__(self, step: int) -> Batch:
        _, _, items = self.source.plan(step)
        squares = np.stack([self.source.square(item) for item in items])
        return torch.from_numpy(squares), torch.from_numpy(self.source.labels[items])


def make_device_pool(images: Cache, device: torch.device) -> torch.Tensor | None:
    """All squares on the device, or None where they would take more than half of what is free there. On a CPU they
    stay in their file, which is as near."""
    if device.type != "cuda" or images.bytes > torch.cuda.mem_get_info(device)[0] / 2:
        return None
    return load_device_pool(images, device)


def load_device_pool(images: Cache, device: torch.device) -> torch.Tensor:
    pool = torch.empty((len(images), images.side, images.side, 3), dtype=torch.uint8, device=device)
    for start in range(0, len(images), 256):
        some = [images[row] for row in range(start, min(start + 256, len(images)))]
        pool[start : start + 256] = torch.from_numpy(np.stack(some)).to(device)
    return pool


def choose_augment_device(wanted: str, device: torch.device) -> str:
    """`gpu`: whole batches on the training's device; `cpu`: one image at a time, in the loader's workers."""
    return wanted if wanted != "auto" else "gpu" if device.type == "cuda" else "cpu"
