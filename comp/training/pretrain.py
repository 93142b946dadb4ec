"""Reconstruction before classification, for models that offer it (`model.autoencoder()` and `model.freeze()`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from comp.batches.loader import TrainingSet
from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.engine import distributed
from comp.engine.fit import Epoch, FitOptions, TrainData, TrainState, fit
from comp.engine.optim import make_optimizer
from comp.errors import UserError
from comp.observers.console import log_line
from comp.runs import FoldDir
from comp.schema import Config
from comp.tables import write_csv
from comp.zoo.init import initialise

PRETRAIN_COLUMNS = ["epoch", "loss", "seconds"]  # pretrain.csv


def check_pretraining(config: Config, model: nn.Module) -> None:
    if config.train.pretrain_epochs and not hasattr(model, "autoencoder"):
        raise UserError(
            f"train.pretrain_epochs: {config.model.name} has no decoder to reconstruct its images with; "
            f"set it to 0, or model.name=gupta_autoclassifier"
        )


def pretrain(
    model: nn.Module,
    place: FoldDir,
    config: Config,
    precision: str,
    device: torch.device,
    source: TrainingSet,
    batches: Callable[[range], Iterator],
    prepare: Callable,
) -> None:
    """Teach the encoder to give its images back, at the run's own rate held constant, then freeze it. The same loop
    as ever, with each image's error as its loss; resumed from `pretrain.pt` as the rest is from `resume.pt`."""
    stage = model.autoencoder()
    initialise(stage.decoder, config.model.init)
    optim = config.optim
    state = TrainState(
        stage,
        make_optimizer(
            stage,
            optim.name,
            lr=optim.lr,
            weight_decay=optim.weight_decay,
            momentum=optim.momentum,
            decay_all=optim.decay_all,
        ),
        torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
    )
    if distributed.call_on_rank_zero(place.pretrain_path.is_file):
        state.load_state_dict(distributed.call_on_rank_zero(lambda: load_checkpoint(place.pretrain_path)))
    epochs, saved = config.train.pretrain_epochs, time.monotonic()
    writes = distributed.rank() == 0
    with tqdm(
        total=epochs * source.steps_per_epoch,
        initial=state.step,
        desc="reconstruction",
        unit="batch",
        disable=None if writes else True,
        leave=False,
    ) as bar:
        for event in fit(
            state,
            TrainData(batches, prepare, source.steps_per_epoch, source.shard_info),
            FitOptions(
                epochs=epochs,
                device=device,
                precision=precision,
                rng_key=source.rng_key,
                accumulate=config.train.accumulate,
                clip=optim.clip,
                clip_mode=optim.clip_mode,
            ),
            loss=lambda errors, _: errors,
            lr_at=lambda *_: optim.lr,
        ):
            bar.update(event.step - bar.n)
            if isinstance(event, Epoch):
                state.history.append(
                    {
                        "epoch": event.epoch + 1,
                        "loss": event.train_loss,
                        "seconds": round(event.seconds, 3),
                        "val_loss": None,
                    }
                )
                if writes:
                    write_csv(place.path / "pretrain.csv", pd.DataFrame(state.history)[PRETRAIN_COLUMNS])
                    log_line(
                        f"reconstruction  epoch {event.epoch + 1}/{epochs}  error {event.train_loss:.4f}  "
                        f"{event.seconds:.0f} s",
                        bar,
                        place.path / "train.log",
                    )
            if writes and time.monotonic() - saved > config.train.save_every:
                save_checkpoint(place.pretrain_path, state.state_dict())
                saved = time.monotonic()
    if writes:
        save_checkpoint(place.pretrain_path, state.state_dict())
    model.freeze()
