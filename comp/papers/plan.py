"""The trainings of a paper's table, under the paper's protocol or a reduced one, and the checks before the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comp import config as configs
from comp.data.folds import read_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.papers.model_sizes import BUILD_ERRORS, count_model_size
from comp.papers.reported import ReportedRow, config_file, read_rows
from comp.runs import RUNS, FoldDir, RunLockedError, read_run
from comp.schema import Config
from comp.training.checks import check_names, check_split

FIRST_SEED = 42


@dataclass(frozen=True)
class ProtocolOverrides:
    """Deviations from a paper's protocol; the defaults are the paper's protocol itself."""

    data: str | None = None  # root of another dataset
    size: int | None = None  # side of the images in pixels
    epochs: int | None = None  # the most epochs of each stage
    overrides: tuple[str, ...] = ()  # key=value

    def make_config(self, paper_config: Config, path: Path, seed: int) -> Config:
        """Return a row's config under this protocol, named like a run of train.py with the same overrides."""
        overrides = [f"data.root={Path(self.data).as_posix()}"] if self.data else []
        overrides += [f"data.size={self.size}"] if self.size else []
        overrides += [f"train.seed={seed}"] if seed != FIRST_SEED else []
        if self.epochs:
            train = paper_config.train
            overrides += [f"train.epochs={min(self.epochs, train.epochs)}"]
            if train.pretrain_epochs:
                overrides += [f"train.pretrain_epochs={min(self.epochs, train.pretrain_epochs)}"]
        return configs.load(path, [*overrides, *self.overrides])[0]


@dataclass(frozen=True)
class Plan:
    """The rows of a paper and the configs that are trained for them."""

    paper: str
    seeds: int
    rows: list[ReportedRow]
    requested: list[str]  # the row configs to train now, in the order of the table
    paper_configs: dict[str, Config]  # row config -> the config of the paper's own protocol
    trainings: dict[str, list[Config]]  # row config -> one config per seed, under the requested protocol


def make_plan(paper: str, requested: Sequence[str], seeds: int, overrides: ProtocolOverrides) -> Plan:
    """Plan the trainings of a paper's table. Rows that a reduced protocol makes equal share their runs."""
    rows = read_rows(paper)
    requested_names = list(dict.fromkeys(row.config for row in read_rows(paper, requested)))
    names = dict.fromkeys(row.config for row in rows)
    paper_configs = {name: configs.load(config_file(paper, name))[0] for name in names}
    first_by_identity: dict[str, Config] = {}
    trainings = {}
    for name, paper_config in paper_configs.items():
        seed_configs = [
            overrides.make_config(paper_config, config_file(paper, name), FIRST_SEED + seed) for seed in range(seeds)
        ]
        trainings[name] = [
            first_by_identity.setdefault(str(sorted(config.identity().items())), config) for config in seed_configs
        ]
    return Plan(paper, seeds, rows, requested_names, paper_configs, trainings)


def check_plan(plan: Plan) -> None:
    """Check names, data, split and existing runs of all requested trainings before the first is started."""
    trainings = [config for name in plan.requested for config in plan.trainings[name]]
    for config in trainings:
        check_names(config)
    for config in {(config.data.root, config.folds_file): config for config in trainings}.values():
        _check_data(config)
    for config in trainings:
        if _has_changed(config):
            raise UserError(
                f"{RUNS / config.name} was made with another config or split; move it away and run the same command "
                f"again"
            )


def _check_data(config: Config) -> None:
    try:
        read_folds(config.folds_file, scan(config.source), config.folds.allow_split_groups)
    except UserError as error:
        hint = (
            "; convert a MedMNIST file with python -m comp data import, or choose another dataset with --data"
            if Path(config.data.root).name.startswith("bloodmnist")
            else ""
        )
        raise UserError(f"{error}{hint}") from None
    check_split(config)


def build_error(config: Config) -> str | None:
    """Return why the model of a config cannot be built, or None if it can; it takes no memory for weights."""
    try:
        count_model_size(config.model.name, config.model.kwargs, config.data.size)
    except BUILD_ERRORS as error:
        return f"model {config.model.name} cannot be built: {' '.join(str(error).split())[:200]}"
    return None


def is_trained(config: Config) -> bool:
    """Return whether fold 0 of a config's run is done and was made with this config and split."""
    path = RUNS / config.name
    return file_exists(path / "run.json") and FoldDir(path / "fold0").is_done and not _has_changed(config)


def is_locked(config: Config) -> bool:
    """Return whether another process trains fold 0 of a config's run."""
    fold_dir = FoldDir(RUNS / config.name / "fold0")
    if not fold_dir.path.is_dir():
        return False
    try:
        with fold_dir.lock():
            return False
    except RunLockedError:
        return True


def _has_changed(config: Config) -> bool:
    """Return whether a config's run exists and was made with another config or split."""
    path = RUNS / config.name
    if not file_exists(path / "run.json"):
        return False
    run = read_run(path)
    return run.config.identity() != config.identity() or run.record.folds_sha256 != file_sha256(config.folds_file)
