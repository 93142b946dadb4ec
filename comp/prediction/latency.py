"""What a prediction costs on this machine: measured once, then recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from comp.engine.predict import Network, predict_probabilities
from comp.environment import process_info
from comp.files import read_json, write_json


def cached_latency_ms(file: Path, network: Callable[[], Network], device: torch.device, size: int, batch: int) -> float:
    """Milliseconds per image, view and fold model. A file holds one figure per machine: what was chosen by it under a
    budget of time is chosen again, however busy the machine is then."""
    process = process_info(device)
    machine = f"{process.device_name}, {process.threads} threads"
    known = read_json(file) if file.is_file() else {}
    known = known if isinstance(known, dict) else {}
    if not isinstance(known.get(machine), float | int):
        known[machine] = round(_measure_latency_ms(network(), device, size, batch), 4)
        write_json(file, known)
    return known[machine]


def _measure_latency_ms(network: Network, device: torch.device, size: int, batch: int) -> float:
    """The quickest of a few batches: other work on the machine can only slow one down, and the figure stays. What is
    in the pictures makes no difference."""
    images = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        predict_probabilities([network], [images], views=["identity"], device=device)
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken) / batch
