"""Training batches made on the device: uint8 squares, augmented a batch at a time.

The squares of the whole dataset are kept on the device where they fit (the device pool). Otherwise the squares of each
batch are read, by loader workers if there are any, and sent. Images and random numbers depend on the step alone, so
both ways give the same batches.
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
from comp.data.cache import Squares


@dataclass(frozen=True)
class DeviceBatches:
    """A callable `batches(steps)` for `fit`: it yields images and class indices.

    The images are floats (N, 3, size, size) from 0 to 255 on the device.
    """

    train_set: TrainingSet
    device: torch.device
    workers: int
    device_pool: torch.Tensor | None  # every square of the cache, on the device

    def __call__(self, steps: range) -> Iterator[Batch]:
        for step, (squares, targets) in zip(steps, self._iterate_squares(steps), strict=True):
            yield augment_batch(squares, self._sample_transforms(step), self.train_set.size), targets

    def _iterate_squares(self, steps: range) -> Iterator[Batch]:
        """Yield the squares of each step, on the device, and their targets."""
        if self.device_pool is None:
            batches = SquareBatches(self.train_set)
            for squares, targets in iterate_batches(batches, steps, self.workers, pin=self.device.type == "cuda"):
                yield squares.to(self.device, non_blocking=self.device.type == "cuda"), targets
            return
        for step in steps:
            items = self.train_set.plan_step(step).items
            yield self._from_pool(self.device_pool, items), torch.from_numpy(self.train_set.targets[items])

    def _from_pool(self, device_pool: torch.Tensor, items: np.ndarray) -> torch.Tensor:
        """Return the squares of `items` from the pool; oversampled items are blended with their partners."""
        squares = device_pool[to_device(self.train_set.rows[items], self.device)]
        oversampled = self.train_set.oversampled
        if oversampled is None:
            return squares
        positions = np.flatnonzero(items >= oversampled.first_index)
        if len(positions):  # blends, or copies where the weight is 0
            indices, where = items[positions] - oversampled.first_index, to_device(positions, self.device)
            partners = device_pool[to_device(oversampled.partners[indices], self.device)].float()
            weights = to_device(oversampled.blend_weights[indices], self.device)[:, None, None, None]
            squares.index_copy_(0, where, squares[where].float().lerp_(partners, weights).round_().byte())
        return squares

    def _sample_transforms(self, step: int) -> SampledTransforms:
        """Draw the transforms of the step's images; oversampled items take those of their own policy."""
        train_set, oversampled = self.train_set, self.train_set.oversampled
        epoch, positions, items = train_set.plan_step(step)
        rows = uniform_rows(train_set.rng_key, epoch, positions, train_set.view)
        transforms = sample_transforms(POLICIES[train_set.augmenter.name], rows, train_set.size)
        if oversampled and (added := items >= oversampled.first_index).any():
            policy = POLICIES[oversampled.augmenter.name]
            transforms = transforms.merge(added, sample_transforms(policy, rows, train_set.size))
        return transforms


@dataclass(frozen=True)
class SquareBatches:
    """The batches of a training set before augmentation: item `step` is the squares and targets of that step."""

    train_set: TrainingSet

    def __getitem__(self, step: int) -> Batch:
        items = self.train_set.plan_step(step).items
        squares = np.stack([self.train_set.read_square(item) for item in items])
        return torch.from_numpy(squares), torch.from_numpy(self.train_set.targets[items])


def make_device_pool(squares: Squares, device: torch.device, processes: int) -> torch.Tensor | None:
    """Return all squares on the device, or None if they need too much of its memory.

    On a CPU the pool is None too: reading the cache file is as fast.
    """
    return load_device_pool(squares, device) if fits_device(squares.nbytes, device, processes) else None


def fits_device(square_bytes: int, device: torch.device, processes: int) -> bool:
    """Return whether the squares need at most a quarter of the GPU's free memory for all `processes` on it together."""
    return device.type == "cuda" and square_bytes * processes <= torch.cuda.mem_get_info(device)[0] / 4


def load_device_pool(squares: Squares, device: torch.device) -> torch.Tensor:
    """Copy all squares to the device, as uint8 (N, side, side, 3)."""
    device_pool = torch.empty((len(squares), squares.side, squares.side, 3), dtype=torch.uint8, device=device)
    for start in range(0, len(squares), 256):
        block = [squares[row] for row in range(start, min(start + 256, len(squares)))]
        device_pool[start : start + 256] = torch.from_numpy(np.stack(block)).to(device)
    return device_pool


def choose_augment_device(requested: str, device: torch.device) -> str:
    """Return `gpu` (augment batches on the training's device) or `cpu` (augment single images in the loader's workers).

    `auto` is `gpu` on CUDA and `cpu` elsewhere.
    """
    return requested if requested != "auto" else "gpu" if device.type == "cuda" else "cpu"
