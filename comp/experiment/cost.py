"""What a prediction costs on this machine: measured once, then recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from comp.engine.predict import Network, probabilities
from comp.facts import process_facts
from comp.tables import read_json, write_json


def known_cost(file: Path, network: Callable[[], Network], device: torch.device, size: int, batch: int) -> float:
    """Milliseconds per image, view and fold model. A file holds one figure per machine: what was chosen by it under a
    budget of time is chosen again, however busy the machine is then."""
    about = process_facts(device)
    machine = f"{about['device_name']}, {about['threads']} threads"
    known = read_json(file) if file.is_file() else {}
    known = known if isinstance(known, dict) else {}
    if not isinstance(known.get(machine), float | int):
        known[machine] = round(_measure(network(), device, size, batch), 4)
        write_json(file, known)
    return known[machine]


def _measure(network: Network, device: torch.device, size: int, batch: int) -> float:
    """The quickest of a few batches: other work on the machine can only slow one down, and the figure stays. What is
    in the pictures makes no difference."""
    images = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        probabilities([network], [images], views=["identity"], device=device)
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken) / batch
