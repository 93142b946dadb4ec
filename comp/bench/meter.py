"""A clock on work that is done a little at a time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

WARMUP_STEPS = 3  # steps: kernels are built and memory is faulted in, up to ten times slower
MIN_STEPS = 10  # after them, at least; of a training, that is
MAX_SECONDS = 25.0  # seconds; fewer steps, and said so, where one takes longer than 2.5

WorkIterator = Iterator[tuple[int, int]]  # between two of its yields it did so many steps, on so many images


@dataclass
class Meter:
    """What `work` does in a second: the median over the stretches between two of its yields."""

    work: WorkIterator
    seconds: float = 9.0  # to measure for, at least
    least: int = MIN_STEPS  # steps, likewise
    steps: int = 0  # measured; the warm-up is not
    rates: list[float] = field(default_factory=list)  # images/s of each stretch
    warm: int = 0

    def run(self, share: float = 1.0) -> None:
        """That share of the measuring: meters that take turns see the same moods of the machine."""
        while self.warm < WARMUP_STEPS:
            self.warm += next(self.work)[0]
        begun, enough = time.perf_counter(), self.steps + math.ceil(self.least * share)
        while (spent := time.perf_counter() - begun) < MAX_SECONDS * share and (
            self.steps < enough or spent < self.seconds * share
        ):
            start = time.perf_counter()
            steps, images = next(self.work)
            self.rates.append(images / (time.perf_counter() - start))
            self.steps += steps

    @property
    def rate(self) -> float:
        """Images per second."""
        return statistics.median(self.rates)
