"""Records beside the predictions of a run: what each table was computed from, and how long a view takes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from comp.errors import UserError
from comp.files import read_json
from comp.records.base import Fold, Record

MAX_LATENCY_MS = 1e6  # 17 minutes for one image


@dataclass(frozen=True)
class Provenance(Record):
    """The inputs that a table of predictions was computed from: in table.json of x.npz; x.from.json beside x.csv."""

    weights: dict[str, str]  # fold -> sha256 of its weights
    labels: str | None  # hash of the training images and their labels; None for test images
    images: str  # key of the image cache: the images, their times, and how they were made square
    runtime: str = "torch"
    # The key by which older versions knew the same images, from sizes and times; never written.
    old_images: str | None = field(default=None, compare=False)
    # The hash of x.csv; None beside the first of them, and in x.npz. Two tables of equal origin have equal provenance.
    sha256: str | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        del content["old_images"]
        if self.runtime == "torch":
            del content["runtime"]
        if self.sha256 is None:
            del content["sha256"]
        return content

    def for_folds(self, folds: Iterable[Fold]) -> Provenance:
        """Return the provenance restricted to `folds`."""
        return replace(self, weights={str(fold): self.weights[str(fold)] for fold in folds})

    def recognise(self, stored: Provenance) -> Provenance:
        """Return `stored` with the key of today if an older version recorded the same images."""
        return replace(stored, images=self.images) if stored.images == self.old_images else stored

    def difference(self, other: Provenance) -> str:
        """Return what differs of labels, images and runtime, such as "other images"; "" if only the weights may."""
        words = {"labels": "other labels", "images": "other images", "runtime": "another runtime"}
        return " and ".join(text for name, text in words.items() if getattr(self, name) != getattr(other, name))


@dataclass(frozen=True)
class TableRecord(Record):
    """table.json, in a table of predictions x.npz."""

    ADVICE: ClassVar[str] = "predict again"

    columns: tuple[str, ...]
    sha256: str  # of columns, images and predictions
    made_from: Provenance | None = None  # None: a record outside the file says it, and holds the same hash

    def to_dict(self) -> dict[str, Any]:
        made_from = None if self.made_from is None else self.made_from.to_dict()
        return {"columns": list(self.columns), "sha256": self.sha256, "made_from": made_from}


def provenance_path(table: Path) -> Path:
    """Return the provenance of a table x.csv, which versions up to 0.3 wrote."""
    return table.with_name(f"{table.stem}.from.json")


def read_provenance(table: Path) -> Provenance | None:
    """Return the provenance of a table x.csv; None without one, or with one of another format."""
    path = provenance_path(table)
    try:
        content = read_json(path)
        provenance = Provenance.from_dict(content, path)
    except UserError:
        return None
    return provenance if provenance.to_dict() == content else None  # a key that is unknown here may matter


@dataclass(frozen=True)
class LatencyRecord(Record):
    """cost.json: the time to predict one view of one image with one fold's model, on each machine."""

    ADVICE: ClassVar[str] = "delete it to measure again"

    milliseconds: dict[str, float]  # machine -> milliseconds; the whole content of the file

    @classmethod
    def from_dict(cls, content: object, source: Path | str) -> Self:
        record = super().from_dict({"milliseconds": content}, source)
        for machine, latency_ms in record.milliseconds.items():
            if not (math.isfinite(latency_ms) and 0 < latency_ms <= MAX_LATENCY_MS):
                raise UserError(f"{source}: {latency_ms} ms on {machine} cannot be a time per image; {cls.ADVICE}")
        return record

    def to_dict(self) -> dict[str, float]:
        return self.milliseconds
