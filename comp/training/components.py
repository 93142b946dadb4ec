"""What a fold is trained with: images, model, optimiser and loop, made of the config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from timm.utils import ModelEmaV3

from comp.batches.device_batches import DeviceBatches, make_device_pool
from comp.batches.loader import Batch, EvaluationSet, TrainingSet, iterate_batches
from comp.batches.oversample import oversample
from comp.checkpoints import load_checkpoint
from comp.engine import distributed
from comp.engine.fit import Epoch, FitOptions, Step, TrainData, TrainState, fit
from comp.engine.kernels.fuse import apply_kernels
from comp.engine.losses import balanced_weights, make_loss
from comp.engine.mixup import Mix
from comp.engine.optim import ScheduleOptions, make_optimizer, make_schedule
from comp.engine.predict import normalise
from comp.errors import UserError
from comp.prediction.load import make_model_spec
from comp.records.weights import ModelSpec
from comp.training.setup import Setup, find_init_run, new_model

TrainBatches = Callable[[range], Iterator[Batch]]  # to train on, by their steps
ValidationBatches = Callable[[], Iterable[torch.Tensor]]  # to validate on, whenever asked


@dataclass(frozen=True)
class TrainingComponents:
    """All but the state, which is made after a reconstruction stage."""

    source: TrainingSet
    batches: TrainBatches
    held_out: ValidationBatches
    model: torch.nn.Module
    spec: ModelSpec
    device: torch.device

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        return normalise(images, self.spec.mean, self.spec.std, self.device)


def build_components(setup: Setup, fold: int | str, fresh: bool) -> TrainingComponents:
    """`fresh` weights may come from elsewhere; others are about to be loaded over."""
    from comp.batches.augment_image import ImageAugmenter  # albumentations: only for who trains

    config, (rows, val_rows) = setup.config, setup.split(fold)
    source = oversample(
        TrainingSet(
            setup.cache,
            rows,
            setup.labels[rows],
            config.data.size,
            config.train.batch,
            ImageAugmenter(config.augment.policy),
            setup.stream(fold),
            config.train.balanced,
            shard=(distributed.rank(), distributed.world_size()),
        ),
        config.augment.oversample,
    )
    batches, held_out = _make_batches(setup, source, val_rows)
    model = _new_model(setup, fold, fresh)
    return TrainingComponents(
        source,
        batches,
        held_out,
        model,
        make_model_spec(config, setup.run.classes, model, setup.precision),
        setup.device,
    )


def _make_batches(setup: Setup, source: TrainingSet, val_rows: np.ndarray) -> tuple[TrainBatches, ValidationBatches]:
    """Of several processes each has its share."""
    config, device, workers = setup.config, setup.device, setup.workers
    held_out = EvaluationSet(
        setup.cache, val_rows[distributed.rank() :: distributed.world_size()], config.data.size, config.train.batch
    )
    read = partial(iterate_batches, held_out, range(len(held_out)), workers=0)
    if setup.augment_device == "cpu":
        return partial(iterate_batches, source, workers=workers, pin=device.type == "cuda"), read
    pool = make_device_pool(setup.cache, device)
    if pool is not None:  # then there is room for these as well: no epoch has to read and resize them again
        resized = [images.to(device) for images in read()]
        return DeviceBatches(source, device, workers, pool), lambda: resized
    return DeviceBatches(source, device, workers, None), read


def _new_model(setup: Setup, fold: int | str, fresh: bool) -> torch.nn.Module:
    """Weights drawn from (seed, fold); a fresh start may take pretrained ones, or those of another run's fold."""
    config = setup.config
    torch.manual_seed(int(np.random.SeedSequence(setup.stream(fold)).generate_state(1, np.uint64)[0] >> 1))
    model = new_model(config, len(setup.run.classes), config.model.pretrained and fresh)
    if config.train.init and fresh:
        _load_init(model, setup, fold)
    model = apply_kernels(model, setup.kernels, setup.device)
    return distributed.use_sync_batchnorm(model.to(setup.device), setup.device)


def _load_init(model: torch.nn.Module, setup: Setup, fold: int | str) -> None:
    name = setup.config.train.init
    saved = distributed.call_on_rank_zero(
        lambda: load_checkpoint(find_init_run(name, setup.run.record, [fold]).fold_dir(fold).weights_path)
    )
    try:
        model.load_state_dict(saved["state_dict"])
    except RuntimeError:
        raise UserError(f"train.init: the weights of {name} do not fit {setup.config.model.name}") from None


def make_train_state(setup: Setup, model: torch.nn.Module) -> TrainState:
    config, optim = setup.config, setup.config.optim
    optimizer = make_optimizer(
        model,
        optim.name,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        momentum=optim.momentum,
        decay_all=optim.decay_all,
        layer_decay=optim.layer_decay,
    )
    # the warm-up lets a young average forget the random start: without it 20 short epochs end in a lagging model
    ema = ModelEmaV3(model, decay=config.train.ema, use_warmup=True) if config.train.ema else None
    scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.precision == "fp16")
    return TrainState(model, optimizer, scaler, ema)


def make_mix(setup: Setup) -> Mix:
    augment = setup.config.augment
    return Mix(augment.mixup, augment.cutmix, augment.mix_off_epoch, len(setup.run.classes))


def fit_fold(setup: Setup, fold: int | str, parts: TrainingComponents, state: TrainState) -> Iterator[Step | Epoch]:
    """Unpack the config into plain arguments of the loop."""
    config, source, device = setup.config, parts.source, setup.device
    weights = None
    if config.loss.class_weights == "balanced":
        weights = balanced_weights(torch.from_numpy(source.targets), len(setup.run.classes)).to(device)
    schedule = config.schedule
    return fit(
        state,
        TrainData(parts.batches, parts.prepare, source.steps_per_epoch, source.shard_info),
        FitOptions(
            epochs=config.train.epochs,
            device=device,
            precision=setup.precision,
            rng_key=setup.stream(fold),
            accumulate=config.train.accumulate,
            clip=config.optim.clip,
            clip_mode=config.optim.clip_mode,
        ),
        loss=make_loss(
            config.loss.name,
            label_smoothing=config.loss.label_smoothing,
            weights=weights,
            focal_gamma=config.loss.focal_gamma,
        ),
        lr_at=make_schedule(
            ScheduleOptions(
                name=schedule.name,
                lr=config.optim.lr,
                min_lr=schedule.min_lr,
                epochs=config.train.epochs,
                warmup_epochs=schedule.warmup_epochs,
                gamma=schedule.gamma,
                step_epochs=schedule.step_epochs,
                patience=schedule.patience,
            )
        ),
        mix=make_mix(setup),
    )
