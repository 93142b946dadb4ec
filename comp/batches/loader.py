"""Batches as pure functions of the step: the number of workers, or a restart in mid-epoch, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from comp.data.cache import Cache
from comp.data.images import resize

Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 images (N, size, size, 3); class numbers (N,)
Augmenter = Callable[[np.ndarray, int, int], np.ndarray]  # (square, size, seed) -> pixels; see augment.py


@dataclass(frozen=True)
class OversampledItems:
    """What oversampling makes of the items from `first` on: blends with a second image, or copies where the share is
    0, and the policy they go through."""

    first: int
    partners: np.ndarray  # the row blended into each
    shares: np.ndarray  # how much of it, from 0 to below 1
    policy: Augmenter


@dataclass(frozen=True)
class TrainingSet:
    """Item `step` is the batch of that step, counted over the whole training.

    The last batch of an epoch takes what is left; a single image left over joins the batch before it, because
    BatchNorm cannot normalise a batch of one.
    """

    images: Cache
    rows: np.ndarray  # which of its rows to train on
    labels: np.ndarray  # their class numbers
    size: int
    batch: int
    policy: Augmenter
    stream: tuple[int, int]  # (seed, fold): two trainings with different streams share no draw
    balanced: bool = False
    added: OversampledItems | None = None  # the last of the items, if any
    part: tuple[int, int] = (0, 1)  # (rank, processes): of several, each makes its part of every batch

    @property
    def steps_per_epoch(self) -> int:
        return max(1, (len(self.rows) - 2) // self.batch + 1)

    def __getitem__(self, step: int) -> Batch:
        epoch, places, items = self.plan(step)
        pixels = [
            self._policy(item)(self.square(item), self.size, self._seed(epoch, place))
            for item, place in zip(items, places, strict=True)
        ]
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(self.labels[items])

    def plan(self, step: int) -> tuple[int, list[int], np.ndarray]:
        """The epoch of that step, the places in it that this process fills, and the items that come there."""
        epoch, whole = step // self.steps_per_epoch, self._places(step)
        places = [
            whole[place]
            for place in shard_indices(len(whole), *self.part) or shard_indices(len(whole), 0, self.part[1])
        ]
        return epoch, places, self._order(epoch)[places]

    def counts(self, step: int) -> tuple[bool, int]:
        """Whether this process' part of that step counts, and how many images the step has in all processes. Where no
        image is left for this one it gets those of the first, uncounted: every model must be asked something, for
        BatchNorm may wait for them all."""
        whole = len(self._places(step))
        return bool(shard_indices(whole, *self.part)), whole

    def _places(self, step: int) -> range:
        """Where the batch lies in the order of its epoch."""
        index = step % self.steps_per_epoch
        last = index == self.steps_per_epoch - 1
        return range(index * self.batch, len(self.rows) if last else (index + 1) * self.batch)

    def square(self, item: int) -> np.ndarray:
        """What the policy is given."""
        square, added = self.images[self.rows[item]], self.added
        if added and item >= added.first and (share := added.shares[item - added.first]):
            partner = self.images[added.partners[item - added.first]]
            square = cv2.addWeighted(square, 1 - share, partner, share, 0)  # 0.03 ms; numpy takes 0.7 ms for as much
        return square

    def _policy(self, item: int) -> Augmenter:
        return self.added.policy if self.added and item >= self.added.first else self.policy

    def _order(self, epoch: int) -> np.ndarray:
        return _epoch_order(tuple(self.labels.tolist()), (*self.stream, epoch), self.balanced)

    def _seed(self, epoch: int, place: int) -> int:
        return int(np.random.SeedSequence([*self.stream, epoch, place]).generate_state(1, np.uint64)[0])


def shard_indices(count: int, rank: int, world: int) -> list[int]:
    """Which of a batch's images one of `world` processes takes. Mixup blends the first image with the last, the second
    with the one before it, and so on: such pairs stay together, so that mixing the parts is mixing the whole. An odd
    image out goes with the last pair, for BatchNorm cannot normalise one alone."""
    pairs = list(range(count // 2))[rank::world]
    odd = [count - 1] if count % 2 and (rank == max(count // 2 - 1, 0) % world) else []
    return [*pairs, *(count // 2 * 2 - 1 - pair for pair in reversed(pairs)), *odd]


@lru_cache(maxsize=2)
def _epoch_order(labels: tuple[int, ...], stream: tuple[int, ...], balanced: bool) -> np.ndarray:
    """A permutation; or, balanced, draws with replacement in which every class is equally likely."""
    draw = np.random.default_rng(stream)
    if not balanced:
        return draw.permutation(len(labels))
    numbers = np.asarray(labels)
    weight = 1.0 / np.bincount(numbers)[numbers]
    return draw.choice(len(numbers), size=len(numbers), p=weight / weight.sum())


class SquareSource(Protocol):
    """Squares by their row: a cache, or whatever else has them."""

    def __getitem__(self, row: int) -> np.ndarray: ...


@dataclass(frozen=True)
class EvaluationSet:
    """Item i is the i-th batch of images in their given order, whole squares resized and nothing else."""

    images: SquareSource
    rows: np.ndarray
    size: int
    batch: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch)

    def __getitem__(self, index: int) -> torch.Tensor:
        rows = self.rows[index * self.batch : (index + 1) * self.batch]
        return torch.from_numpy(np.stack([resize(self.images[row], self.size) for row in rows]))


def iterate_batches(source: TrainingSet | EvaluationSet, steps: range, workers: int, pin: bool = False) -> Iterator:
    """Items `steps` of `source`, in order. One pass for a whole training, so workers start once, not per epoch."""
    yield from DataLoader(
        source,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
    )


def choose_workers(wanted: int | str, device: str, sharing: int = 1) -> int:
    """On a CPU a worker takes a core from the training that waits for it; beside a GPU the cores are idle, and
    processes that train at the same time share them."""
    if wanted != "auto":
        return int(wanted)
    return 0 if device == "cpu" else max(0, min(8, (os.cpu_count() or 1) // sharing - 1))
