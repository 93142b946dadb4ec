"""TensorBoard as a mirror of history.csv; the only file that imports torch.utils.tensorboard."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from comp.engine.fit import Step
from comp.errors import UserError
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow


def check_tensorboard() -> None:
    """Raise a UserError unless TensorBoard is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "log.tensorboard=true needs TensorBoard; install it with pip install -e '.[tensorboard]', or set "
            "log.tensorboard=false"
        )


class TensorBoardObserver:
    """Event files in `directory` with each column of history.csv as a curve over epochs.

    `epochs_done` are in the files of an earlier process. What that process logged of later epochs, which are trained
    again, is purged.
    """

    def __init__(self, directory: Path, epochs_done: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory), purge_step=epochs_done + 1 if epochs_done else None)

    def log_step(self, event: Step, images: int) -> None:
        """Ignore steps: a curve has a point per epoch."""

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        """Write the row that history.csv gets."""
        for name, value in row.to_dict().items():
            if value is not None and name != "epoch":
                self.writer.add_scalar(name, value, row.epoch)
        self.writer.flush()

    def log_end(self) -> None:
        """Ignore the end: nothing is summarised here."""

    def close(self) -> None:
        """Close the event file."""
        self.writer.close()
