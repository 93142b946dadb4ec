"""Train what a paper's tables need and is not trained yet, a process per row, and keep the table up to date."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from comp import config as configs
from comp import experiment
from comp.data.folds import read_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.experiment.setup import check_names, check_split
from comp.runs import RUNS, read_run
from comp.schema import Config
from comp.study.papers.line import Line, Protocol
from comp.study.papers.measure import Measured, measure
from comp.study.papers.rows import Row, read_rows
from comp.study.papers.table import write_table
from comp.tables import file_sha256

FIRST_SEED = 42


@dataclass(frozen=True)
class Reduced:
    """What is smaller than in the paper; None and no overrides: nothing is."""
    data: str | None = None
    size: int | None = None
    epochs: int | None = None
    overrides: tuple[str, ...] = ()

    def configure(self, row: Row, paper: str, seed: int) -> Config:
        """The row's config under this protocol, named like any run of train.py with the same overrides."""
        asked = [f"data.root={self.data}"] if self.data else []
        asked += [f"data.size={self.size}"] if self.size else []
        asked += [f"train.seed={seed}"] if seed != FIRST_SEED else []
        if self.epochs:
            full = configs.load(row.config_file(paper))[0].train
            asked += [f"train.epochs={min(self.epochs, full.epochs)}"]
            if full.pretrain_epochs:
                asked += [f"train.pretrain_epochs={min(self.epochs, full.pretrain_epochs)}"]
        return configs.load(row.config_file(paper), [*asked, *self.overrides])[0]

    def words(self) -> list[str]:
        return [*([f"data {self.data}"] if self.data else []), *([f"{self.size} px"] if self.size else []),
                *([f"at most {self.epochs} epochs"] if self.epochs else []), *self.overrides]


def reproduce(paper: str, wanted: Sequence[str], seeds: int, reduced: Reduced, device: str = "auto") -> None:
    rows = read_rows(paper)
    chosen = {row.config for row in read_rows(paper, wanted)}
    plans = {row.config: [reduced.configure(row, paper, FIRST_SEED + each) for each in range(seeds)] for row in rows}
    _check([config for name in chosen for config in plans[name]])
    todo = [(name, config) for name, each in plans.items() if name in chosen for config in each]
    failed: dict[str, str] = {}
    lines = [_line(row, paper, plans[row.config], device) for row in rows]
    for number, (name, config) in enumerate(todo, 1):
        start = time.monotonic()
        problem = None if _trained(config) else _train(config, device)
        if problem:
            failed[name] = problem
        lines = [_line(line.row, paper, plans[name], device, problem) if line.row.config == name else line
                 for line in lines]
        write_table(RUNS / "papers" / paper, _protocol(paper, plans, reduced, seeds), lines)
        print(f"[{number}/{len(todo)}] {config.name.removeprefix(f'papers/{paper}/')}: "
              f"{problem or _told(lines, name)}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"wrote runs/papers/{paper}/table.md, table.csv and table.png")
    if failed:
        raise UserError(f"{len(failed)} rows could not be trained: {', '.join(failed)}; mend what the lines above say "
                        f"and give the same command again")


def _check(plans: Sequence[Config]) -> None:
    """All that can be wrong with any row is found before the first is trained."""
    for config in plans:
        check_names(config)
    for root in {config.data.root for config in plans}:
        try:
            dataset = scan(root)
        except UserError as problem:
            raise UserError(f"{problem}; a MedMNIST file becomes such a dataset with python -m comp data import, and "
                            f"--data takes another one") from None
        for config in {config.folds_file: config for config in plans if config.data.root == root}.values():
            read_folds(config.folds_file, dataset)
            check_split(config)


def _trained(config: Config) -> bool:
    path = RUNS / config.name
    if not (path / "run.json").is_file():
        return False
    run = read_run(path)
    if run.config.identity() != config.identity() or run.about["folds_sha256"] != file_sha256(config.folds_file):
        raise UserError(f"{path} was made with another config or split; move it away and give the same command again")
    return run.fold(0).done


def _train(config: Config, device: str) -> str | None:
    """In a process of its own, so that the peak memory is this row's and a row that is killed costs no other.
    Returns what went wrong."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_die_with_parent)
    try:
        return pool.submit(_train_here, config, device).result()
    except BrokenProcessPool:
        return "its process was killed, perhaps for want of memory"
    finally:
        pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """A killed parent must not leave a training behind that holds the fold's lock."""
    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)
    threading.Thread(target=wait, daemon=True).start()


def _train_here(config: Config, device: str) -> str | None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # train.log has the lines of epochs
        try:
            experiment.run_experiment(config, fold="0", device=device)
        except (UserError, OSError) as problem:
            return " ".join(str(problem).split())
    return None


def _line(row: Row, paper: str, plan: Sequence[Config], device: str, failed: str | None = None) -> Line:
    done = [read_run(RUNS / config.name) for config in plan if _trained(config)]
    measured = measure(done, row.scored_on, device) if done else None
    return Line(row, configs.load(row.config_file(paper))[0], plan[0], measured, failed)


def _told(lines: Sequence[Line], name: str) -> str:
    measured: Measured = next(line.measured for line in lines if line.row.config == name)
    reported = next((line.row.reported["accuracy"] for line in lines
                     if line.row.config == name and "accuracy" in line.row.reported), None)
    low, high = measured.interval
    beside = "" if reported is None else f", reported {reported:.4f}"
    return f"accuracy {measured.scores['accuracy']:.4f} [{low:.3f}, {high:.3f}]{beside}"


def _protocol(paper: str, plans: dict[str, list[Config]], reduced: Reduced, seeds: int) -> Protocol:
    theirs = {configs.load(Row("", "", name, {}, "", "", "").config_file(paper))[0].dataset for name in plans}
    ours = {each.dataset for plan in plans.values() for each in plan}
    words = reduced.words() + ([f"{seeds} seed{'s' * (seeds > 1)}"] if reduced.words() else [])
    return Protocol(paper, shlex.join(["python", "-m", "comp", *sys.argv[1:]]), words, sorted(theirs), sorted(ours))
