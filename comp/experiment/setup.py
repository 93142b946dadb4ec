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

from comp.data.cache import Cache, load_cache, square_for
from comp.data.device_batches import choose_augment_device
from comp.data.folds import read_folds
from comp.data.loader import choose_workers
from comp.data.oversample import check_oversample
from comp.data.policies import check_policy
from comp.data.scan import Dataset, scan
from comp.engine import ranks
from comp.engine.device import choose_device, choose_precision, keep_freed_memory
from comp.engine.fused import choose_kernels, fuse
from comp.engine.optim import check_optimizer
from comp.errors import UserError, nearest
from comp.experiment.pretrain import check_pretraining
from comp.metrics import METRICS
from comp.runs import APART, RUNS, Run, find_runs, load_checkpoint, open_run, refuse_changes
from comp.schema import Config
from comp.tables import file_sha256, read_json
from comp.zoo.build import build_model, normalisation

FULL = 1_000_000  # the fold number that `full` draws its random stream from


@dataclass(frozen=True)
class Setup:
    run: Run
    dataset: Dataset
    folds: np.ndarray        # the fold of each training image, in the dataset's order
    labels: np.ndarray       # its class number, likewise
    cache: Cache             # its pixels, likewise
    device: torch.device
    memory_kept: bool            # whether freed blocks stay with the process
    batches: int | None = None   # --debug: no more than so many
    sharing: int = 1             # processes that train on this machine at the same time

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def precision(self) -> str:
        return self.run.about["precision"]

    @property
    def kernels(self) -> str:
        return self.run.about.get("kernels", "torch")

    @property
    def augment_device(self) -> str:
        return self.run.about.get("augment_device", "cpu")

    @property
    def workers(self) -> int:
        return choose_workers(self.config.data.workers, self.device.type, self.sharing)

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen for this machine, by timing or by looking. The first three are the run's, for its life."""
        return {"precision": self.precision, "kernels": self.kernels, "augment": self.augment_device,
                "device": str(self.device), "threads": torch.get_num_threads(), "workers": self.workers,
                "memory": "kept" if self.memory_kept else "returned"}

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
        return self.config.train.seed, FULL if fold == "full" else int(fold)


def open_setup(config: Config, device_name: str, wanted: Sequence[int | str], restart: bool = False) -> Setup:
    """Check every name and every image before anything is written, then open or make the run."""
    def opened(facts: dict[str, Any], precision: Callable[[], str]) -> Run:
        if config.train.init and not (RUNS / config.name / "run.json").is_file():
            find_init(config.train.init, facts, wanted)
        return open_run(config, facts, precision, restart)
    return _set_up(config, device_name, opened)


def setup_of(run: Run, device_name: str) -> Setup:
    """For more work on a run that is there."""
    return _set_up(run.config, device_name, lambda *_: run)


def open_unsaved_setup(config: Config, device_name: str) -> Setup:
    """The same, precision and all, for who only measures: its run is never written, only the cache is."""
    return _set_up(config, device_name,
                   lambda facts, precision: Run(RUNS / config.name, config, {**facts, "precision": precision()}))


def _set_up(config: Config, device_name: str, opened: Callable[[dict[str, Any], Callable[[], str]], Run]) -> Setup:
    check_names(config)
    device = choose_device(device_name)
    memory_kept = keep_freed_memory()
    dataset = scan(config.data.root)
    table = read_folds(config.folds_file, dataset).set_index("image").loc[[image.id for image in dataset.train]]
    check_split(config)
    model = new_model(config, len(dataset.classes), pretrained=False)
    check_pretraining(config, model)
    check_input(model, config, len(dataset.classes))
    square = square_for(dataset.train, config.data.size, config.data.fit, config.data.crop)
    cache = load_cache(dataset.name, dataset.train, square)
    facts = _facts(config, dataset, table, model, device)
    trial = fuse(model) if facts["kernels"] == "fused" else model
    run = ranks.told(lambda: opened(facts, lambda: choose_precision(
        config.train.precision, trial, device, config.data.size, min(config.train.batch, len(dataset.train)))))
    refuse_changes(run, config, facts)  # the images and the split of another machine may be others
    labels = np.array([dataset.classes.index(image.label) for image in dataset.train])
    return Setup(run, dataset, table["fold"].to_numpy(), labels, cache, device, memory_kept,
                 sharing=ranks.world_here())


def open_debug_setup(config: Config, device_name: str, wanted: Sequence[int | str]) -> Setup:
    """A few batches of one epoch, always afresh, where nothing that looks for runs finds them."""
    check_names(config)
    config = config.model_copy(update={"name": f"debug/{config.name}",
                                       "train": config.train.model_copy(update={"epochs": 1}),
                                       "log": config.log.model_copy(update={"wandb": "off"})})
    ranks.told(lambda: shutil.rmtree(RUNS / config.name, ignore_errors=True))
    return replace(open_setup(config, device_name, wanted), batches=4)


