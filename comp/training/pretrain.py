"""Pretraining by reconstruction, for models that offer it (`model.autoencoder()` and `model.freeze()`)."""

from __future__ import annotations

import time
from typing import Protocol, cast

import pandas as pd
import torch
from torch import nn

from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.engine import distributed
from comp.engine.fit import Epoch, FitOptions, TrainState, fit
from comp.errors import UserError
from comp.observers.console import log_line
from comp.progress_bar import Bar, progress_bar
from comp.records.base import Fold
from comp.records.checkpoint import check_fit_state
from comp.runs import FoldDir
from comp.tables import write_csv
from comp.training.components import TrainingComponents
from comp.training.optimizer import make_config_optimizer
from comp.training.progress import check_origin
from comp.training.setup import Setup
from comp.zoo.init import initialise

PRETRAIN_COLUMNS = ["epoch", "loss", "seconds"]  # pretrain.csv


class Pretrainable(Protocol):
    """A model whose encoder can be pretrained."""

    def autoencoder(self) -> nn.Module:
        """Return the encoder with a `decoder`: images -> the reconstruction error of each."""

    def freeze(self) -> None:
        """Stop training the encoder."""


def pretrain(setup: Setup, fold: Fold, fold_dir: FoldDir, components: TrainingComponents) -> None:
    """Train the encoder to reconstruct its images, then freeze it.

    The loop is `fit`, with each image's reconstruction error as its loss and the run's own learning rate, held
    constant. It resumes from pretrain.pt as the training of the classes does from resume.pt.
    """
    config, optim, train_set = setup.config, setup.config.optim, components.train_set
    model = cast(Pretrainable, components.model)
    state = _make_state(setup, model.autoencoder())
    path, origin = fold_dir.pretrain_path, setup.origin(fold)
    if distributed.call_on_rank_zero(path.is_file):
        content = distributed.call_on_rank_zero(lambda: check_fit_state(load_checkpoint(path), path))
        check_origin(content.get("origin"), origin, path)
        try:
            state.load_state_dict(content)
        except ValueError:
            raise UserError(f"{path} does not fit this model; train again from scratch with --restart") from None
    is_writer = distributed.rank() == 0
    saved_at = time.monotonic()
    options = FitOptions(
        epochs=config.train.pretrain_epochs,
        device=setup.device,
        precision=setup.precision,
        rng_key=train_set.rng_key,
        accumulate=setup.accumulate,
        clip=optim.clip,
        clip_mode=optim.clip_mode,
    )
    with progress_bar(
        total=options.epochs * train_set.steps_per_epoch,
        initial=state.step,
        desc="reconstruction",
        unit="batch",
        disable=not is_writer,
    ) as bar:
        for event in fit(
            state, components.train_data, options, loss=lambda errors, _: errors, lr_at=lambda *_: optim.lr
        ):
            bar.update(event.step - bar.n)
            if isinstance(event, Epoch):
                _record_epoch(state, event)
                if is_writer:
                    _log_epoch(state, event, options.epochs, fold_dir, bar)
            if is_writer and time.monotonic() - saved_at > config.train.save_every:
                save_checkpoint(path, {**state.state_dict(), "origin": origin})
                saved_at = time.monotonic()
    if is_writer:
        save_checkpoint(path, {**state.state_dict(), "origin": origin})
    model.freeze()


def _make_state(setup: Setup, autoencoder: nn.Module) -> TrainState:
    initialise(autoencoder.get_submodule("decoder"), setup.config.model.init)
    optimizer = make_config_optimizer(autoencoder, setup.config.optim)
    return TrainState(
        autoencoder, optimizer, torch.amp.GradScaler(setup.device.type, enabled=setup.precision == "fp16")
    )


def _record_epoch(state: TrainState, event: Epoch) -> None:
    state.history.append(
        {
            "epoch": event.epoch + 1,
            "loss": event.train_loss,
            "seconds": round(event.seconds, 3),
            "val_loss": None,  # there is no validation
        }
    )


def _log_epoch(state: TrainState, event: Epoch, epochs: int, fold_dir: FoldDir, bar: Bar) -> None:
    write_csv(fold_dir.path / "pretrain.csv", pd.DataFrame(state.history)[PRETRAIN_COLUMNS])
    log_line(
        f"reconstruction  epoch {event.epoch + 1}/{epochs}  error {event.train_loss:.4f}  {event.seconds:.0f} s",
        bar,
        fold_dir.path / "train.log",
    )
