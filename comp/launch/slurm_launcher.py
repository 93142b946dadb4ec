"""Train the folds of a run as an array job of Slurm, on nodes that share the disk with the machine of the command.

A task is `train.py --fold K` in the directory of the command: it opens the run or creates it, and resumes the fold from
its last checkpoint, also after submitit has requeued it because its time ended or another user's job had priority.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import submitit
import torch
from submitit.core.utils import DelayedSubmission, FailedJobError, UncompletedJobError

from comp.cli import format_error
from comp.data.folds import parse_folds, read_folds
from comp.data.scan import scan
from comp.engine.device import choose_device
from comp.errors import UserError, shorten
from comp.files import file_exists, read_json, write_json
from comp.launch.options import LaunchOptions
from comp.observers.protocol import Observer, PauseTraining, StopTraining
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow
from comp.records.metrics import RunMetrics
from comp.runs import RUNS, FoldDir, archive_run
from comp.schema import Config
from comp.tables import HISTORY_COLUMNS, read_csv
from comp.training.checks import check_names
from comp.training.fold_monitor import FoldMonitor, PrintLine
from comp.training.fold_process import ParentObserver
from comp.training.parallel_console import ParallelConsole
from comp.training.train import run_experiment

MAX_TIMEOUTS = 1000  # a task is requeued until its fold is done
WARNING_SECONDS = 300  # before the time limit; a fold needs those of a step, or of a validation, to save
POLL_SECONDS = 1.0


def run_on_slurm(
    config: Config,
    options: LaunchOptions,
    fold: str | None = None,
    restart: bool = False,
    observers: Sequence[Observer] = (),
    cluster: str = "slurm",
) -> RunMetrics:
    """Train the requested folds that are not done yet, and return the content of metrics.json.

    Jobs that an earlier command submitted are followed, and folds without one are submitted: all at once, or for
    `observers` one after the other. `cluster` may be another executor of submitit, for tests.
    """
    check_names(config)
    dataset = scan(config.source)
    folds = parse_folds(fold, read_folds(config.folds_file, dataset, config.folds.allow_split_groups))
    path = RUNS / config.name
    if restart and file_exists(path / "run.json"):
        archive_run(path)
    missing = [fold for fold in folds if not FoldDir(path / f"fold{fold}").is_done]
    for at_once in filter(None, [[fold] for fold in missing] if observers else [missing]):
        errors = _follow(config, _submit(config, options, at_once, cluster), observers)
        if errors and observers:
            raise UserError(*errors.values())
        if errors:
            raise UserError(
                f"fold {','.join(map(str, errors))} failed (see the error above); fix the cause and run the same "
                f"command again"
            )
    return RunMetrics.read(path / "metrics.json")


@dataclass
class FoldJob:
    """The work of a task of the array. submitit pickles it, and calls `checkpoint` before it requeues the task."""

    config: Config
    fold: Fold
    device: str
    threads: int

    def __call__(self) -> str | None:
        """Train the fold; return an error, or None. A signal that the time ends saves the fold first."""
        requeue, warning = signal.getsignal(signal.SIGUSR2), WarningSignal()
        signal.signal(signal.SIGUSR2, warning.receive)
        torch.set_num_threads(self.threads)
        try:
            run_experiment(
                self.config, device=choose_device(self.device), fold=str(self.fold), observers=[ParentObserver(warning)]
            )
        except PauseTraining:
            assert callable(requeue), "submitit handles the signal"
            requeue(signal.SIGUSR2, None)
        except (UserError, OSError) as error:
            return format_error(error)
        return None

    def checkpoint(self) -> DelayedSubmission:
        """Return what the requeued task runs: the same, which resumes the fold from resume.pt."""
        return DelayedSubmission(self)


class WarningSignal:
    """The signal that a task gets before its time ends, as the parent that requests a fold to save and stop.

    The handler of submitit requeues the task and ends it wherever it is; from inside NumPy that is a SystemError.
    """

    def __init__(self) -> None:
        self.is_received = False

    def receive(self, *_: object) -> None:
        self.is_received = True

    def poll(self) -> bool:
        return self.is_received

    def send(self, message: tuple) -> None:
        """Ignore the progress, which is in the fold's files."""


def make_executor(name: str, options: LaunchOptions, cluster: str) -> submitit.AutoExecutor:
    """Return the executor of a run's jobs."""
    try:
        executor = submitit.AutoExecutor(
            RUNS / name / "slurm", cluster=cluster, slurm_max_num_timeout=MAX_TIMEOUTS, slurm_python=sys.executable
        )
    except RuntimeError:
        raise UserError("there is no Slurm here (no srun); run the command on a login node") from None
    executor.update_parameters(
        name=name.rpartition("/")[2],
        timeout_min=max(1, round(options.hours * 60)),
        cpus_per_task=options.cpus,
        gpus_per_node=1 if options.gpus else 0,
        slurm_signal_delay_s=WARNING_SECONDS,
        slurm_additional_parameters=options.slurm,
    )
    return executor


