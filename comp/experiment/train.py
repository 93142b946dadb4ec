"""Training runs: one fold, or a whole experiment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.utils import ModelEmaV3

from comp.data.augment import Policy
from comp.data.folds import parse_folds, read_folds
from comp.data.loader import EvaluationSet, TrainingSet, choose_workers, stream_batches
from comp.data.oversample import oversampled
from comp.data.scan import scan
from comp.engine.fit import Epoch, State, Step, fit
from comp.engine.losses import balanced_weights, make_loss
from comp.engine.mix import Mix
from comp.engine.optim import make_optimizer, make_schedule
from comp.engine.predict import normalise, predict
from comp.errors import UserError
from comp.experiment.pretrain import pretrain
from comp.experiment.progress import Progress
from comp.experiment.setup import Setup, find_init, new_model, open_debug_setup, open_setup, recipe
from comp.experiment.summary import summarise
from comp.runs import FoldDir, load_checkpoint, process_facts, save_checkpoint
from comp.schema import Config
from comp.tables import HISTORY, file_sha256, write_csv
from comp.track import Console, Observer, StopRun, wandb_observers


class Diverged(UserError):
    """The loss is no longer a number."""


def run_experiment(config: Config, *, fold: str | None = None, device: str = "auto", restart: bool = False,
                   debug: bool = False, observers: Sequence[Observer] = ()) -> dict[str, Any]:
    """Train the folds asked for that are not done yet; the content of metrics.json."""
    wanted = parse_folds(fold, read_folds(config.folds_file, scan(config.data.root)))
    if "full" in wanted and config.schedule.name == "plateau":
        raise UserError("--fold full has no validation loss for schedule.name=plateau; use another schedule")
    setup = open_debug_setup(config, device, wanted) if debug else open_setup(config, device, wanted, restart)
    print(f"{setup.run.path}: {config.model.name}, {setup.run.about['parameters']:,} parameters, "
          f"{config.data.size} px, {setup.device}, {setup.precision}", flush=True)
    for each in wanted:
        run_fold(setup, each, observers)
    return summarise(setup)


def run_fold(setup: Setup, fold: int | str, observers: Sequence[Observer] = ()) -> None:
    """Train one fold to its end, from wherever an earlier process left it."""
    place = setup.run.fold(fold)
    with place.lock():
        if place.done:
            print(f"fold {fold}  already done")
            return
        place.begin(**process_facts(setup.device))
        try:
            _train(setup, fold, place, observers)
        except StopRun:
            place.end("pruned")
            raise
        except FloatingPointError as problem:
            place.end("failed", reason=str(problem))
            raise Diverged(f"fold {fold} of {setup.run.name}: {problem}; lower optim.lr, set optim.clip=1, or "
                           f"train.precision=fp32, and begin with --restart") from None
        except Exception as problem:
            with contextlib.suppress(OSError):  # the disk may be full
                place.end("failed", reason=f"{type(problem).__name__}: {problem}")
            raise


@dataclass(frozen=True)
class Parts:
    """What a fold is trained with, but for the state: that comes after a reconstruction stage."""
    source: TrainingSet
    workers: int
    model: torch.nn.Module
    about: dict[str, Any]          # the recipe of its weights file
    device: torch.device

    def batches(self, steps: range) -> Iterator:
        return stream_batches(self.source, steps, self.workers, pin=self.device.type == "cuda")

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        return normalise(images, self.about["mean"], self.about["std"], self.device)


def parts_of(setup: Setup, fold: int | str, fresh: bool) -> Parts:
    """`fresh` weights may come from elsewhere; others are about to be loaded over."""
    config, rows = setup.config, setup.split(fold)[0]
    source = oversampled(TrainingSet(setup.cache, rows, setup.labels[rows], config.data.size, config.train.batch,
                                     Policy(config.augment.policy), setup.stream(fold), config.train.balanced),
                         config.augment.oversample)
    model = _new_model(setup, fold, fresh)
    return Parts(source, choose_workers(config.data.workers, setup.device.type), model,
                 recipe(config, setup.run.classes, model, setup.precision), setup.device)


def _train(setup: Setup, fold: int | str, place: FoldDir, observers: Sequence[Observer]) -> None:
    config, device = setup.config, setup.device
    val_rows = setup.split(fold)[1]
    resuming = place.resume.is_file()
    parts = parts_of(setup, fold, fresh=not resuming)
    source, about = parts.source, parts.about
    if config.train.pretrain_epochs and not resuming:
        pretrain(parts.model, place, config, setup.precision, device, parts.batches, parts.prepare,
                 source.steps_per_epoch, setup.stream(fold))
    progress = Progress(new_state(setup, parts.model))
    state = progress.state
    if resuming:
        progress.load(place)
    each = len(source.rows)
    console = Console(fold, place.path / "train.log", config.train.metric, config.train.epochs, each,
                      len(state.history) * each + state.images * (state.step % source.steps_per_epoch > 0))
    watching = [console, *wandb_observers(setup.run, "train", f"fold{fold}"), *observers]
    if state.step:
        console.say(f"fold {fold}  goes on from step {state.step} of epoch {state.step // source.steps_per_epoch + 1}")

    def validate() -> np.ndarray:
        held_out = EvaluationSet(setup.cache, val_rows, config.data.size, config.train.batch)
        return predict([state.evaluated], stream_batches(held_out, range(len(held_out)), workers=0),
                       mean=about["mean"], std=about["std"], views=["identity"], device=device,
                       precision=setup.precision)[0, 0]

    events = () if progress.stopped_early(config) else fit_fold(setup, fold, parts, state)
    try:
        for event in events:
            if isinstance(event, Epoch):
                started = time.perf_counter()
                probabilities = validate() if len(val_rows) else None
                progress.note(event, probabilities, setup.labels[val_rows], config, device,
                              time.perf_counter() - started)
                write_csv(place.path / "history.csv", pd.DataFrame(state.history, columns=HISTORY))
                for observer in watching:
                    observer.epoch(fold, state.history[-1])
            else:
                for observer in watching:
                    observer.step(event, state.images)
            if time.monotonic() - progress.saved > config.train.save_every:
                progress.save(place)
            if isinstance(event, Epoch) and progress.stopped_early(config):
                break
        _finish(setup, fold, place, progress, val_rows, about)
        kept = progress.best if config.train.keep == "best" else progress.last
        for observer in watching:
            if kept:
                observer.finish(setup.labels[val_rows], kept.probabilities.numpy())
    finally:
        for observer in watching:
            observer.close()


def _new_model(setup: Setup, fold: int | str, fresh: bool) -> torch.nn.Module:
    """Weights drawn from (seed, fold); a fresh start may take pretrained ones, or those of another run's fold."""
    config = setup.config
    torch.manual_seed(int(np.random.SeedSequence(setup.stream(fold)).generate_state(1, np.uint64)[0] >> 1))
    model = new_model(config, len(setup.run.classes), config.model.pretrained and fresh)
    if config.train.init and fresh:
        _load_init(model, setup, fold)
    return model.to(setup.device)


