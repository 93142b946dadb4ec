"""Train the rows of a paper's tables that are not trained yet, and update table.md, table.csv and table.png."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from comp.errors import UserError
from comp.papers import worker
from comp.papers.measure import measure
from comp.papers.plan import Plan, ProtocolOverrides, build_error, check_plan, is_locked, is_trained, make_plan
from comp.papers.reported import ReportedRow
from comp.papers.results import Protocol, RowResult, TrainedRow, UntrainedRow
from comp.papers.write import write_table
from comp.runs import RUNS, read_run


class PaperTable:
    """The table of a paper while its rows are trained."""

    def __init__(self, plan: Plan, device: torch.device):
        self.plan, self.device = plan, device
        self.protocol = Protocol(
            plan.paper,
            shlex.join(["python", "-m", "comp", *sys.argv[1:]]),
            list(plan.paper_configs.values()),
            [config for trainings in plan.trainings.values() for config in trainings],
            plan.seeds,
        )
        # row config -> why it cannot be trained
        self.errors = {name: error for name in plan.requested if (error := build_error(plan.trainings[name][0]))}
        self.results = [self._measure(row) for row in plan.rows]

    @property
    def directory(self) -> Path:
        """The directory of the paper's runs and table."""
        return RUNS / "papers" / self.plan.paper

    def update(self, name: str) -> None:
        """Measure the rows that share the trainings of the row config `name` again, and write the table."""
        trainings = self.plan.trainings
        self.results = [
            self._measure(result.row) if trainings[result.row.config] == trainings[name] else result
            for result in self.results
        ]
        self.write()

    def write(self) -> None:
        """Write table.md, table.csv and table.png."""
        write_table(self.directory, self.protocol, self.results)

    def message(self, name: str) -> str:
        """Return the state of the row config `name` as text: its error, its measured accuracy, or `not trained`."""
        result = next(result for result in self.results if result.row.config == name)
        return self.errors.get(name) or (_format_result(result) if isinstance(result, TrainedRow) else "not trained")

    def _measure(self, row: ReportedRow) -> RowResult:
        """Measure the finished runs of a row; without any, return it as untrained."""
        trainings = self.plan.trainings[row.config]
        paper_config = self.plan.paper_configs[row.config]
        runs = [read_run(RUNS / config.name) for config in trainings if is_trained(config)]
        if not runs:
            return UntrainedRow(row, paper_config, trainings[0], self.errors.get(row.config))
        return TrainedRow(row, paper_config, trainings[0], measure(runs, row.scored_on, self.device))


def reproduce(
    paper: str, requested: Sequence[str], seeds: int, overrides: ProtocolOverrides, device: torch.device
) -> None:
    """Train and measure the rows of a paper, or only those of the configs `requested`, and write its table."""
    plan = make_plan(paper, requested, seeds, overrides)
    check_plan(plan)
    table = PaperTable(plan, device)
    locked = _train_rows(plan, table)
    table.write()
    print(f"wrote runs/papers/{paper}/table.md, table.csv and table.png")
    if locked:
        print(f"trained by another process: {', '.join(locked)}; run the same command again when that has ended")
    if table.errors:
        raise UserError(
            f"not trained: {', '.join(table.errors)}; fix the causes printed above and run the same command again; "
            f"restart a diverged row with train.py -c runs/.../config.yaml --fold 0 --restart"
        )


def _train_rows(plan: Plan, table: PaperTable) -> list[str]:
    """Train what is not trained yet, one process per training. Return the rows that another process trains."""
    locked = []
    queue = [(name, config) for name in plan.requested for config in plan.trainings[name]]
    for position, (name, config) in enumerate(queue, 1):
        label = f"[{position}/{len(queue)}] {config.name.removeprefix(f'papers/{plan.paper}/')}"
        start = time.monotonic()
        if name not in table.errors and not is_trained(config):
            if is_locked(config):
                locked.append(name)
                print(f"{label}: another process trains it", flush=True)
                continue
            print(f"{label}: training, see {RUNS / config.name}/fold0/train.log", flush=True)
            if error := worker.train(config, table.device):
                table.errors[name] = error
            table.update(name)
        print(f"{label}: {table.message(name)}, {time.monotonic() - start:.0f} s", flush=True)
    return locked


def _format_result(result: TrainedRow) -> str:
    low, high = result.measured.interval
    reported = f", reported {result.row.reported['accuracy']:.4f}" if result.has_reported_accuracy else ""
    seeds = f" (mean of {result.measured.seeds} seeds)" if result.measured.seeds > 1 else ""
    return f"accuracy {result.accuracy:.4f} [{low:.3f}, {high:.3f}]{seeds}{reported}"
