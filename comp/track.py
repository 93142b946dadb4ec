"""Observers of a fold's training: the progress bar and console lines, and W&B. The only file that names wandb."""

from __future__ import annotations

import hashlib
import netrc
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from comp.engine.fit import Step
from comp.runs import Run


class StopTraining(Exception):
    """What an observer raises to end a fold early for good; its status becomes `pruned`."""


class PauseTraining(KeyboardInterrupt):
    """What an observer raises to leave a fold where it is: it is saved first, and the same command goes on."""


class Observer(Protocol):
    def step(self, event: Step, images: int) -> None: ...
    def epoch(self, fold: int | str, row: dict[str, Any]) -> None: ...
    def finish(self, truth: np.ndarray, probabilities: np.ndarray) -> None: ...
    def close(self) -> None: ...


def log_line(line: str, bar: tqdm, log: Path) -> None:
    """Above the bar, and with the time in train.log."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")


class ConsoleObserver:
    """A bar over all images of the fold, and a line per epoch, on stdout and in train.log."""

    def __init__(self, fold: int | str, log: Path, metric: str, epochs: int, images_per_epoch: int, done: int):
        self.metric, self.epochs, self.log = metric, epochs, log
        self.bar = tqdm(
            total=epochs * images_per_epoch,
            initial=done,
            unit="img",
            desc=f"fold {fold}",
            disable=None,
            leave=False,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.images_per_epoch, self.score = images_per_epoch, None

    def step(self, event: Step, images: int) -> None:
        self._move(event.epoch * self.images_per_epoch + images, loss=event.loss, lr=event.lr)

    def epoch(self, fold: int | str, row: dict[str, Any]) -> None:
        self.score = row["val_score"]
        self._move(row["epoch"] * self.images_per_epoch, loss=row["train_loss"], lr=row["lr"])
        scored = (
            "" if row["val_score"] is None else f"  val {row['val_loss']:.4f}  {self.metric} {row['val_score']:.4f}"
        )
        self.say(
            f"fold {fold}  epoch {row['epoch']:>{len(str(self.epochs))}}/{self.epochs}  "
            f"loss {row['train_loss']:.4f}{scored}  lr {row['lr']:.2e}  {row['images_per_second']:.0f} img/s  "
            f"{row['seconds']:.0f} s"
        )

    def say(self, line: str) -> None:
        log_line(line, self.bar, self.log)

    def finish(self, truth: np.ndarray, probabilities: np.ndarray) -> None:
        pass

    def close(self) -> None:
        self.bar.close()

    def _move(self, images: int, *, loss: float, lr: float) -> None:
        score = {} if self.score is None else {self.metric: f"{self.score:.4f}"}
        self.bar.set_postfix(loss=f"{loss:.3f}", **score, lr=f"{lr:.1e}", refresh=False)
        self.bar.update(images - self.bar.n)


class WandbObserver:
    """A mirror of what is on disk. When it fails, training goes on, with one warning."""

    def __init__(self, run: Run, mode: str, job: str, label: str):
        self.classes, self.run = run.classes, None
        self._guard(self._start, run, mode, job, label)

    def _start(self, run: Run, mode: str, job: str, label: str) -> None:
        import wandb

        # one id per run and fold: a resumed fold goes on in the same W&B run
        identity = hashlib.sha256(f"{run.path.resolve()} {run.record.created} {label}".encode()).hexdigest()[:16]
        folder = run.path / "wandb"
        folder.mkdir(exist_ok=True)
        self.run = wandb.init(
            project=run.config.log.project or run.config.dataset,
            group=run.name,
            job_type=job,
            name=f"{run.name}-{label}",
            id=identity,
            resume="allow",
            mode=mode,
            dir=str(folder),
            config={**run.config.model_dump(), "label": label},
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.run.define_metric("*", step_metric="epoch")  # a resumed fold repeats epochs, not W&B's own counter

    def step(self, event: Step, images: int) -> None:
        pass

    def epoch(self, fold: int | str, row: dict[str, Any]) -> None:
        self._guard(lambda: self.run.log({key: value for key, value in row.items() if value is not None}))

    def finish(self, truth: np.ndarray, probabilities: np.ndarray) -> None:
        def send():
            import wandb

            self.run.log(
                {
                    "confusion": wandb.plot.confusion_matrix(
                        y_true=truth.tolist(), preds=probabilities.argmax(1).tolist(), class_names=list(self.classes)
                    )
                }
            )

        self._guard(send)

    def summary(self, facts: dict[str, Any]) -> None:
        self._guard(lambda: self.run.summary.update(facts))

    def close(self) -> None:
        failed = sys.exc_info()[0] is not None  # closed on the way out of an error: W&B then shows a crashed run
        self._guard(lambda: self.run.finish(exit_code=int(failed)))
        self.run = None

    def _guard(self, action, *arguments) -> None:
        if self.run is None and not arguments:
            return  # it failed before
        try:
            action(*arguments)
        except Exception as problem:  # anything at all: W&B must never cost a training
            self.run = None
            print(
                f"warning: W&B failed and is off for this fold: {type(problem).__name__}: "
                f"{' '.join(str(problem).split())[:200]}",
                file=sys.stderr,
            )


def wandb_mode(wanted: str) -> str:
    """`auto` is online where a key is there, else off; nothing here ever prompts."""
    if wanted != "auto":
        return wanted
    if os.environ.get("WANDB_MODE") in ("online", "offline", "disabled"):
        return os.environ["WANDB_MODE"].replace("disabled", "off")
    return "online" if os.environ.get("WANDB_API_KEY") or _key_in_netrc() else "off"


def wandb_observers(run: Run, job: str, label: str) -> Sequence[WandbObserver]:
    mode = wandb_mode(run.config.log.wandb)
    return () if mode == "off" else (WandbObserver(run, mode, job, label),)


def _key_in_netrc() -> bool:
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