def check_names(config: Config) -> None:
    if config.name.partition("/")[0] in set(APART) - {"debug"}:
        raise UserError(f"{RUNS / config.name} lies where nobody looks for runs; choose another name")
    check_policy(config.augment.policy)
    check_oversample(config.augment.oversample)
    check_optimizer(config.optim.name)
    if config.augment.oversample != "none" and config.train.balanced:
        raise UserError("augment.oversample and train.balanced both fill small classes up; choose one of them")
    if config.model.pretrained and config.model.init != "own":
        raise UserError(f"model.init={config.model.init} would draw over the pretrained weights; set model.init=own")
    if config.train.metric not in METRICS:
        raise UserError(f"train.metric: there is no {config.train.metric}{nearest(config.train.metric, METRICS)}")


def check_split(config: Config) -> None:
    """`folds.k` and `folds.seed` are part of a run's name, so they must be true of the file it trains on."""
    about = read_json(config.folds_file.with_suffix(".json"))
    for key in ("k", "seed"):
        if key in about and about[key] != getattr(config.folds, key):  # an official split was drawn by others
            raise UserError(f"{config.folds_file} has {key}={about[key]}, and this asks for folds.{key}="
                            f"{getattr(config.folds, key)}; set folds.{key}={about[key]}, or another folds.file")


def check_input(model: nn.Module, config: Config, classes: int) -> None:
    """One pass of two blank images: a size or an argument that the model cannot take shows before anything is made."""
    size, model_name = config.data.size, config.model.name
    try:
        with torch.no_grad():
            shape = tuple(model.train()(torch.zeros(min(2, config.train.batch), 3, size, size)).shape)
    except (RuntimeError, ValueError, AssertionError, TypeError) as problem:
        raise UserError(f"model {model_name} does not take batches of {config.train.batch} at {size} px: "
                        f"{str(problem)[:200]}; see data.size, train.batch, model.kwargs") from None
    if shape[1:] != (classes,):
        raise UserError(f"model {model_name} gives {shape[1:]} per image, not one score for each of {classes} classes")


def new_model(config: Config, classes: int, pretrained: bool) -> nn.Module:
    model = config.model
    return build_model(model.name, classes, size=config.data.size, pretrained=pretrained, dropout=model.dropout,
                       drop_path=model.drop_path, init=model.init, kwargs=model.kwargs)


def find_init(name: str, facts: dict[str, Any], wanted: Sequence[int | str]) -> Run:
    """The run to start from, refused where its folds are not ours."""
    found = find_runs([name])
    if len(found) > 1:
        raise UserError(f"train.init: {name} means {len(found)} runs; name one, such as {found[0].name}")
    other = found[0]
    if other.about["folds_sha256"] != facts["folds_sha256"]:
        raise UserError(f"train.init: {other.name} was trained on another split, so its folds have seen images that "
                        f"the folds here validate on; use a run on {facts['folds_file']}")
    for fold in wanted:
        if not other.fold(fold).done:
            raise UserError(f"train.init: {other.name} has no finished fold {fold}; train that first")
    return other


def recipe(config: Config, classes: tuple[str, ...], model: nn.Module, precision: str) -> dict[str, Any]:
    """What rebuilds a model from its weights file alone, and what it wants to be fed."""
    mean, std = normalisation(model)
    return {"name": config.model.name, "kwargs": config.model.kwargs, "classes": list(classes), "mean": mean,
            "std": std, "size": config.data.size, "fit": config.data.fit, "crop": config.data.crop,
            "precision": precision}


def load_model(weights: Any, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """The kept model of a fold, ready to predict, and its recipe."""
    saved = load_checkpoint(weights)
    try:
        about = saved["recipe"]
        model = build_model(about["name"], len(about["classes"]), size=about["size"], kwargs=about["kwargs"])
        model.load_state_dict(saved["state_dict"])
    except (KeyError, RuntimeError):
        raise UserError(f"{weights} does not fit the model it names; train the fold again") from None
    return model.to(device).eval(), about


def dataset_of(run: Run) -> Dataset:
    dataset = scan(run.config.data.root)
    if dataset.classes != run.classes:
        raise UserError(f"{run.path} was trained on the classes {', '.join(run.classes)}, and {dataset.root} has "
                        f"{', '.join(dataset.classes)}")
    return dataset


def finished_folds(run: Run, full: bool) -> list[int | str]:
    """The models there are: one for each finished fold, or the one trained on everything."""
    folds = ["full"] if full else run.folds_done()
    if not folds or (full and not run.fold("full").done):
        raise UserError(f"{run.path} has no finished fold{' full' if full else ''}; train it with: python train.py "
                        f"-c {run.path}/config.yaml{' --fold full' if full else ''}")
    return folds


def _facts(config: Config, dataset: Dataset, table: pd.DataFrame, model: nn.Module,
           device: torch.device) -> dict[str, Any]:
    """run.json, less what the directory knows itself."""
    folds = sorted(int(fold) for fold in table["fold"].unique() if fold >= 0)
    return {"seed": config.train.seed, "metric": config.train.metric, "kernels": choose_kernels(device),
            "augment_device": choose_augment_device(config.augment.device, device),
            "higher_is_better": METRICS[config.train.metric].higher_is_better,
            "classes": list(dataset.classes), "folds": folds, "folds_file": str(config.folds_file),
            "folds_sha256": file_sha256(config.folds_file), "image_list_sha256": dataset.fingerprint(),
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
