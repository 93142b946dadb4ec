"""Measure augmentation one image at a time and by batch, up to normalised floats on the device; interleaved.

python -m tests.benchmarks.augment --size 224 --batch 32 [--device cuda]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from comp.batches.augment_batch import augment_batch
from comp.batches.augment_image import ImageAugmenter
from comp.batches.augment_sampling import sample_transforms, uniform_rows
from comp.batches.policies import POLICIES
from comp.engine.device import configure_allocator
from comp.engine.predict import normalise

SIDE, ROUNDS = 256, 15
NORMALISATION = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@dataclass(frozen=True)
class Variants:
    policy_name: str
    augmenter: ImageAugmenter
    size: int
    squares: np.ndarray
    device_pool: torch.Tensor

    def one_by_one(self, step: int) -> torch.Tensor:
        images = [
            self.augmenter(square, self.size, step * len(self.squares) + i) for i, square in enumerate(self.squares)
        ]
        return normalise(torch.from_numpy(np.stack(images)), **NORMALISATION, device=self.device_pool.device)

    def in_one_batch(self, step: int) -> torch.Tensor:
        positions = range(step * len(self.squares), (step + 1) * len(self.squares))
        transforms = sample_transforms(POLICIES[self.policy_name], uniform_rows((0, 0), 0, positions), self.size)
        return normalise(
            augment_batch(self.device_pool, transforms, self.size), **NORMALISATION, device=self.device_pool.device
        )


def milliseconds(variant: Callable[[int], torch.Tensor], step: int) -> float:
    start = time.perf_counter()
    variant(step)[0, 0, 0, 0].item()  # waits for the device
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    configure_allocator()
    squares = np.random.default_rng(0).integers(0, 256, (args.batch, SIDE, SIDE, 3), dtype=np.uint8)
    device_pool = torch.from_numpy(squares).to(args.device)
    for name in POLICIES:
        variants = Variants(name, ImageAugmenter(name), args.size, squares, device_pool)
        times = [
            (milliseconds(variants.one_by_one, step), milliseconds(variants.in_one_batch, step))
            for step in range(ROUNDS)
        ]
        single, batch = (median(column) for column in zip(*times[3:], strict=True))
        print(f"{name:9} one by one {single:6.1f} ms   in one batch {batch:6.1f} ms")


if __name__ == "__main__":
    main()
