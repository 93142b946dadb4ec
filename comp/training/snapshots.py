"""The weights of a fold's last epochs, while it is not yet known which epoch is the last."""

from __future__ import annotations

from collections.abc import Collection

from comp.records.weights import ModelSpec
from comp.runs import FoldDir
from comp.schema import Config
from comp.training.outputs import write_weights
from comp.training.progress import FoldProgress
from comp.training.setup import Setup


def snapshot_epochs(config: Config, last: int) -> range:
    """The epochs that are kept of a training of so many, counted from 1."""
    return range(max(1, last - config.train.snapshots + 1), last + 1)


def should_keep_snapshot(config: Config, epoch: int) -> bool:
    """Whether that epoch may turn out to be one of those: with early stopping, any may."""
    return config.train.snapshots > 0 and (
        config.train.patience is not None or epoch in snapshot_epochs(config, config.train.epochs)
    )


def save_snapshot(setup: Setup, fold: int | str, place: FoldDir, progress: FoldProgress, spec: ModelSpec) -> None:
    """The progress is saved before an older snapshot goes, so a killed training never goes back behind one it needs."""
    state = progress.state
    epoch = len(state.history)
    write_weights(place.snapshot_path(epoch), setup.run, fold, epoch, spec, state.eval_model.state_dict())
    progress.save(place)
    delete_snapshots(place, snapshot_epochs(setup.config, epoch))


def delete_snapshots(place: FoldDir, all_but: Collection[int]) -> None:
    """And whatever a process that was killed in mid-save left there."""
    wanted = {place.snapshot_path(epoch) for epoch in all_but}
    for file in place.snapshot_path(0).parent.glob("*"):
        if file not in wanted:
            file.unlink()
