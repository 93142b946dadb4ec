"""Measure the CPU time that W&B takes beside a training: the epochs of a finished run are logged again, offline.

    python -m tests.benchmarks.tracking demo

Epochs follow each other as fast as 90 s per fold allow, so that system metrics are recorded as in a training. Files go
to a temporary directory. W&B's own process is counted.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import comp.training.fold_training  # noqa: F401  what a training has imported anyway
from comp.observers.wandb import WandbObserver, write_run
from comp.runs import find_runs
from comp.track.dataset import scan_dataset
from comp.track.fold import fold_config, track_fold
from comp.track.summary import read_metrics, track_summary

SECONDS_PER_FOLD = 90


def main(name: str) -> None:
    [run] = find_runs([name])
    dataset, metrics = scan_dataset(run), read_metrics(run)
    contents = [track_fold(run, fold, dataset) for fold in run.folds_done()]
    trained = sum(run.fold_dir(fold).read_record().seconds for fold in run.folds_done())
    with TemporaryDirectory() as directory:
        start = _cpu_seconds()
        for fold, content in zip(run.folds_done(), contents, strict=True):
            content = replace(content, identity=replace(content.identity, directory=Path(directory)))
            observer = WandbObserver(
                content.identity, fold_config(run, fold), "offline", lambda content=content: content
            )
            for row in content.history:
                time.sleep(SECONDS_PER_FOLD / len(content.history))
                observer.log_epoch(fold, row)
            observer.log_end()
            observer.close()
        summary = track_summary(run, metrics, dataset)
        write_run(replace(summary, identity=replace(summary.identity, directory=Path(directory))), "offline")
        import wandb

        wandb.teardown()
        used = _cpu_seconds() - start
    print(f"W&B: {used:.1f} s of CPU time, {used / trained:.1%} of the {trained:.0f} s that the folds were trained")


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main(sys.argv[1])
