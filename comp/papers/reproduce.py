"""Train what a paper's tables need and is not trained yet, and keep the table up to date."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comp import config as configs
from comp.data.folds import read_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.files import file_sha256
from comp.papers import worker
from comp.papers.measure import measure
from comp.papers.model_sizes import count_model_size
from comp.papers.reported import ReportedRow, config_file, read_rows
from comp.papers.results import Protocol, RowResult
from comp.papers.write import write_table
from comp.runs import RUNS, FoldDir, RunLockedError, read_run
from comp.schema import Config
from comp.training.setup import check_names, check_split

FIRST_SEED = 42


@dataclass(frozen=True)
class ProtocolOverrides:
    """What is smaller than in the paper; None and no overrides: nothing is."""

    data: str | None = None
    size: int | None = None
    epochs: int | None = None
    overrides: tuple[str, ...] = ()

    def configure(self, own: Config, path: Path, seed: int) -> Config:
        """A row's config under this protocol, named like any run of train.py with the same overrides."""
        asked = [f"data.root={Path(self.data).as_posix()}"] if self.data else []
        asked += [f"data.size={self.size}"] if self.size else []
        asked += [f"train.seed={seed}"] if seed != FIRST_SEED else []
        if self.epochs:
            asked += [f"train.epochs={min(self.epochs, own.train.epochs)}"]
            if own.train.pretrain_epochs:
                asked += [f"train.pretrain_epochs={min(self.epochs, own.train.pretrain_epochs)}"]
        return configs.load(path, [*asked, *self.overrides])[0]


def reproduce(paper: str, wanted: Sequence[str], seeds: int, reduced: ProtocolOverrides, device: str = "auto") -> None:
    rows = read_rows(paper)
    chosen = list(dict.fromkeys(row.config for row in read_rows(paper, wanted)))
    own = {name: configs.load(config_file(paper, name))[0] for name in dict.fromkeys(row.config for row in rows)}
    plans = _plan(paper, own, seeds, reduced)
    _check([config for name in chosen for config in plans[name]])
    failed = {name: problem for name in chosen if (problem := _build_error(plans[name][0]))}
    protocol = Protocol(
        paper,
        shlex.join(["python", "-m", "comp", *sys.argv[1:]]),
        list(own.values()),
        [config for plan in plans.values() for config in plan],
        seeds,
    )
    lines = [_line(row, own, plans, device, failed) for row in rows]
    busy = []
    todo = [(name, config) for name in chosen for config in plans[name]]
    for number, (name, config) in enumerate(todo, 1):
        label, start = f"[{number}/{len(todo)}] {config.name.removeprefix(f'papers/{paper}/')}", time.monotonic()
        if name not in failed and not _trained(config):
            if _is_locked(config):
                busy.append(name)
                print(f"{label}: another process trains it", flush=True)
                continue
            print(f"{label}: training, see {RUNS / config.name}/fold0/train.log", flush=True)
            if problem := worker.train(config, device):
                failed[name] = problem
            lines = [
                _line(line.row, own, plans, device, failed) if plans[line.row.config] == plans[name] else line
                for line in lines
            ]
            write_table(RUNS / "papers" / paper, protocol, lines)
        told = failed.get(name) or _format_result(next(line for line in lines if line.row.config == name))
        print(f"{label}: {told}, {time.monotonic() - start:.0f} s", flush=True)
    write_table(RUNS / "papers" / paper, protocol, lines)
    print(f"wrote runs/papers/{paper}/table.md, table.csv and table.png")
    if busy:
        print(f"left to another process: {', '.join(busy)}; give the same command again when that has ended")
    if failed:
        raise UserError(
            f"not trained: {', '.join(failed)}; mend what the lines above say and give the same command "
            f"again; a diverged row begins anew with train.py -c runs/.../config.yaml --fold 0 --restart"
        )


def _plan(paper: str, own: dict[str, Config], seeds: int, reduced: ProtocolOverrides) -> dict[str, list[Config]]:
    """The configs to train for each row, one per seed. Rows that a reduced protocol makes equal share their runs."""
    first: dict[str, Config] = {}
    plans = {}
    for name, config in own.items():
        wanted = [reduced.configure(config, config_file(paper, name), FIRST_SEED + seed) for seed in range(seeds)]
        plans[name] = [first.setdefault(str(sorted(each.identity().items())), each) for each in wanted]
    return plans


def _check(plans: Sequence[Config]) -> None:
    """Names, data, split and what is there already: before the first row is trained."""
    for config in plans:
        check_names(config)
    for config in {(config.data.root, config.folds_file): config for config in plans}.values():
        try:
            read_folds(config.folds_file, scan(config.data.root))
        except UserError as problem:
            medmnist = (
                "; a MedMNIST file becomes such a dataset with python -m comp data import, and --data takes another one"
                if Path(config.data.root).name.startswith("bloodmnist")
                else ""
            )
            raise UserError(f"{problem}{medmnist}") from None
        check_split(config)
    for config in plans:
        if _config_changed(config):
            raise UserError(
                f"{RUNS / config.name} was made with another config or split; move it away and give the "
                f"same command again"
            )


def _build_error(config: Config) -> str | None:
    """Why its model cannot be, tried without memory for its weights."""
    try:
        count_model_size(config.model.name, config.model.kwargs, config.data.size)
    except (KeyError, RuntimeError, ValueError, TypeError) as problem:
        return f"model {config.model.name} cannot be built: {' '.join(str(problem).split())[:200]}"
    return None


def _config_changed(config: Config) -> bool:
    path = RUNS / config.name
    if not (path / "run.json").is_file():
        return False
    run = read_run(path)
    return run.config.identity() != config.identity() or run.record.folds_sha256 != file_sha256(config.folds_file)


def _trained(config: Config) -> bool:
    path = RUNS / config.name
    return (path / "run.json").is_file() and FoldDir(path / "fold0").is_done and not _config_changed(config)


def _is_locked(config: Config) -> bool:
    place = FoldDir(RUNS / config.name / "fold0")
    if not place.path.is_dir():
        return False
    try:
        place.lock().release()
    except RunLockedError:
        return True
    return False


def _line(
    row: ReportedRow, own: dict[str, Config], plans: dict[str, list[Config]], device: str, failed: dict[str, str]
) -> RowResult:
    done = [read_run(RUNS / config.name) for config in plans[row.config] if _trained(config)]
    measured = measure(done, row.scored_on, device) if done else None
    return RowResult(row, own[row.config], plans[row.config][0], measured, failed.get(row.config))


def _format_result(line: RowResult) -> str:
    low, high = line.measured.interval
    beside = f", reported {line.row.reported['accuracy']:.4f}" if "accuracy" in line.row.reported else ""
    mean = f" (mean of {line.measured.seeds} seeds)" if line.measured.seeds > 1 else ""
    return f"accuracy {line.measured.scores['accuracy']:.4f} [{low:.3f}, {high:.3f}]{mean}{beside}"
