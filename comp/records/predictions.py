"""Records beside the predictions of a run: what each table was computed from, and how long a view takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from comp.records.base import Fold, Record


@dataclass(frozen=True)
class Provenance(Record):
    """oof.from.json and test.from.json: what a table of predictions was computed from."""

    weights: dict[str, str]  # fold -> sha256 of its weights
    labels: str | None  # hash of the training images and their labels; None for test images
    images: str  # key of the image cache: the images, their times, and how they were made square
    runtime: str = "torch"

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        if self.runtime == "torch":
            del content["runtime"]
        return content

    def for_folds(self, folds: Iterable[Fold]) -> Provenance:
        """Return the provenance restricted to `folds`."""
        return replace(self, weights={str(fold): self.weights[str(fold)] for fold in folds})

    def matches(self, other: Provenance) -> bool:
        """Return whether labels, images and runtime are the same; the weights may differ."""
        return self == replace(other, weights=self.weights)


@dataclass(frozen=True)
class LatencyRecord(Record):
    """cost.json: the time to predict one view of one image with one fold's model, on each machine."""

    ADVICE: ClassVar[str] = "delete it to measure again"

    milliseconds: dict[str, float]  # machine -> milliseconds; the whole content of the file

    @classmethod
    def from_dict(cls, content: object, source: Path | str) -> Self:
        return super().from_dict({"milliseconds": content}, source)

    def to_dict(self) -> dict[str, float]:
        return self.milliseconds
