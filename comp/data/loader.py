"""Batches as pure functions of the step: the number of workers, or a restart in mid-epoch, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from comp.data.augment import Policy
from comp.data.cache import Cache
from comp.data.images import resize

Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 images (N, size, size, 3); class numbers (N,)


@dataclass(frozen=True)
class Added:
    """What oversampling makes of the items from `first` on: blends with a second image, or copies where the share is
    0, and the policy they go through."""
    first: int
    partners: np.ndarray          # the row blended into each
    shares: np.ndarray            # how much of it, from 0 to below 1
    policy: Policy


@dataclass(frozen=True)
class TrainingSet:
    """Item `step` is the batch of that step, counted over the whole training.

    The last batch of an epoch takes what is left; a single image left over joins the batch before it, because
    BatchNorm cannot normalise a batch of one.
    """
    images: Cache
    rows: np.ndarray              # which of its rows to train on
    labels: np.ndarray            # their class numbers
    size: int
    batch: int
    policy: Policy
    stream: tuple[int, int]       # (seed, fold): two trainings with different streams share no draw
    balanced: bool = False
    added: Added | None = None    # the last of the items, if any

    @property
    def steps_per_epoch(self) -> int:
        return max(1, (len(self.rows) - 2) // self.batch + 1)

    def __getitem__(self, step: int) -> Batch:
        epoch, index = divmod(step, self.steps_per_epoch)
        last = index == self.steps_per_epoch - 1
        places = range(index * self.batch, len(self.rows) if last else (index + 1) * self.batch)
        chosen = self._order(epoch)[places.start:places.stop]
        pixels = [self._draw(item, self._seed(epoch, place)) for item, place in zip(chosen, places, strict=True)]
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(self.labels[chosen])

    def _draw(self, item: int, seed: int) -> np.ndarray:
        square, policy = self.images[self.rows[item]], self.policy
        if self.added and item >= self.added.first:
            policy, number = self.added.policy, item - self.added.first
            if share := self.added.shares[number]:  # in 0.03 ms; numpy takes 0.7 ms for as much
                square = cv2.addWeighted(square, 1 - share, self.images[self.added.partners[number]], share, 0)
        return policy(square, self.size, seed)

    def _order(self, epoch: int) -> np.ndarray:
        return _epoch_order(tuple(self.labels.tolist()), (*self.stream, epoch), self.balanced)

    def _seed(self, epoch: int, place: int) -> int:
        return int(np.random.SeedSequence([*self.stream, epoch, place]).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=2)
def _epoch_order(labels: tuple[int, ...], stream: tuple[int, ...], balanced: bool) -> np.ndarray:
    """A permutation; or, balanced, draws with replacement in which every class is equally likely."""
    draw = np.random.default_rng(stream)
    if not balanced:
        return draw.permutation(len(labels))
    numbers = np.asarray(labels)
    weight = 1.0 / np.bincount(numbers)[numbers]
    return draw.choice(len(numbers), size=len(numbers), p=weight / weight.sum())


@dataclass(frozen=True)
class EvaluationSet:
    """Item i is the i-th batch of images in their given order, whole squares resized and nothing else."""
    images: Cache
    rows: np.ndarray
    size: int
    batch: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch)

    def __getitem__(self, index: int) -> torch.Tensor:
        rows = self.rows[index * self.batch:(index + 1) * self.batch]
        return torch.from_numpy(np.stack([resize(self.images[row], self.size) for row in rows]))


def stream_batches(source: TrainingSet | EvaluationSet, steps: range, workers: int, pin: bool = False) -> Iterator:
    """Items `steps` of `source`, in order. One pass for a whole training, so workers start once, not per epoch."""
    yield from DataLoader(source, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin,
                          prefetch_factor=4 if workers else None)


def choose_workers(wanted: int | str, device: str) -> int:
    """On a CPU a worker takes a core from the training that waits for it; beside a GPU the cores are idle."""
    if wanted != "auto":
        return int(wanted)
    return 0 if device == "cpu" else max(0, min(8, (os.cpu_count() or 1) - 1))
