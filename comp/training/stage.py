"""A training without labels that comes before the one of the classes: `fit` with a bar, a CSV, and a checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.engine import distributed
from comp.engine.fit import Epoch, FitOptions, TrainData, TrainState, fit
from comp.engine.optim import LearningRateFn
from comp.errors import UserError
from comp.observers.console import log_line
from comp.progress_bar import Bar, progress_bar
from comp.records.checkpoint import check_fit_state
from comp.tables import write_csv
from comp.tasks.losses import LossFunction
from comp.training.progress import check_origin

STAGE_COLUMNS = ["epoch", "loss", "seconds"]


@dataclass(frozen=True)
class Stage:
    """The files of a stage, and how it is named and saved."""

    title: str  # in the bar and in lines
    checkpoint: Path
    table: Path  # a CSV of the loss of each epoch
    log: Path
    origin: str  # see `Setup.origin`
    save_every: float  # seconds


def run_stage(
    stage: Stage, state: TrainState, data: TrainData, options: FitOptions, *, loss: LossFunction, lr_at: LearningRateFn
) -> None:
    """Train `state` to the end; resume it from the checkpoint of the stage, which is written at the end too."""
    _resume(stage, state)
    is_writer = distributed.rank() == 0
    saved_at = time.monotonic()

    def save() -> None:
        save_checkpoint(stage.checkpoint, {**state.state_dict(), "origin": stage.origin})

    with progress_bar(
        total=options.epochs * data.steps_per_epoch,
        initial=state.step,
        desc=stage.title,
        unit="batch",
        disable=not is_writer,
    ) as bar:
        for event in fit(state, data, options, loss=loss, lr_at=lr_at):
            bar.update(event.step - bar.n)
            if isinstance(event, Epoch):
                _record_epoch(state, event)
                if is_writer:
                    _log_epoch(stage, state, event, options.epochs, bar)
            if is_writer and time.monotonic() - saved_at > stage.save_every:
                save()
                saved_at = time.monotonic()
    if is_writer:
        save()


def _resume(stage: Stage, state: TrainState) -> None:
    path = stage.checkpoint
    if not distributed.call_on_rank_zero(path.is_file):
        return
    content = distributed.call_on_rank_zero(lambda: check_fit_state(load_checkpoint(path), path))
    check_origin(content.get("origin"), stage.origin, path)
    try:
        state.load_state_dict(content)
    except ValueError:
        raise UserError(f"{path} does not fit this model; train again from scratch with --restart") from None


def _record_epoch(state: TrainState, event: Epoch) -> None:
    state.history.append(
        {
            "epoch": event.epoch + 1,
            "loss": event.train_loss,
            "seconds": round(event.seconds, 3),
            "val_loss": None,  # there is no validation
        }
    )


def _log_epoch(stage: Stage, state: TrainState, event: Epoch, epochs: int, bar: Bar) -> None:
    write_csv(stage.table, pd.DataFrame(state.history)[STAGE_COLUMNS])
    log_line(
        f"{stage.title}  epoch {event.epoch + 1}/{epochs}  loss {event.train_loss:.4f}  "
        f"{event.images / event.seconds:.0f} img/s  {event.seconds:.0f} s",
        bar,
        stage.log,
    )
