"""The progress of a fold's training: everything that a killed process would lose, and the results of its epochs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from comp.engine import distributed
from comp.engine.device import peak_memory_gb
from comp.engine.fit import Epoch, TrainState
from comp.errors import UserError
from comp.metrics import find_metric, score
from comp.records.checkpoint import EpochResult, FoldCheckpoint, HistoryRow
from comp.runs import FoldDir
from comp.schema import Config
from comp.tasks import Task


@dataclass
class FoldProgress:
    """The state of a fold's training, and the results of its best and its last epoch so far."""

    config: Config
    state: TrainState
    origin: str  # see `Setup.origin`
    best: EpochResult | None = None
    last: EpochResult | None = None
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def history(self) -> list[HistoryRow]:
        return [HistoryRow.from_dict(row, "the history of this training") for row in self.state.history]

    @property
    def kept(self) -> EpochResult | None:
        """The epoch whose weights the run keeps; None if no epoch was validated."""
        return self.best if self.config.train.keep == "best" else self.last

    def is_save_due(self) -> bool:
        return time.monotonic() - self.saved_at > self.config.train.save_every

    def save(self, fold_dir: FoldDir) -> None:
        """Write resume.pt."""
        FoldCheckpoint(self.state.state_dict(), self.best, self.last, self.origin).write(fold_dir.resume_path)
        self.saved_at = time.monotonic()

    def load(self, fold_dir: FoldDir, steps_per_epoch: int, val_images: int) -> None:
        """Continue from resume.pt, on every rank."""
        path = fold_dir.resume_path
        checkpoint = distributed.call_on_rank_zero(lambda: FoldCheckpoint.read(path))
        check_origin(checkpoint.origin, self.origin, path)
        try:
            self.state.load_state_dict(checkpoint.fit)
        except ValueError:
            raise UserError(f"{path} does not fit this model; train again from scratch with --restart") from None
        self.best, self.last = checkpoint.best, checkpoint.last
        if not self._is_consistent(steps_per_epoch, val_images):
            raise UserError(f"{path} contradicts itself; train again from scratch with --restart")

    def _is_consistent(self, steps_per_epoch: int, val_images: int) -> bool:
        """Return whether history, step and results are of one moment of a training with these images."""
        epochs, results = len(self.state.history), [result for result in (self.best, self.last) if result]
        steps_in_epoch = self.state.step - epochs * steps_per_epoch
        return (
            [row.epoch for row in self.history] == list(range(1, epochs + 1))
            and 0 <= steps_in_epoch <= steps_per_epoch
            and self.state.step <= self.config.train.epochs * steps_per_epoch
            and (self.state.images > 0 or steps_in_epoch == 0)
            and len(results) == (2 if epochs and val_images else 0)
            and all(len(result.probabilities) == val_images for result in results)
            and all(1 <= result.row.epoch <= epochs for result in results)
            and (self.last is None or self.last.row.epoch == epochs)
            and (self.best is None or self.config.train.keep == "last" or self.best.weights is not None)
        )

    def record_epoch(
        self,
        event: Epoch,
        probabilities: np.ndarray | None,
        scored: tuple[np.ndarray, np.ndarray] | None,
        task: Task,
        device: torch.device,
        val_seconds: float,
    ) -> HistoryRow:
        """Score an epoch, keep its result if it is the best, and return its row of the history.

        `probabilities` are by image; `scored` are targets and predictions by row of a submission. Predictions that
        cannot be any, such as NaN, are a FloatingPointError.
        """
        val_loss = val_score = None
        if scored is not None:
            if problem := task.find_invalid(scored[1]):  # of no use later, and a NaN in BatchNorm's statistics stays
                raise FloatingPointError(f"the validation predictions of epoch {event.epoch + 1} have {problem}")
            val_loss = float(task.losses(*scored).mean())
            val_score = score(self.config.train.metric, *scored)
        row = HistoryRow(
            epoch=event.epoch + 1,
            step=event.step,
            lr=event.lr,
            train_loss=event.train_loss,
            val_loss=val_loss,
            val_score=val_score,
            seconds=round(event.seconds, 3),
            images_per_second=round(event.images / event.seconds, 2),
            peak_memory_gb=round(peak_memory_gb(device), 3),
            val_seconds=round(val_seconds, 3),
        )
        if probabilities is not None:
            self._keep_result(row, torch.from_numpy(probabilities))
        return row

    def _keep_result(self, row: HistoryRow, probabilities: torch.Tensor) -> None:
        self.last = EpochResult(row, probabilities)
        if self.best is not None and _epoch_rank(row, self.config) <= _epoch_rank(self.best.row, self.config):
            return
        weights = None
        if self.config.train.keep == "best":
            state_dict = self.state.eval_model.state_dict()
            weights = {key: value.detach().cpu().clone() for key, value in state_dict.items()}
        self.best = EpochResult(row, probabilities, weights)

    def should_stop_early(self) -> bool:
        """Return whether `train.patience` epochs have passed without a better one."""
        patience = self.config.train.patience
        if patience is None:
            return False
        history = self.history
        if not history or history[-1].val_loss is None:
            return False
        best = max(range(len(history)), key=lambda index: _epoch_rank(history[index], self.config))
        return len(history) - 1 - best >= patience


def check_origin(stored: str | None, own: str, path: Path) -> None:
    """Refuse a checkpoint of another training; files of earlier versions do not record theirs."""
    if stored not in (None, own):
        raise UserError(f"{path} is of another training ({stored}); delete it and train the fold again")


def _epoch_rank(row: HistoryRow, config: Config) -> tuple[float, float]:
    """Return what the best epoch has most of: by `train.monitor`, and of equal scores the lower loss."""
    assert row.val_loss is not None and row.val_score is not None, "only validated epochs are ranked"
    if config.train.monitor == "loss":
        return (-row.val_loss, 0.0)
    sign = 1 if find_metric(config.train.metric).higher_is_better else -1
    return (sign * row.val_score, -row.val_loss)
