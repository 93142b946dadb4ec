"""The weights of a fold's last epochs (`train.snapshots`), kept while the last epoch is not known yet."""

from __future__ import annotations

from collections.abc import Collection

from comp.files import file_sha256
from comp.records.base import Fold
from comp.records.weights import ModelSpec, WeightsFile
from comp.runs import FoldDir
from comp.schema import Config
from comp.training.progress import FoldProgress
from comp.training.setup import Setup


def snapshot_epochs(config: Config, last_epoch: int) -> range:
    """Return the epochs whose snapshots are kept when `last_epoch` is the last; epochs are counted from 1."""
    return range(max(1, last_epoch - config.train.snapshots + 1), last_epoch + 1)


def should_keep_snapshot(config: Config, epoch: int) -> bool:
    """Return whether `epoch` may be one of the last epochs; with early stopping any epoch may."""
    return config.train.snapshots > 0 and (
        config.train.patience is not None or epoch in snapshot_epochs(config, config.train.epochs)
    )


def save_snapshot(setup: Setup, fold: Fold, fold_dir: FoldDir, progress: FoldProgress, spec: ModelSpec) -> None:
    """Save the weights of the current epoch, then the progress, and only then delete older snapshots: a killed training
    never resumes before a snapshot that it still needs."""
    state = progress.state
    epoch = len(state.history)
    WeightsFile(spec, setup.run.name, fold, epoch, state.eval_model.state_dict()).write(fold_dir.snapshot_path(epoch))
    progress.save(fold_dir)
    delete_snapshots(fold_dir, snapshot_epochs(setup.config, epoch))


def delete_snapshots(fold_dir: FoldDir, keep_epochs: Collection[int]) -> None:
    """Delete the other snapshots, and whatever a process that was killed while saving left beside them."""
    keep = {fold_dir.snapshot_path(epoch) for epoch in keep_epochs}
    for file in fold_dir.snapshot_path(0).parent.glob("*"):
        if file not in keep:
            file.unlink()


def snapshot_hashes(fold_dir: FoldDir) -> dict[str, str]:
    """Return the SHA-256 of each snapshot, by the name of its file."""
    return {file.name: file_sha256(file) for file in sorted(fold_dir.snapshot_path(0).parent.glob("epoch*.pt"))}
