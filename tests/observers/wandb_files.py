"""Read back what the real client of W&B wrote offline: records, tables and pictures."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OfflineRun:
    """A W&B run as it is in its file."""

    file: Path
    records: list

    def of_type(self, kind: str) -> list:
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    @property
    def run(self):
        return self.of_type("run")[0]

    @property
    def config(self) -> dict[str, Any]:
        records = [*(run.config for run in self.of_type("run")), *self.of_type("config")]
        return as_dict(item for record in records for item in record.update)

    @property
    def history(self) -> list[dict[str, Any]]:
        return [as_dict(history.item) for history in self.of_type("history")]

    @property
    def summary(self) -> dict[str, Any]:
        return as_dict(item for summary in self.of_type("summary") for item in summary.update)

    def artifacts(self, used: bool) -> list[tuple[str, str]]:
        """Return (type, name) of the inputs or the outputs, without the files of tables."""
        return [
            (artifact.type, artifact.name)
            for artifact in self.of_type("artifact")
            if artifact.use_after_commit == used and artifact.type != "table"
        ]

    def table(self, key: str) -> list[dict[str, Any]]:
        content = json.loads((self.file.parent / "files" / self.summary[key]["path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def as_dict(items) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_offline_runs(root: Path) -> dict[str, OfflineRun]:
    """Return the W&B runs below a directory by name. One that was written twice has its last file."""
    runs = [OfflineRun(file, read_records(file)) for file in sorted(root.rglob("offline-run-*/*.wandb"))]
    return {run.run.display_name: run for run in runs}


def read_records(file: Path) -> list:
    """Return the records of a W&B file up to its exit; the service may write the end after `finish` has returned."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        records = list(_parse_records(file.read_bytes()))
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        time.sleep(0.1)
    raise AssertionError(f"{file} has no exit record")


def _parse_records(content: bytes) -> Iterator:
    """Yield the records of a LevelDB log (blocks of 32 KiB; crc, length and type before each piece) of protobufs."""
    from wandb.proto import wandb_internal_pb2

    position, pieces = 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        pieces += content[position + 7 : position + 7 + length]
        position += 7 + length
        if position > len(content):  # this piece is still being written
            return
        if kind in (1, 4):  # a whole record, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            pieces = b""
            yield record
