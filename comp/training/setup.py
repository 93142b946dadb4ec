"""What every fold of a run shares: the images, the split, the device, the directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from comp.batches.device_batches import choose_augment_device
from comp.batches.loader import choose_workers
from comp.batches.oversample import check_oversample
from comp.batches.policies import check_policy
from comp.data.cache import Cache, load_cache, make_square_spec
from comp.data.folds import read_folds
from comp.data.scan import Dataset, scan
from comp.engine import distributed
from comp.engine.device import choose_device, configure_allocator
from comp.engine.kernels.fuse import apply_kernels, choose_kernels
from comp.engine.optim import check_optimizer
from comp.engine.precision import choose_precision
from comp.errors import UserError, did_you_mean
from comp.files import file_sha256, read_json
from comp.metrics import METRICS
from comp.records.run import RunRecord
from comp.runs import RESERVED_DIRS, RUNS, Run, check_unchanged, find_runs, open_run
from comp.schema import Config
from comp.training.pretrain import check_pretraining
from comp.zoo.build import build_model

FULL_FOLD_SEED = 1_000_000  # the fold number that `full` draws its random stream from


@dataclass(frozen=True)
class Setup:
    run: Run
    dataset: Dataset
    folds: np.ndarray  # the fold of each training image, in the dataset's order
    labels: np.ndarray  # its class number, likewise
    cache: Cache  # its pixels, likewise
    device: torch.device
    memory_kept: bool  # whether freed blocks stay with the process
    batches: int | None = None  # --debug: no more than so many
    sharing: int = 1  # processes that train on this machine at the same time

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def precision(self) -> str:
        return self.run.record.precision

    @property
    def kernels(self) -> str:
        return self.run.record.kernels

    @property
    def augment_device(self) -> str:
        return self.run.record.augment_device

    @property
    def workers(self) -> int:
        return choose_workers(self.config.data.workers, self.device.type, self.sharing)

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen for this machine, by timing or by looking. The first three are the run's, for its life."""
        return {
            "precision": self.precision,
            "kernels": self.kernels,
            "augment": self.augment_device,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "workers": self.workers,
            "memory": "kept" if self.memory_kept else "returned",
        }

    def split(self, fold: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on and rows to validate on."""
        rows = np.arange(len(self.labels))
        train, val = (rows, rows[:0]) if fold == "full" else (rows[self.folds != fold], rows[self.folds == fold])
        if self.batches is None:
            return train, val
        some = np.random.default_rng(0).permutation(rows)  # of every class, not the first in the list
        limit = self.batches * self.config.train.batch
        return some[np.isin(some, train)][:limit], some[np.isin(some, val)][:limit]

    def stream(self, fold: int | str) -> tuple[int, int]:
        return self.config.train.seed, FULL_FOLD_SEED if fold == "full" else int(fold)


def open_setup(config: Config, device_name: str, wanted: Sequence[int | str], restart: bool = False) -> Setup:
    """Check every name and every image before anything is written, then open or make the run."""

    def opened(draft: RunRecord, choose_precision: Callable[[], str]) -> Run:
        if config.train.init and not (RUNS / config.name / "run.json").is_file():
            find_init_run(config.train.init, draft, wanted)
        return open_run(config, draft, choose_precision, restart)

    return _build_setup(config, choose_device(device_name), opened)


def setup_from_run(run: Run, device_name: str) -> Setup:
    """For more work on a run that is there."""
    return _build_setup(run.config, choose_device(device_name), lambda *_: run)


def open_benchmark_setup(config: Config, device: torch.device) -> Setup:
    """The same, precision and all, for who only measures: its run is never written, only the cache is."""
    return _build_setup(
        config, device, lambda draft, precision: Run(RUNS / config.name, config, replace(draft, precision=precision()))
    )


def _build_setup(config: Config, device: torch.device, opened: Callable[[RunRecord, Callable[[], str]], Run]) -> Setup:
    check_names(config)
    memory_kept = configure_allocator()
    dataset = scan(config.data.root)
    table = read_folds(config.folds_file, dataset).set_index("image").loc[[image.id for image in dataset.train]]
    check_split(config)
    model = new_model(config, len(dataset.classes), pretrained=False)
    check_pretraining(config, model)
    check_input(model, config, len(dataset.classes))
    square = make_square_spec(dataset.train, config.data.size, config.data.fit, config.data.crop)
    cache = load_cache(dataset.name, dataset.train, square)
    draft = _run_record(config, dataset, table, model, device)
    trial = apply_kernels(model, draft.kernels, device)
    run = distributed.call_on_rank_zero(
        lambda: opened(
            draft,
            lambda: choose_precision(
                config.train.precision, trial, device, config.data.size, min(config.train.batch, len(dataset.train))
            ),
        )
    )
    check_unchanged(run, config, draft)  # the images and the split of another machine may be others
    labels = np.array([dataset.classes.index(image.label) for image in dataset.train])
    return Setup(
        run,
        dataset,
        table["fold"].to_numpy(),
        labels,
        cache,
        device,
        memory_kept,
        sharing=distributed.local_world_size(),
    )


def open_debug_setup(config: Config, device_name: str, wanted: Sequence[int | str]) -> Setup:
    """A few batches of one epoch, always afresh, where nothing that looks for runs finds them."""
    check_names(config)
    config = config.model_copy(
        update={
            "name": f"debug/{config.name}",
            "train": config.train.model_copy(update={"epochs": 1}),
            "log": config.log.model_copy(update={"wandb": "off"}),
        }
    )
    distributed.call_on_rank_zero(lambda: shutil.rmtree(RUNS / config.name, ignore_errors=True))
    return replace(open_setup(config, device_name, wanted), batches=4)


def check_names(config: Config) -> None:
    if config.name.partition("/")[0] in set(RESERVED_DIRS) - {"debug"}:
        raise UserError(f"{RUNS / config.name} lies where nobody looks for runs; choose another name")
    check_policy(config.augment.policy)
    check_oversample(config.augment.oversample)
    check_optimizer(config.optim.name)
    if config.augment.oversample != "none" and config.train.balanced:
        raise UserError("augment.oversample and train.balanced both fill small classes up; choose one of them")
    if config.model.pretrained and config.model.init != "own":
        raise UserError(f"model.init={config.model.init} would draw over the pretrained weights; set model.init=own")
    if config.train.metric not in METRICS:
        raise UserError(f"train.metric: there is no {config.train.metric}{did_you_mean(config.train.metric, METRICS)}")


def check_split(config: Config) -> None:
    """`folds.k` and `folds.seed` are part of a run's name, so they must be true of the file it trains on."""
    about = read_json(config.folds_file.with_suffix(".json"))
    for key in ("k", "seed"):
        if key in about and about[key] != getattr(config.folds, key):  # an official split was drawn by others
            raise UserError(
                f"{config.folds_file} has {key}={about[key]}, and this asks for folds.{key}="
                f"{getattr(config.folds, key)}; set folds.{key}={about[key]}, or another folds.file"
            )


def check_input(model: nn.Module, config: Config, classes: int) -> None:
    """One pass of two blank images: a size or an argument that the model cannot take shows before anything is made."""
    size, model_name = config.data.size, config.model.name
    try:
        with torch.no_grad():
            shape = tuple(model.train()(torch.zeros(min(2, config.train.batch), 3, size, size)).shape)
    except (RuntimeError, ValueError, AssertionError, TypeError) as problem:
        raise UserError(
            f"model {model_name} does not take batches of {config.train.batch} at {size} px: "
            f"{str(problem)[:200]}; see data.size, train.batch, model.kwargs"
        ) from None
    if shape[1:] != (classes,):
        raise UserError(f"model {model_name} gives {shape[1:]} per image, not one score for each of {classes} classes")


def new_model(config: Config, classes: int, pretrained: bool) -> nn.Module:
    model = config.model
    return build_model(
        model.name,
        classes,
        size=config.data.size,
        pretrained=pretrained,
        dropout=model.dropout,
        drop_path=model.drop_path,
        init=model.init,
        kwargs=model.kwargs,
    )


def find_init_run(name: str, record: RunRecord, wanted: Sequence[int | str]) -> Run:
    """The run to start from, refused where its folds are not ours."""
    found = find_runs([name])
    if len(found) > 1:
        raise UserError(f"train.init: {name} means {len(found)} runs; name one, such as {found[0].name}")
    other = found[0]
    if other.record.folds_sha256 != record.folds_sha256:
        raise UserError(
            f"train.init: {other.name} was trained on another split, so its folds have seen images that "
            f"the folds here validate on; use a run on {record.folds_file}"
        )
    for fold in wanted:
        if not other.fold_dir(fold).is_done:
            raise UserError(f"train.init: {other.name} has no finished fold {fold}; train that first")
    return other


def _run_record(
    config: Config, dataset: Dataset, table: pd.DataFrame, model: nn.Module, device: torch.device
) -> RunRecord:
    """Return the record of a run before it is created."""
    return RunRecord(
        seed=config.train.seed,
        metric=config.train.metric,
        higher_is_better=METRICS[config.train.metric].higher_is_better,
        classes=tuple(dataset.classes),
        folds=tuple(sorted(int(fold) for fold in table["fold"].unique() if fold >= 0)),
        folds_file=str(config.folds_file),
        folds_sha256=file_sha256(config.folds_file),
        image_list_sha256=dataset.image_list_sha256,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        kernels=choose_kernels(device),
        augment_device=choose_augment_device(config.augment.device, device),
    )
