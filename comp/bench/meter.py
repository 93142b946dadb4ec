"""A clock for work that is done a little at a time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Generator
from dataclasses import dataclass, field

WARMUP_STEPS = 3  # kernels are built and memory is faulted in: up to ten times slower
MIN_STEPS = 10  # of a training, after the warm-up
MAX_SECONDS = 25.0  # if a step takes longer than 2.5 s fewer are measured; the table has their number

# Between two of its yields it did this many steps, on this many images. A generator, so that it can be closed.
WorkIterator = Generator[tuple[int, int], None, None]


@dataclass
class Meter:
    """Measure the speed of `work`: the median over the stretches between two of its yields."""

    work: WorkIterator
    seconds: float = 9.0  # to measure, at least
    min_steps: int = MIN_STEPS
    steps: int = 0  # measured so far, without the warm-up
    rates: list[float] = field(default_factory=list)  # images/s of each stretch
    warmup_done: int = 0  # steps

    def run(self, share: float = 1.0) -> None:
        """Measure for this share of the time: meters that take turns see the machine equally busy."""
        while self.warmup_done < WARMUP_STEPS:
            self.warmup_done += next(self.work)[0]
        run_start, enough_steps = time.perf_counter(), self.steps + math.ceil(self.min_steps * share)
        while (spent := time.perf_counter() - run_start) < MAX_SECONDS * share and (
            self.steps < enough_steps or spent < self.seconds * share
        ):
            start = time.perf_counter()
            steps, images = next(self.work)
            self.rates.append(images / (time.perf_counter() - start))
            self.steps += steps

    @property
    def rate(self) -> float:
        """Images per second."""
        return statistics.median(self.rates)