def new_state(setup: Setup, model: torch.nn.Module) -> State:
    config, optim = setup.config, setup.config.optim
    optimizer = make_optimizer(model, optim.name, lr=optim.lr, weight_decay=optim.weight_decay,
                               momentum=optim.momentum, decay_all=optim.decay_all, layer_decay=optim.layer_decay)
    # the warm-up lets a young average forget the random start: without it 20 short epochs end in a lagging model
    ema = ModelEmaV3(model, decay=config.train.ema, use_warmup=True) if config.train.ema else None
    scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.precision == "fp16")
    return State(model, optimizer, scaler, ema)


def _load_init(model: torch.nn.Module, setup: Setup, fold: int | str) -> None:
    other = find_init(setup.config.train.init, setup.run.about, [fold])
    try:
        model.load_state_dict(load_checkpoint(other.fold(fold).weights)["state_dict"])
    except RuntimeError:
        raise UserError(f"train.init: the weights of {other.name} do not fit {setup.config.model.name}") from None


def fit_fold(setup: Setup, fold: int | str, parts: Parts, state: State,
             batches: Callable[[range], Iterator] | None = None) -> Iterator[Step | Epoch]:
    """Unpack the config into plain arguments of the loop; `batches` in place of the parts' own."""
    config, source, device = setup.config, parts.source, setup.device
    weights = None
    if config.loss.class_weights == "balanced":
        weights = balanced_weights(torch.from_numpy(source.labels), len(setup.run.classes)).to(device)
    schedule = config.schedule
    return fit(
        state, batches or parts.batches, epochs=config.train.epochs, steps_per_epoch=source.steps_per_epoch,
        prepare=parts.prepare,
        loss=make_loss(config.loss.name, label_smoothing=config.loss.label_smoothing, weights=weights,
                       focal_gamma=config.loss.focal_gamma),
        lr_at=make_schedule(schedule.name, lr=config.optim.lr, min_lr=schedule.min_lr, epochs=config.train.epochs,
                            warmup_epochs=schedule.warmup_epochs, gamma=schedule.gamma,
                            step_epochs=schedule.step_epochs, patience=schedule.patience),
        device=device, precision=setup.precision, stream=setup.stream(fold), accumulate=config.train.accumulate,
        clip=config.optim.clip, clip_mode=config.optim.clip_mode,
        mix=Mix(config.augment.mixup, config.augment.cutmix, config.augment.mix_off_epoch, len(setup.run.classes)))


def _finish(setup: Setup, fold: int | str, place: FoldDir, progress: Progress, val_rows: np.ndarray,
            about: dict[str, Any]) -> None:
    """Write what the fold leaves behind; `done` last, so that a kill here repeats this and nothing more."""
    state = progress.state
    for name, snapshot in (("best", progress.best), ("last", progress.last)):
        if snapshot:
            table = pd.DataFrame(snapshot.probabilities.numpy(), columns=list(setup.run.classes))
            images = [setup.dataset.train[row] for row in val_rows]
            table.insert(0, "image", [image.id for image in images])
            table.insert(1, "label", [image.label for image in images])
            table.insert(2, "fold", fold)
            write_csv(place.path / f"{name}.csv", table)
    keep_best = setup.config.train.keep == "best" and progress.best is not None
    weights = progress.best.weights if keep_best else state.evaluated.state_dict()
    save_checkpoint(place.weights, {"recipe": about, "run": setup.run.name, "fold": fold,
                                    "epoch": progress.best.row["epoch"] if keep_best else len(state.history),
                                    "state_dict": {key: value.detach().cpu() for key, value in weights.items()}})
    place.end("done", epochs=len(state.history), kept="best" if keep_best else "last",
              best_epoch=progress.best.row["epoch"] if progress.best else None,
              seconds=round(sum(row["seconds"] for row in state.history), 1),
              weights_sha256=file_sha256(place.weights))
    place.resume.unlink(missing_ok=True)
    place.pretrain.unlink(missing_ok=True)
