"""The time that a prediction takes on this machine: measured once, then read from a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from comp.engine.predict import Network, predict_probabilities
from comp.environment import process_info
from comp.errors import UserError
from comp.records.predictions import LatencyRecord


def cached_latency_ms(
    path: Path, network: Callable[[], Network], device: torch.device, size: int, batch_size: int
) -> float:
    """Return the milliseconds per image, view and fold model on this machine, measured at the first call.

    The file stores one number per machine, so that a time budget chooses the same views in every call, however busy the
    machine is.
    """
    process = process_info(device)
    machine = f"{process.device_name}, {process.threads} threads"
    record = _read_record(path)
    if machine not in record.milliseconds:
        latency_ms = round(_measure_latency_ms(network(), device, size, batch_size), 4)
        record = replace(record, milliseconds={**record.milliseconds, machine: latency_ms})
        record.write(path)
    return record.milliseconds[machine]


def _read_record(path: Path) -> LatencyRecord:
    """Return the latencies measured so far; a file that cannot be read counts as empty, and a line says so."""
    if not path.is_file():
        return LatencyRecord({})
    try:
        return LatencyRecord.read(path)
    except UserError as error:
        print(f"{str(error).rpartition(';')[0]}; measured again")
        return LatencyRecord({})


def _measure_latency_ms(network: Network, device: torch.device, size: int, batch_size: int) -> float:
    """Return the milliseconds per image of the fastest of ten batches of random images.

    The fastest, because other work on the machine can only slow a batch down.
    """
    images = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8)
    durations = []
    for _ in range(10):
        start = time.perf_counter()
        predict_probabilities([network], [images], views=["identity"], device=device)
        durations.append(time.perf_counter() - start)
    return 1000 * min(durations) / batch_size
