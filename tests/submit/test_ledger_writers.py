"""No event that was acknowledged is lost: not by kills, concurrent writers or a full disk."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from comp.submit.ledger import append, read
from comp.submit.ledger_lines import COLUMNS
from tests.submit.ledger_rows import BARE, FULL


def write_on(ledger: Path, acknowledged: Path, name: str, lines: int = 10**9) -> None:
    """Append events without end, and record the id of each once it is on the disk."""
    with open(acknowledged, "ab", buffering=0) as file:
        for number in range(lines):
            append(ledger, replace(FULL, id=f"{name}-{number}", message="m" * (number % 50)))
            file.write(f"{name}-{number}\n".encode())


def test_append_killed_concurrent_writers_lose_no_event(ledger, tmp_path):
    fork, rng, acknowledged = multiprocessing.get_context("fork"), random.Random(1), tmp_path / "acknowledged"
    for round_ in range(15):
        writers = [
            fork.Process(target=write_on, args=(ledger, acknowledged, f"{round_}-{writer}")) for writer in range(3)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            time.sleep(rng.uniform(0.005, 0.06))
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            writer.join()
        recorded = {event.id for event in read(ledger)}
        assert set(acknowledged.read_text().split()) <= recorded
    assert len(recorded) > 15, "the writers were killed before they could write"


def test_append_concurrent_writers_lose_no_event(ledger, tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=write_on, args=(ledger, tmp_path / "acknowledged", f"{writer}", 25)) for writer in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {event.id for event in read(ledger)} == {f"{writer}-{number}" for writer in range(4) for number in range(25)}
    assert ledger.read_text().count("\n") == 101 and ledger.read_text().startswith(",".join(COLUMNS))


def test_append_full_disk_fails_and_keeps_ledger(ledger):
    append(ledger, FULL)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = ledger.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            append(ledger, BARE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.read_bytes() == before and caught.value.filename == str(ledger)
    assert not list(ledger.parent.glob("*.tmp*")) and not list(ledger.parent.glob(".*.tmp"))
    append(ledger, BARE)
    assert read(ledger) == [FULL, BARE]
