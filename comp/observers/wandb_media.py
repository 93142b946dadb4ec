"""Tables, charts and artifacts as objects of W&B, whose files are named by paths below the current directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comp.observers.tracked import ArtifactFiles, Cell, ConfusionChart, TableRows

if TYPE_CHECKING:
    import wandb


def log_artifact(run: wandb.Run, content: ArtifactFiles, used: bool) -> None:
    """Write an artifact as an output of the run, or as an input. One that W&B has already is not sent again."""
    import wandb

    artifact = wandb.Artifact(content.name, content.kind, metadata=dict(content.metadata))
    for name, path in content.files.items():
        # not copied: neither before the upload (the files of a finished run stay as they are) nor after it
        artifact.add_file(os.path.relpath(path), name, policy="immutable", skip_cache=True)
    # `use_artifact` does the same online, and is refused offline
    run._log_artifact(artifact, is_user_created=used, use_after_commit=used)


def log_table(run: wandb.Run, key: str, content: TableRows, directory: Path) -> None:
    """Set a summary value of the run to a table."""
    import wandb

    table = wandb.Table(list(content.columns), [[_to_cell(cell) for cell in row] for row in content.rows])
    _log_files_of_table(run, key, table, directory)
    run.summary[key] = table


def log_confusion(run: wandb.Run, chart: ConfusionChart, step: int, directory: Path) -> None:
    """Log a confusion matrix as the chart `confusion`."""
    import wandb

    plot = wandb.plot.confusion_matrix(
        y_true=chart.targets.tolist(), preds=chart.predicted.tolist(), class_names=list(chart.classes)
    )
    _log_files_of_table(run, "confusion_table", plot.table, directory)
    run.log({"confusion": plot}, step=step, commit=True)


def _log_files_of_table(run: wandb.Run, key: str, table: wandb.Table, directory: Path) -> None:
    """Log the files of a table as the client would, but by relative paths and in the folder of the run.

    The client's own artifact names the home directory, and an offline run could not be uploaded from another machine.
    """
    import wandb

    artifact = wandb.Artifact(f"{key}-{run.id}", "table")
    with _staging_folder(directory):
        artifact.add(table, key)
    for entry in artifact.manifest.entries.values():
        entry.local_path = entry.local_path and os.path.relpath(entry.local_path)
    run._log_artifact(artifact)
    table.bind_to_run(run, key, "summary")


@contextlib.contextmanager
def _staging_folder(directory: Path) -> Iterator[None]:
    """Let the client copy files into `directory`/artifacts, and not below the home directory."""
    name, before = "WANDB_DATA_DIR", os.environ.get("WANDB_DATA_DIR")
    os.environ[name] = str(directory)
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _to_cell(cell: Cell) -> object:
    import wandb

    return wandb.Image(cell, file_type="jpg") if isinstance(cell, np.ndarray) else cell
