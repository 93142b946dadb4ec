"""Records of resume.pt: what a fold needs to resume, and the row of history.csv that each epoch adds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from comp.checkpoints import (
    CheckpointValues,
    is_count,
    is_map,
    is_number,
    is_state_dict,
    is_table,
    load_checkpoint,
    save_checkpoint,
)
from comp.records.base import Record

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class HistoryRow(Record):
    """A row of history.csv: one finished epoch."""

    ADVICE: ClassVar[str] = CheckpointValues.ADVICE

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
        values = CheckpointValues(content, source)
        row = HistoryRow.from_dict(values.get("row", is_map), source)
        if row.val_loss is None or row.val_score is None:
            raise values.error("row")
        return cls(
            row,
            values.get("probabilities", is_table),
            values.get("weights", lambda value: value is None or is_state_dict(value)),
        )

    def to_dict(self) -> dict[str, Any]:
        return {"row": self.row.to_dict(), "probabilities": self.probabilities, "weights": self.weights}


@dataclass(frozen=True)
class FoldCheckpoint:
    """resume.pt: the state of a fold's training, and the results of its best and its last epoch so far."""

    fit: dict[str, Any]  # TrainState.state_dict()
    best: EpochResult | None
    last: EpochResult | None
    origin: str | None = None  # the training that it is of, see `Setup.origin`; None in files of earlier versions

    @classmethod
    def read(cls, path: Path) -> Self:
        values = CheckpointValues(load_checkpoint(path), path)
        fit = check_fit_state(values.get("fit", is_map), path)
        for row in fit["history"]:
            HistoryRow.from_dict(row, path)
        results = [values.get(key, lambda value: value is None or is_map(value)) for key in ("best", "last")]
        best, last = (EpochResult.from_dict(result, path) if result is not None else None for result in results)
        return cls(fit, best, last, values.content.get("origin"))

    def write(self, path: Path) -> None:
        save_checkpoint(
            path,
            {
                "fit": self.fit,
                "best": self.best and self.best.to_dict(),
                "last": self.last and self.last.to_dict(),
                "origin": self.origin,
            },
        )


def check_fit_state(content: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return the content of `TrainState.state_dict()`; a UserError if a part is missing or of another type."""
    values = CheckpointValues(content, source)
    values.get("model", is_state_dict)
    values.get("optimizer", _is_optimizer_state)
    values.get("scaler", lambda value: is_map(value) and all(map(is_number, value.values())))
    values.get("ema", lambda value: value is None or is_state_dict(value))
    for key in ("step", "updates", "images"):
        values.get(key, is_count)
    for key in ("loss_sum", "seconds"):
        values.get(key, is_number)
    values.get("history", lambda rows: isinstance(rows, list) and all(map(_is_history_row, rows)))
    return content


def _is_history_row(content: object) -> bool:
    """Return whether this has what every history needs: the validation loss decides the learning rate."""
    return (
        isinstance(content, dict)
        and "val_loss" in content
        and (content["val_loss"] is None or is_number(content["val_loss"]))
    )


def _is_optimizer_state(content: object) -> bool:
    """Return whether this has the form of every optimizer's state; its tensors depend on the optimizer."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("state"), dict)
        and all(isinstance(index, int) and is_map(state) for index, state in content["state"].items())
        and isinstance(content.get("param_groups"), list)
        and all(is_map(group) and isinstance(group.get("params"), list) for group in content["param_groups"])
    )
