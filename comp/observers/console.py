"""A progress bar per fold and a line per epoch, on stdout and in train.log."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from comp.engine.fit import Step
from comp.files import file_exists
from comp.progress_bar import Bar, progress_bar
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow


def log_line(line: str, bar: Bar, log: Path) -> None:
    """Print a line above the bar, and append it with the time to the file `log`."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()
    file_exists(log)  # a UserError for a pipe: open() would wait for its reader
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")


class ConsoleObserver:
    """A bar over all images of the fold's training, and a line per epoch.

    `images_done` were trained on before this process resumed the fold.
    """

    def __init__(self, fold: Fold, log: Path, metric: str, epochs: int, images_per_epoch: int, images_done: int):
        self.metric, self.epochs, self.log = metric, epochs, log
        self.images_per_epoch = images_per_epoch
        self.score: float | None = None
        self.bar = progress_bar(
            total=epochs * images_per_epoch,
            initial=images_done,
            unit="img",
            desc=f"fold {fold}",
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def log_step(self, event: Step, images: int) -> None:
        self._update_bar(event.epoch * self.images_per_epoch + images, loss=event.loss, lr=event.lr)

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        self.score = row.val_score
        self._update_bar(row.epoch * self.images_per_epoch, loss=row.train_loss, lr=row.lr)
        validation = ""
        if row.val_score is not None:
            validation = f"  val {row.val_loss:.4f}  {self.metric} {row.val_score:.4f}"
        self.log_line(
            f"fold {fold}  epoch {row.epoch:>{len(str(self.epochs))}}/{self.epochs}  "
            f"loss {row.train_loss:.4f}{validation}  lr {row.lr:.2e}  {row.images_per_second:.0f} img/s  "
            f"{row.seconds:.0f} s"
        )

    def log_line(self, line: str) -> None:
        """Print a line above this bar and append it to train.log."""
        log_line(line, self.bar, self.log)

    def log_end(self) -> None:
        pass

    def close(self) -> None:
        self.bar.close()

    def _update_bar(self, images: int, *, loss: float, lr: float) -> None:
        score = {} if self.score is None else {self.metric: f"{self.score:.4f}"}
        self.bar.set_postfix({"loss": f"{loss:.3f}", **score, "lr": f"{lr:.1e}"}, refresh=False)
        self.bar.update(images - self.bar.n)
