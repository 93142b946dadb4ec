"""Records of resume.pt: what a fold needs to resume, and the row of history.csv that each epoch adds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.records.base import Record

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class HistoryRow(Record):
    """A row of history.csv: one finished epoch."""

    epoch: int  # counted from 1
    step: int  # batches since the start of the training
    lr: float
    train_loss: float
    val_loss: float | None  # None without validation images
    val_score: float | None  # score by the run's metric
    seconds: float
    images_per_second: float
    peak_memory_gb: float
    val_seconds: float


@dataclass(frozen=True)
class EpochResult:
    """An epoch's row of the history, its validation predictions, and its weights if the run keeps them."""

    row: HistoryRow
    probabilities: torch.Tensor  # one row per validation image, in the order of the split
    weights: dict[str, torch.Tensor] | None = None

    @classmethod
    def from_dict(cls, content: dict[str, Any], source: Path) -> Self:
        row = HistoryRow.from_dict(content["row"], source)
        return cls(row, content["probabilities"], content["weights"])

    def to_dict(self) -> dict[str, Any]:
        return {"row": self.row.to_dict(), "probabilities": self.probabilities, "weights": self.weights}


@dataclass(frozen=True)
class FoldCheckpoint:
    """resume.pt: the state of a fold's training, and the results of its best and its last epoch so far."""

    fit: dict[str, Any]  # TrainState.state_dict()
    best: EpochResult | None
    last: EpochResult | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file; a missing key is a KeyError."""
        content = load_checkpoint(path)
        best, last = (
            EpochResult.from_dict(content[key], path) if content[key] is not None else None for key in ("best", "last")
        )
        return cls(content["fit"], best, last)

    def write(self, path: Path) -> None:
        save_checkpoint(
            path,
            {"fit": self.fit, "best": self.best and self.best.to_dict(), "last": self.last and self.last.to_dict()},
        )
