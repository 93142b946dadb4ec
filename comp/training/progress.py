"""All of a fold's training that a killed process would lose, and what its epochs were worth."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.engine import distributed
from comp.engine.device import peak_memory_gb
from comp.engine.fit import Epoch, TrainState
from comp.errors import UserError
from comp.metrics import METRICS, log_losses, score
from comp.runs import FoldDir
from comp.schema import Config


@dataclass
class EpochResult:
    """An epoch's row of the history, its validation predictions, and its weights where the run keeps them."""

    row: dict[str, Any]
    probabilities: torch.Tensor
    weights: dict[str, torch.Tensor] | None = None


@dataclass
class FoldProgress:
    state: TrainState
    best: EpochResult | None = None
    last: EpochResult | None = None
    saved: float = field(default_factory=time.monotonic)

    def save(self, place: FoldDir) -> None:
        save_checkpoint(
            place.resume_path,
            {
                "fit": self.state.state_dict(),
                "best": self.best and vars(self.best),
                "last": self.last and vars(self.last),
            },
        )
        self.saved = time.monotonic()

    def load(self, place: FoldDir) -> None:
        saved = distributed.call_on_rank_zero(lambda: load_checkpoint(place.resume_path))
        try:
            self.state.load_state_dict(saved["fit"])
        except (KeyError, RuntimeError, ValueError):
            raise UserError(f"{place.resume_path} does not fit this model; begin again with --restart") from None
        self.best, self.last = (EpochResult(**saved[key]) if saved[key] else None for key in ("best", "last"))

    def note(
        self,
        event: Epoch,
        probabilities: np.ndarray | None,
        truth: np.ndarray,
        config: Config,
        device: torch.device,
        val_seconds: float,
    ) -> dict[str, Any]:
        """Score the epoch, and remember it if it is the best. Gives its row of the history."""
        row = {
            "epoch": event.epoch + 1,
            "step": event.step,
            "lr": event.lr,
            "train_loss": event.train_loss,
            "val_loss": None,
            "val_score": None,
            "seconds": round(event.seconds, 3),
            "images_per_second": round(event.images / event.seconds, 2),
            "peak_memory_gb": round(peak_memory_gb(device), 3),
            "val_seconds": round(val_seconds, 3),
        }
        if probabilities is not None:
            row["val_loss"] = float(log_losses(truth, probabilities).mean())
            row["val_score"] = score(config.train.metric, truth, probabilities)
            self.last = EpochResult(row, torch.from_numpy(probabilities))
            if self.best is None or _epoch_rank(row, config) > _epoch_rank(self.best.row, config):
                weights = None
                if config.train.keep == "best":
                    weights = {
                        key: value.detach().cpu().clone() for key, value in self.state.eval_model.state_dict().items()
                    }
                self.best = EpochResult(row, torch.from_numpy(probabilities), weights)
        return row

    def stopped_early(self, config: Config) -> bool:
        history = self.state.history
        if config.train.patience is None or not history or history[-1]["val_loss"] is None:
            return False
        best = max(range(len(history)), key=lambda index: _epoch_rank(history[index], config))
        return len(history) - 1 - best >= config.train.patience


def _epoch_rank(row: dict[str, Any], config: Config) -> tuple[float, float]:
    """What `train.monitor` calls better; of equal scores the lower loss."""
    if config.train.monitor == "loss":
        return (-row["val_loss"], 0.0)
    sign = 1 if METRICS[config.train.metric].higher_is_better else -1
    return (sign * row["val_score"], -row["val_loss"])
