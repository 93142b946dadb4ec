"""The content of a W&B run as plain data: of a training, of its summary or of a submission."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from comp.records.checkpoint import HistoryRow

Cell = str | float | None | np.ndarray  # an array is a picture, uint8 (height, width, 3)


@dataclass(frozen=True)
class RunIdentity:
    """The names of a W&B run, and the folder of W&B's own files. Equal keys are one W&B run, on every machine."""

    key: str
    project: str
    group: str
    job_type: str
    name: str
    directory: Path

    @property
    def id(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TableRows:
    """A table with named columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, eq=False)
class ConfusionChart:
    """The true and the predicted class index of each image, for a confusion matrix."""

    targets: np.ndarray
    predicted: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ArtifactFiles:
    """A versioned set of files. `metadata` names the hashes of all of them."""

    name: str
    kind: str
    files: Mapping[str, Path]  # by their names in the artifact
    metadata: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class TrackedRun:
    """Everything that is written to one W&B run."""

    identity: RunIdentity
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: tuple[HistoryRow, ...] = ()
    tables: Mapping[str, TableRows] = field(default_factory=dict)
    confusion: ConfusionChart | None = None
    used: tuple[ArtifactFiles, ...] = ()
    logged: tuple[ArtifactFiles, ...] = ()
    failed: bool = False

    def fingerprint(self) -> str:
        """Return a hash of the content: what was written with it need not be written again."""
        artifacts = [[item.name, item.kind, sorted(item.files), item.metadata] for item in (*self.used, *self.logged)]
        tables = {
            name: [table.columns, [[cell for cell in row if not isinstance(cell, np.ndarray)] for row in table.rows]]
            for name, table in self.tables.items()
        }
        history = [row.to_dict() for row in self.history]
        content = [self.identity.project, self.config, self.summary, history, tables, artifacts, self.failed]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
