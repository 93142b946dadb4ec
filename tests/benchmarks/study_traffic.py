"""Measure a study's storage under many processes that train nothing: they claim, report epochs, prune and end trials.

    python -m tests.benchmarks.study_traffic 1 10 50 200
    python -m tests.benchmarks.study_traffic 1 10 50 200 --storage postgresql+psycopg://USER@HOST/DATABASE

Without --storage it is a journal in a temporary directory. A trial has 5 epochs of 10 s. Waits beyond them are printed:
a trial's overhead (its claim and its end) and that of a report. `--epoch 0` measures the overhead of a trial by itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import torch

from comp.launch.options import Trainer
from comp.observers.protocol import StopTraining
from comp.records.checkpoint import HistoryRow
from comp.study import search as searching
from comp.study import trials as running
from comp.study.pruning import FoldMedianPruner
from comp.study.store import open_store
from comp.study.study_file import StudyConfig
from comp.study.trial import TrialOutcome
from comp.text import format_table

EPOCHS = 5
NO_TRAINER = Trainer(lambda *_, **__: None, torch.device("cpu"))
SPACE = {f"key{number}": {"low": 1e-4, "high": 1.0, "log": True} for number in range(4)} | {"name": ["a", "b", "c"]}


def work(name: str, url: str | None, seconds: float, epoch_seconds: float, results: Path) -> None:
    """Run trials for `seconds` in a process of its own, and write what each part of them took."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = StudyConfig(name=name, base="none", folds=0, space=SPACE)
    store = open_store(name, url)
    optuna_study = store.claim(
        lambda _: optuna.create_study(
            storage=store.storage, study_name=name, load_if_exists=True, direction="maximize",
            pruner=FoldMedianPruner(EPOCHS, True),
        )
    )  # fmt: skip
    search = searching.Search(study, 10**6, optuna_study, store, "accuracy", EPOCHS)
    rng = np.random.default_rng(os.getpid())
    reports: list[float] = []
    overheads: list[float] = []

    def train(study, number, values, trainer, observers):
        spent.append(time.perf_counter() - started[0])
        try:
            for epoch in range(1, EPOCHS + 1):
                time.sleep(epoch_seconds)
                before = time.perf_counter()
                observers[0].log_epoch(0, HistoryRow(epoch, epoch, 0.1, 1.0, 1.0, rng.random(), 1.0, 1.0, 0.1, 0.1))
                reports.append(time.perf_counter() - before)
            return TrialOutcome("complete", (float(rng.random()),))
        except StopTraining:
            return TrialOutcome("pruned")
        finally:
            ended[0] = time.perf_counter()

    searching.run_trial = train
    started, ended, spent = [0.0], [0.0], []
    deadline = time.monotonic() + seconds
    time.sleep(rng.random() * EPOCHS * epoch_seconds)  # trials do not begin in the same moment
    while time.monotonic() < deadline:
        started[0] = time.perf_counter()
        claimed = store.claim(lambda claims: running._claim_trial(search, claims))
        with claimed.hold:
            running.write_study_record(search)
            running._run_claimed(search, claimed, NO_TRAINER, lambda _: ())
            running.write_study_record(search)
        overheads.append(spent[-1] + time.perf_counter() - ended[0])
    np.savez(results / f"{os.getpid()}.npz", reports=reports, overheads=overheads)


def measure(processes: int, url: str | None, seconds: float, epoch_seconds: float) -> list[str]:
    """Return a row of the table."""
    name = f"traffic-{uuid.uuid4().hex[:8]}"
    results = Path(tempfile.mkdtemp(dir="."))
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=work, args=(name, url, seconds, epoch_seconds, results)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    files = [np.load(file) for file in results.glob("*.npz")]
    overheads, reports = (np.concatenate([file[key] for file in files]) for key in ("overheads", "reports"))
    failed = sum(worker.exitcode != 0 for worker in workers)
    return [str(processes), str(len(overheads)), str(failed), *_percentiles(overheads), *_percentiles(reports)]


def _percentiles(seconds: np.ndarray) -> list[str]:
    return [f"{np.percentile(seconds, share):.2f}" for share in (50, 95)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processes", nargs="+", type=int)
    parser.add_argument("--storage", metavar="URL")
    parser.add_argument("--seconds", type=float, default=60, help="begin no trial after this time")
    parser.add_argument("--epoch", type=float, default=10, help="seconds of an epoch")
    args = parser.parse_args(arguments)
    titles = ("processes", "trials", "failed", "overhead (s)", "p95", "report (s)", "p95")
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        rows = []
        for processes in args.processes:
            rows.append(measure(processes, args.storage, args.seconds, args.epoch))
            print(format_table(titles, rows), flush=True)


if __name__ == "__main__":
    main()
