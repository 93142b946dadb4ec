"""Everything that the folds of a run share: the images, the split, the device and the run directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from comp.batches.device_batches import choose_augment_device
from comp.batches.loader import choose_workers
from comp.data.cache import JoinedCaches, Squares, load_cache, make_square_spec
from comp.data.folds import count_split_groups, read_folds
from comp.data.scan import Dataset, scan
from comp.engine import distributed
from comp.engine.cuda_graph import use_cuda_graph
from comp.engine.device import configure_allocator, use_deterministic_algorithms
from comp.engine.kernels.fuse import apply_kernels, choose_kernels
from comp.engine.precision import choose_precision
from comp.errors import UserError
from comp.files import file_sha256
from comp.metrics import find_metric
from comp.records.base import Fold
from comp.records.run import RunRecord, Unlabelled
from comp.rows import Rows
from comp.runs import PRETRAINED, RUNS, Run, check_unchanged, open_run
from comp.schema import Config, Teacher
from comp.tasks import Task
from comp.training.checks import check_model_input, check_names, check_split, check_stages, check_task
from comp.training.fit_memory import fit_batch
from comp.training.init_weights import check_init_weights, new_model
from comp.training.machine_choices import MachineChoices
from comp.training.optimizer import make_train_optimizer
from comp.training.teachers import check_teachers

FULL_FOLD_SEED = 1_000_000  # the fold number in the random number key of the fold `full`
DEBUG_BATCHES = 4


@dataclass(frozen=True)
class Setup:
    """A run that is open for training, with its images and its split."""

    run: Run
    dataset: Dataset
    folds: np.ndarray  # the fold of each training image, in the dataset's order
    targets: np.ndarray  # its target, in the same order
    cache: Squares  # its pixels, in the same order; then those of the test images, if it is trained on them
    image_key: str  # key of the cache of the training images
    device: torch.device
    memory_kept: bool  # freed blocks stay with the process
    max_batches: int | None = None  # of training, and of validation; None: all images
    local_processes: int = 1  # processes that train on this machine at the same time
    device_processes: int = 1  # those of them on this device

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def task(self) -> Task:
        return self.dataset.task

    @property
    def precision(self) -> str:
        return self.run.record.precision

    @property
    def batch_size(self) -> int:
        """The images of a batch: `train.batch`, or what `train.fit_memory` made of it."""
        return self.run.record.fitted_batch or self.config.train.batch

    @property
    def accumulate(self) -> int:
        """The batches of an update, which has the images of `train.batch` times `train.accumulate`."""
        return self.config.train.accumulate * (self.config.train.batch // self.batch_size)

    @property
    def kernels(self) -> str:
        return self.run.record.kernels

    @property
    def augment_device(self) -> str:
        return self.run.record.augment_device

    @property
    def workers(self) -> int:
        return choose_workers(self.config.data.workers, self.device.type, self.local_processes)

    @property
    def machine_choices(self) -> MachineChoices:
        return MachineChoices(
            precision=self.precision,
            kernels=self.kernels,
            augment=self.augment_device,
            device=str(self.device),
            threads=torch.get_num_threads(),
            workers=self.workers,
            memory="kept" if self.memory_kept else "returned",
        )

    @property
    def max_images(self) -> int | None:
        """The images to train on, and those to validate on; None: all."""
        return None if self.max_batches is None else self.max_batches * self.batch_size

    def split(self, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows to train on and the rows to validate on."""
        rows = np.arange(len(self.targets))
        train, val = (rows, rows[:0]) if fold == "full" else (rows[self.folds != fold], rows[self.folds == fold])
        if self.max_images is None:
            return train, val
        sample = np.random.default_rng(0).permutation(rows)  # of every class: the rows are sorted by class
        return sample[np.isin(sample, train)][: self.max_images], sample[np.isin(sample, val)][: self.max_images]

    def by_row(self, images: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (targets, predictions) by row of a submission, for predictions of these rows of the training set."""
        rows = Rows.of_images([self.dataset.train[image].row_id for image in images])
        return self.targets[images][rows.first], self.task.pool(predictions, rows)

    def rng_key(self, fold: Fold) -> tuple[int, int]:
        """Return the key (seed, fold) that the random numbers of a fold's training are drawn from."""
        return self.config.train.seed, FULL_FOLD_SEED if fold == "full" else int(fold)

    def origin(self, fold: Fold) -> str:
        """Return what a checkpoint records of its training: a copy from another fold, which was trained on this fold's
        validation images, must not be resumed. A run keeps it when its directory is renamed."""
        return f"{self.run.record.created} seed {self.config.train.seed} fold {fold}"


Measure = Callable[[RunRecord], RunRecord]  # completes a draft of run.json by what is measured
# a draft of run.json, the model with random weights and what completes the record by measuring -> the run
MakeRun = Callable[[RunRecord, nn.Module, Measure], Run]


def open_setup(
    config: Config,
    device: torch.device,
    folds: Sequence[Fold],
    restart: bool = False,
    dataset: Dataset | None = None,
    device_processes: int = 1,
    measure_elsewhere: Measure | None = None,
) -> Setup:
    """Check every name and every image before anything is written, then open or create the run.

    `dataset` is that of the config, if it has been scanned. `device_processes` train on the device at the same time,
    and share its memory. `measure_elsewhere` replaces the measuring of a new run on this machine.
    """

    def open_checked(draft: RunRecord, model: nn.Module, measure: Measure) -> Run:
        draft = check_init_weights(config, draft, model, folds, restart)
        draft = check_teachers(config, draft, folds, restart)
        return open_run(config, draft, measure_elsewhere or measure, restart)

    return _build_setup(config, device, open_checked, dataset, device_processes)


def open_pretraining_setup(
    config: Config, device: torch.device, unlabelled: Sequence[Unlabelled], restart: bool
) -> Setup:
    """Open or create the directory of a pretraining without labels; in runs/pretrained/ no other command finds it."""
    named = config.model_copy(update={"name": f"{PRETRAINED}/{config.name}"})

    def open_named(draft: RunRecord, _: nn.Module, measure: Callable[[RunRecord], RunRecord]) -> Run:
        return open_run(named, draft.with_unlabelled(unlabelled), measure, restart)

    return _build_setup(config, device, open_named, with_test=config.simclr.test_images)


def setup_from_run(run: Run, device: torch.device) -> Setup:
    """Build the setup of an existing run, which is not written."""
    return _build_setup(run.config, device, lambda *_: run)


def open_benchmark_setup(config: Config, device: torch.device, device_processes: int = 1) -> Setup:
    """Build a setup for benchmarks: like `open_setup`, but without a run directory. Only the image cache is written."""

    config = config.model_copy(update={"teacher": Teacher()})  # it changes no speed, and its predictions are files

    def unwritten_run(draft: RunRecord, _: nn.Module, measure: Measure) -> Run:
        return Run(RUNS / config.name, config, measure(draft))

    return _build_setup(config, device, unwritten_run, device_processes=device_processes)


def open_debug_setup(
    config: Config, device: torch.device, folds: Sequence[Fold], dataset: Dataset | None = None
) -> Setup:
    """Open a setup for a few batches of one epoch, from scratch, in runs/debug/, which no other command reads."""
    check_names(config)
    config = config.model_copy(
        update={
            "name": f"debug/{config.name}",
            "train": config.train.model_copy(update={"epochs": 1}),
            "log": config.log.model_copy(update={"wandb": "off", "tensorboard": False}),
        }
    )
    distributed.call_on_rank_zero(lambda: shutil.rmtree(RUNS / config.name, ignore_errors=True))
    return replace(open_setup(config, device, folds, dataset=dataset), max_batches=DEBUG_BATCHES)


def _build_setup(
    config: Config,
    device: torch.device,
    make_run: MakeRun,
    dataset: Dataset | None = None,
    device_processes: int = 1,
    with_test: bool = False,
) -> Setup:
    check_names(config)
    memory_kept = configure_allocator()
    if config.train.deterministic:
        use_deterministic_algorithms(device)
    dataset = dataset or scan(config.source)
    split = (
        read_folds(config.folds_file, dataset, config.folds.allow_split_groups)
        .set_index("image")
        .loc[[image.id for image in dataset.train]]
    )
    check_split(config)
    check_task(config, dataset.task)
    model = new_model(config, dataset.task.outputs, pretrained=False)
    check_stages(config, model)
    check_model_input(model, config, dataset.task.outputs)
    square_spec = make_square_spec(dataset.train, config.data.size, config.data.fit, config.data.crop)
    train_cache = load_cache(dataset.name, dataset.train, square_spec)
    cache: Squares = train_cache
    if with_test or config.teacher.test_images:
        if not dataset.test:
            raise UserError(f"test_images: {dataset.root} has no test images; set it to false")
        cache = JoinedCaches(train_cache, load_cache(dataset.name, dataset.test, square_spec))
    draft = _run_record(config, dataset, split, model, device)
    timed_model = apply_kernels(model, draft.kernels, device)
    timed_batch = min(config.train.batch, len(dataset.train))
    if config.train.cuda_graph == "on":  # an error where it is impossible, before the run is created
        use_cuda_graph("on", device, config.train.accumulate, make_train_optimizer(timed_model, config))

    def measure(record: RunRecord) -> RunRecord:
        precision = choose_precision(config.train.precision, timed_model, device, config.data.size, timed_batch)
        batch = None
        if config.train.fit_memory:
            square_bytes = cache.nbytes if draft.augment_device == "gpu" else 0
            batch = fit_batch(config, timed_model, device, precision, square_bytes, device_processes)
        sync = distributed.choose_sync_batchnorm(batch or config.train.batch, device)
        return replace(record, precision=precision, fitted_batch=batch, sync_batchnorm=sync)

    run = distributed.call_on_rank_zero(lambda: make_run(draft, timed_model, measure))
    check_unchanged(run, config, draft)  # the images and the split of this machine may differ from the run's
    return Setup(
        run,
        dataset,
        split["fold"].to_numpy(),
        dataset.targets,
        cache,
        train_cache.key,
        device,
        memory_kept,
        local_processes=distributed.local_world_size(),
        device_processes=device_processes,
    )


def _run_record(
    config: Config, dataset: Dataset, split: pd.DataFrame, model: nn.Module, device: torch.device
) -> RunRecord:
    """Return the record of a run before it is created."""
    return RunRecord(
        seed=config.train.seed,
        metric=config.train.metric,
        higher_is_better=find_metric(config.train.metric).higher_is_better,
        classes=dataset.classes,
        folds=tuple(sorted(int(fold) for fold in split["fold"].unique() if fold >= 0)),
        folds_file=str(config.folds_file),
        folds_sha256=file_sha256(config.folds_file),
        image_list_sha256=dataset.image_list_sha256,
        relabel_sha256=dataset.relabel_sha256,
        split_groups=count_split_groups(split),
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        kernels=choose_kernels(device),
        augment_device=choose_augment_device(config.augment.device, device),
        name=config.name,
        task=dataset.task.spec.unless_single,
    )
