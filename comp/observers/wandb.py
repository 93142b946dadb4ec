"""Weights & Biases as a mirror of the run directory; the only file that imports wandb."""

from __future__ import annotations

import hashlib
import netrc
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from comp.engine.fit import Step
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow
from comp.runs import Run

if TYPE_CHECKING:
    import wandb

MAX_CONFUSION_CLASSES = 100  # its plot is a table with a row per pair of classes, of which W&B shows 10,000


class WandbObserver:
    """One W&B run, for a fold or for the summary of a run. When W&B fails, training continues after one warning."""

    def __init__(self, run: Run, mode: str, job_type: str, label: str):
        self.classes = run.classes
        self.wandb_run: wandb.Run | None = None
        self._try(lambda: self._start(run, mode, job_type, label))

    def _start(self, run: Run, mode: str, job_type: str, label: str) -> None:
        """Create the W&B run, or resume the one of this fold."""
        import wandb

        # one id per run and fold: a resumed fold continues in the same W&B run
        identity = hashlib.sha256(f"{run.path.resolve()} {run.record.created} {label}".encode()).hexdigest()[:16]
        directory = run.path / "wandb"
        directory.mkdir(exist_ok=True)
        self.wandb_run = wandb.init(
            project=run.config.log.project or run.config.dataset,
            group=run.name,
            job_type=job_type,
            name=f"{run.name}-{label}",
            id=identity,
            resume="allow",
            mode=mode,  # type: ignore[arg-type]  # config and environment allow only W&B's own modes
            dir=str(directory),
            config={**run.config.model_dump(), "label": label},
            settings=wandb.Settings(silent=True, console="off"),
        )
        # a resumed fold repeats epochs, but never W&B's own step counter
        self.wandb_run.define_metric("*", step_metric="epoch")

    def log_step(self, event: Step, images: int) -> None:
        pass

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        self._log({key: value for key, value in row.to_dict().items() if value is not None})

    def log_predictions(self, targets: np.ndarray, probabilities: np.ndarray) -> None:
        def log_confusion() -> None:
            import wandb

            matrix = wandb.plot.confusion_matrix(
                y_true=targets.tolist(), preds=probabilities.argmax(1).tolist(), class_names=list(self.classes)
            )
            self._log({"confusion": matrix})

        if self.wandb_run and len(self.classes) <= MAX_CONFUSION_CLASSES:
            self._try(log_confusion)

    def log_summary(self, values: dict[str, float | None]) -> None:
        """Set the summary values of the W&B run."""
        if run := self.wandb_run:
            self._try(lambda: run.summary.update(values))

    def close(self) -> None:
        failed = sys.exc_info()[0] is not None  # closed on the way out of an error: W&B then shows a crashed run
        if run := self.wandb_run:
            self._try(lambda: run.finish(exit_code=int(failed)))
        self.wandb_run = None

    def _log(self, values: dict[str, Any]) -> None:
        if run := self.wandb_run:
            self._try(lambda: run.log(values))

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # of any kind: W&B must never end a training
            self.wandb_run = None
            print(
                f"warning: W&B failed and is off for this fold: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}",
                file=sys.stderr,
            )


def wandb_mode(requested: str) -> str:
    """Resolve `log.wandb`: `auto` is online where an API key is configured, else off. Never prompts."""
    if requested != "auto":
        return requested
    if os.environ.get("WANDB_MODE") in ("online", "offline", "disabled"):
        return os.environ["WANDB_MODE"].replace("disabled", "off")
    return "online" if has_wandb_key() else "off"


def has_wandb_key() -> bool:
    """Return whether an API key is configured."""
    return bool(os.environ.get("WANDB_API_KEY")) or _has_key_in_netrc()


def wandb_observers(run: Run, job_type: str, label: str) -> Sequence[WandbObserver]:
    """Return the W&B observer of a run's fold or summary, or nothing where W&B is off."""
    mode = wandb_mode(run.config.log.wandb)
    return () if mode == "off" else (WandbObserver(run, mode, job_type, label),)


def _has_key_in_netrc() -> bool:
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
