"""What every peer is given and gives back: a model, a size, a batch and images; one line of JSON.

A peer trains as its own documentation shows, in its own words and with its own augmentation, on all of the machine's
threads: AdamW, cross-entropy with smoothed labels, 32 bits. It tells its stopwatch of every step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
from torch import nn

from comp.bench.meter import MIN_STEPS, WARMUP_STEPS
from comp.zoo.registry import register_models

register_models()  # so that timm knows the kit's models too

SECONDS = 9.0  # as the kit measures its own training
PAUSE = 0.5  # at least so long between two looks at the clock, as in the kit's loop
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LR, WEIGHT_DECAY, SMOOTHING = 1e-3, 1e-4, 0.1


class Enough(Exception):
    """Raised by the stopwatch, for loops that have no other way to end."""


@dataclass
class Stopwatch:
    """The kit's meter for loops that are not pulled along but push."""

    warm: int = 0
    steps: int = 0
    rates: list[float] = field(default_factory=list)
    begun: float = 0.0
    mark: float = 0.0
    waiting: tuple[int, int] = (0, 0)  # steps and images since the mark

    def step(self, images: int) -> None:
        """After each of them."""
        if self.warm < WARMUP_STEPS:
            self.warm += 1
            self.begun = self.mark = self._now()
            return
        self.waiting = self.waiting[0] + 1, self.waiting[1] + images
        if time.perf_counter() - self.mark < PAUSE:
            return
        now = self._now()
        self.rates.append(self.waiting[1] / (now - self.mark))
        self.steps, self.mark, self.waiting = self.steps + self.waiting[0], now, (0, 0)
        if self.steps >= MIN_STEPS and now - self.begun > SECONDS:
            raise Enough

    def report(self, **facts: object) -> None:
        print(json.dumps({"train_ips": statistics.median(self.rates), "steps": self.steps, **facts}))

    def _now(self) -> float:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def arguments(**more: str) -> argparse.Namespace:
    """`more`: switches of this peer, and what they do."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder that holds train/<class>/*.jpg")
    parser.add_argument("--workers", type=int, default=0)
    for name, about in more.items():
        parser.add_argument(f"--{name}", action="store_true", help=about)
    return parser.parse_args()


def new_model(name: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=classes)
