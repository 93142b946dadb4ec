"""A clock for work that is done a little at a time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Generator
from dataclasses import dataclass, field

WARMUP_STEPS = 3  # kernels are built and memory is faulted in: up to ten times slower
MIN_STEPS = 10  # training steps to measure after the warm-up
MAX_SECONDS = 25.0  # if a step takes longer than 2.5 s fewer are measured; the table has their number

# A generator that works, then yields (steps, images) done since its last yield. It is closed after the measurement.
WorkIterator = Generator[tuple[int, int], None, None]


@dataclass
class Meter:
    """Measure the speed of `work`: the median rate over the intervals between two of its yields."""

    work: WorkIterator
    seconds: float = 9.0  # minimum duration of the measurement, without the warm-up
    min_steps: int = MIN_STEPS
    steps: int = 0  # steps measured so far, without the warm-up
    rates: list[float] = field(default_factory=list)  # images/s of each interval
    warmup_done: int = 0  # warm-up steps so far

    def run(self, share: float = 1.0) -> None:
        """Measure for this share of `seconds`; several meters run in turns, so that all see the same load."""
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
