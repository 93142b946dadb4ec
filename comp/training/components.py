"""The components that a fold is trained with, built from the config: batches, model, optimiser and loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from timm.utils import ModelEmaV3

from comp.batches.device_batches import DeviceBatches, make_device_pool
from comp.batches.loader import Batch, EvaluationSet, TrainingSet, choose_evaluation_batch, iterate_batches
from comp.batches.oversample import oversample
from comp.engine import distributed
from comp.engine.cuda_graph import use_cuda_graph
from comp.engine.fit import Epoch, FitOptions, Step, TrainData, TrainState, fit
from comp.engine.kernels.fuse import apply_kernels
from comp.engine.mixup import Mix
from comp.engine.predict import normalise
from comp.prediction.load import make_model_spec
from comp.records.base import Fold
from comp.records.weights import ModelSpec
from comp.training.distillation import add_teachers
from comp.training.init_weights import load_init_weights, new_model
from comp.training.optimizer import make_config_schedule, make_train_optimizer
from comp.training.setup import Setup

TrainBatches = Callable[[range], Iterator[Batch]]  # the batches of these steps, in order
ValidationBatches = Callable[[], Iterable[torch.Tensor]]  # one pass over the validation images


@dataclass(frozen=True)
class TrainingComponents:
    """The parts that train a fold, except the TrainState: that is made after pretraining, which changes the model."""

    train_set: TrainingSet
    labels: np.ndarray  # of its labelled images, by which the loss weights classes
    batches: TrainBatches
    validation_batches: ValidationBatches
    model: torch.nn.Module
    spec: ModelSpec
    device: torch.device

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return a batch of images as the model's input, on its device."""
        return normalise(images, self.spec.mean, self.spec.std, self.device)

    @property
    def train_data(self) -> TrainData:
        train_set = self.train_set
        return TrainData(self.batches, self.prepare, train_set.steps_per_epoch, train_set.shard_info)


def build_components(setup: Setup, fold: Fold, use_initial_weights: bool) -> TrainingComponents:
    """Build the components of a fold. Without `use_initial_weights` the model is random: weights are to be loaded into
    it, so pretrained ones, or those of another run, would be read in vain."""
    from comp.batches.augment_image import ImageAugmenter  # imports albumentations, which only training needs

    config, (rows, val_rows) = setup.config, setup.split(fold)
    train_set = TrainingSet(
        setup.cache,
        rows,
        setup.task.network_targets(setup.targets[rows]),
        config.data.size,
        setup.batch_size,
        ImageAugmenter(config.augment.policy),
        setup.rng_key(fold),
        config.train.balanced,
        shard=(distributed.rank(), distributed.world_size()),
    )
    train_set = oversample(train_set, config.augment.oversample)
    labels = train_set.targets
    if config.teacher.runs:
        train_set = add_teachers(setup, fold, train_set)
    batches, validation_batches = _make_batches(setup, train_set, val_rows)
    model = make_model(setup, fold, use_initial_weights)
    spec = make_model_spec(config, setup.task.spec, model, setup.precision)
    return TrainingComponents(train_set, labels, batches, validation_batches, model, spec, setup.device)


def _make_batches(setup: Setup, train_set: TrainingSet, val_rows: np.ndarray) -> tuple[TrainBatches, ValidationBatches]:
    """Return this rank's batches to train and to validate on."""
    config, device = setup.config, setup.device
    own_rows = val_rows[distributed.rank() :: distributed.world_size()]
    batch_size = choose_evaluation_batch(setup.batch_size, device.type)
    validation_set = EvaluationSet(setup.cache, own_rows, config.data.size, batch_size)
    read = partial(iterate_batches, validation_set, range(len(validation_set)), workers=0)
    pool = load_pool(setup)
    batches = make_train_batches(setup, train_set, pool)
    if pool is None:
        return batches, read
    # The validation images fit as well where all squares do: no epoch has to read and resize them again.
    resized = [images.to(device) for images in read()]
    return batches, lambda: resized


def load_pool(setup: Setup) -> torch.Tensor | None:
    """Return all squares on the device that augments them; None where they are read batch by batch."""
    if setup.augment_device == "cpu":
        return None
    return make_device_pool(setup.cache, setup.device, setup.device_processes)


def make_train_batches(setup: Setup, train_set: TrainingSet, pool: torch.Tensor | None) -> TrainBatches:
    """Return the batches of a training set, augmented in the loader or, with or without a pool, on the device."""
    if setup.augment_device == "cpu":
        return partial(iterate_batches, train_set, workers=setup.workers, pin=setup.device.type == "cuda")
    return DeviceBatches(train_set, setup.device, setup.workers, pool)


def make_model(setup: Setup, fold: Fold, use_initial_weights: bool) -> torch.nn.Module:
    """Return a model with weights drawn from (seed, fold), or with the initial weights that the config names."""
    config = setup.config
    torch.manual_seed(int(np.random.SeedSequence(setup.rng_key(fold)).generate_state(1, np.uint64)[0] >> 1))
    model = new_model(config, setup.task.outputs, config.model.pretrained and use_initial_weights)
    if use_initial_weights:
        load_init_weights(model, config, setup.run.record, fold)
    model = apply_kernels(model, setup.kernels, setup.device)
    sync = setup.run.record.sync_batchnorm
    if sync is None:  # the run was begun in one process
        sync = distributed.choose_sync_batchnorm(setup.batch_size, setup.device)
    model = model.to(setup.device)
    return distributed.use_sync_batchnorm(model, setup.device) if sync else model


def make_train_state(setup: Setup, model: torch.nn.Module) -> TrainState:
    """Return the state of a training that has not started: optimiser, gradient scaler and moving average."""
    config = setup.config
    optimizer = make_train_optimizer(model, config)
    # With warm-up the average forgets the random start: without it, 20 short epochs end in a model that lags behind.
    ema = ModelEmaV3(model, decay=config.train.ema, use_warmup=True) if config.train.ema else None
    scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.precision == "fp16")
    return TrainState(model, optimizer, scaler, ema)


def make_mix(setup: Setup) -> Mix:
    """Return the mixup and CutMix of the config."""
    augment = setup.config.augment
    return Mix(augment.mixup, augment.cutmix, augment.mix_off_epoch, len(setup.run.classes))


def fit_fold(setup: Setup, fold: Fold, components: TrainingComponents, state: TrainState) -> Iterator[Step | Epoch]:
    """Call `fit` with the settings of the config as plain arguments."""
    config = setup.config
    return fit(
        state,
        components.train_data,
        FitOptions(
            epochs=config.train.epochs,
            device=setup.device,
            precision=setup.precision,
            rng_key=setup.rng_key(fold),
            accumulate=setup.accumulate,
            clip=config.optim.clip,
            clip_mode=config.optim.clip_mode,
            freeze_epochs=config.train.freeze_epochs,
            cuda_graph=use_cuda_graph(config.train.cuda_graph, setup.device, setup.accumulate, state.optimizer),
        ),
        loss=setup.task.make_loss(config.loss, components.labels, setup.device),
        lr_at=make_config_schedule(config),
        mix=make_mix(setup),
    )