def _submit(config: Config, options: LaunchOptions, folds: Sequence[Fold], cluster: str) -> dict[Fold, submitit.Job]:
    """Return the job of each fold: that of an earlier command which has not ended, or a new one."""
    executor = make_executor(config.name, options, cluster)
    record = executor.folder / "jobs.json"
    job_ids = read_json(record) if file_exists(record) else {}
    job_class = executor._executor.job_class  # AutoExecutor has no other way to a job of an earlier command
    jobs = {fold: job_class(executor.folder, job_ids[str(fold)]) for fold in folds if str(fold) in job_ids}
    jobs = {fold: job for fold, job in jobs.items() if not job.done()}
    new = [fold for fold in folds if fold not in jobs]
    if new:
        device = "cuda" if options.gpus else "cpu"
        with executor.batch():
            submitted = [executor.submit(FoldJob(config, fold, device, options.cpus)) for fold in new]
        jobs |= dict(zip(new, submitted, strict=True))
        write_json(record, job_ids | {str(fold): job.job_id for fold, job in jobs.items()})
    print(f"{RUNS / config.name}: jobs {', '.join(job.job_id for job in jobs.values())}; logs in {executor.folder}")
    return jobs


def _follow(config: Config, jobs: dict[Fold, submitit.Job], observers: Sequence[Observer]) -> dict[Fold, str]:
    """Print what the folds log until all jobs have ended, and return the errors of those that failed. What an observer
    raises is raised: a fold that it stops for good loses its job."""
    folds = {
        fold: FollowedFold(fold, FoldDir(RUNS / config.name / f"fold{fold}"), config.train.epochs, observers)
        for fold in jobs
    }
    running = dict(jobs)
    with ParallelConsole(len(jobs), "fold") as console:
        try:
            while running:
                ended = [fold for fold, job in running.items() if job.done()]
                for followed in folds.values():
                    followed.read(console.print_line)
                for fold in ended:
                    folds[fold].error = _error(running.pop(fold))
                    folds[fold].end(console.print_line)
                fractions = {fold: folds[fold].fraction_done for fold in running if folds[fold].fraction_done}
                console.update_bar(fractions, len(jobs) - len(running))
                for followed in folds.values():
                    if followed.interruption:
                        raise followed.interruption
                if running:
                    time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            ids = " ".join(job.job_id for job in running.values())
            console.print_line("stderr", f"the jobs stay in the queue; to remove them: scancel {ids}")
            raise
        except StopTraining:
            for job in running.values():
                _cancel(job)
            for followed in folds.values():
                if followed.interruption:
                    followed.fold_dir.mark_ended("pruned")
            raise
    return {fold: followed.error for fold, followed in folds.items() if followed.error}


def _cancel(job: submitit.Job) -> None:
    """Remove a job, and wait for its end."""
    job.cancel()
    while not job.done():
        time.sleep(POLL_SECONDS)


def _error(job: submitit.Job) -> str | None:
    """Return the error of a job that has ended."""
    try:
        return job.result()
    except (FailedJobError, UncompletedJobError) as error:
        last_line = str(error).strip().splitlines()[-1]
        return f"job {job.job_id} ended without a result: {shorten(last_line)}; see {job.paths.stderr}"


def _read_history(fold_dir: FoldDir) -> list[HistoryRow]:
    """Return the epochs of a fold that have ended."""
    path = fold_dir.path / "history.csv"
    if not file_exists(path):
        return []
    rows = read_csv(path, HISTORY_COLUMNS, text_columns=()).astype(object)
    return [HistoryRow.from_dict(row, path) for row in rows.where(rows.notna(), None).to_dict("records")]


class FollowedFold(FoldMonitor):
    """A fold on the shared disk, whose files are read as they are written."""

    def __init__(self, fold: Fold, fold_dir: FoldDir, epochs: int, observers: Sequence[Observer]):
        super().__init__(fold, epochs, observers=observers)
        self.fold_dir, self.log = fold_dir, fold_dir.path / "train.log"
        self.offset = self.log.stat().st_size if self.log.is_file() else 0
        self.epochs_read = 0

    def read(self, print_line: PrintLine) -> None:
        """Print the lines that were logged since the last call, and show new epochs to the observers."""
        for line in self._new_lines():
            print_line("stdout", line)
        for row in _read_history(self.fold_dir)[self.epochs_read :]:
            self.epochs_read = row.epoch
            self.log_epoch(row)
        self.poll()

    def _new_lines(self) -> list[str]:
        """Return the whole lines that were logged since the last call, without their times."""
        if not self.log.is_file():
            return []
        with open(self.log, "rb") as file:
            file.seek(self.offset)
            content = file.read()
        whole, newline, _ = content.rpartition(b"\n")
        self.offset += len(whole + newline)
        return [line.partition("  ")[2] for line in whole.decode().splitlines()]
