"""The interface of every peer: it takes a model, a size, a batch and images, and prints one line of JSON.

A peer trains as its own documentation shows, with its own augmentation, on all of the machine's threads: AdamW,
cross-entropy with smoothed labels, 32 bits. It calls its stopwatch after every step.
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

SECONDS = 9.0  # the kit's measurement of its own training uses this too
LOOK_INTERVAL = 0.5  # minimum seconds between two readings of the clock, as in the kit's loop
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LR, WEIGHT_DECAY, SMOOTHING = 1e-3, 1e-4, 0.1


class Enough(Exception):
    """Raised by the stopwatch, for loops that have no other way to end."""


@dataclass
class Stopwatch:
    """The kit's meter for loops that call it, instead of being iterated over."""

    warmup_done: int = 0
    steps: int = 0
    rates: list[float] = field(default_factory=list)
    start: float = 0.0
    last_look: float = 0.0
    unmeasured: tuple[int, int] = (0, 0)  # steps and images since then

    def step(self, images: int) -> None:
        """Count a step; called after each."""
        if self.warmup_done < WARMUP_STEPS:
            self.warmup_done += 1
            self.start = self.last_look = self._now()
            return
        self.unmeasured = self.unmeasured[0] + 1, self.unmeasured[1] + images
        if time.perf_counter() - self.last_look < LOOK_INTERVAL:
            return
        now = self._now()
        self.rates.append(self.unmeasured[1] / (now - self.last_look))
        self.steps, self.last_look, self.unmeasured = self.steps + self.unmeasured[0], now, (0, 0)
        if self.steps >= MIN_STEPS and now - self.start > SECONDS:
            raise Enough

    def report(self, **details: object) -> None:
        print(json.dumps({"train_ips": statistics.median(self.rates), "steps": self.steps, **details}))

    def _now(self) -> float:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def arguments(**more: str) -> argparse.Namespace:
    """Parse the command line; `more` has the switches of this peer with their help."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder that holds train/<class>/*.jpg")
    parser.add_argument("--workers", type=int, default=0)
    for name, text in more.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


def new_model(name: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=classes)
