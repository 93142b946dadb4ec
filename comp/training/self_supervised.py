"""Self-supervised pretraining: the backbone of a config, trained by SimCLR on all images without their labels.

It is done once for all folds. No label is used, so none leaks; the pixels of the images that a fold is validated on are
seen, and those of the test images if the config says so. weights.pt states it, and runs that start from it record it.

runs/pretrained/<name>/   config.yaml and run.json as of a run; weights.pt: the backbone, for `model.weights`
    foldfull/             fold.json, train.log, pretrain.csv: the loss of each epoch; resume.pt until the end
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from comp.batches.loader import Batch, EvaluationSet, TrainingSet, iterate_batches
from comp.checkpoints import save_checkpoint
from comp.engine import distributed
from comp.engine.device import is_out_of_memory
from comp.engine.fit import FitOptions, TrainData, TrainState
from comp.engine.predict import normalise
from comp.engine.simclr import SimCLR, contrastive_loss, knn_accuracy, remove_classifier
from comp.environment import process_info
from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.progress_bar import progress_bar
from comp.records.run import Unlabelled
from comp.runs import FoldDir
from comp.schema import Config
from comp.training.components import TrainBatches, load_pool, make_model, make_train_batches
from comp.training.optimizer import make_config_optimizer, make_config_schedule
from comp.training.setup import Setup, open_pretraining_setup
from comp.training.stage import Stage, run_stage
from comp.zoo.build import normalisation


def pretrain(config: Config, device: torch.device, restart: bool = False) -> Path:
    """Pretrain the backbone of a config, or resume that; return the file of its weights."""
    _check(config)
    seen: tuple[Unlabelled, ...] = ("test", "validation") if config.simclr.test_images else ("validation",)
    setup = open_pretraining_setup(config, device, seen, restart)
    weights, directory = setup.run.path / "weights.pt", setup.run.fold_dir("full")
    with directory.lock():
        if file_exists(weights):
            print(f"{weights} exists already")
            return weights
        directory.mark_running(
            process_info(device), workers=setup.workers, memory_kept=setup.memory_kept, images=setup.cache.key
        )
        images = "training and test images" if config.simclr.test_images else "training images"
        print(f"{setup.run.path}: {config.model.name} on {images} without labels, {config.data.size} px", flush=True)
        print(f"chosen: {setup.machine_choices}", flush=True)
        model = _make_simclr(setup)
        try:
            _train(setup, directory, model)
        except FloatingPointError as error:
            raise UserError(f"{error}; lower optim.lr or set optim.clip=1, and begin again with --restart") from None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(f"the memory of {device} is full; lower train.batch, and begin again with --name") from None
        _print_probe(setup, model.backbone)
        content = {"state_dict": model.backbone.state_dict(), "unlabelled_images": list(seen), "run": setup.run.name}
        save_checkpoint(weights, content)
        directory.mark_ended("done", epochs=config.train.epochs, weights_sha256=file_sha256(weights))
        directory.resume_path.unlink(missing_ok=True)
    return weights


def _train(setup: Setup, directory: FoldDir, model: SimCLR) -> None:
    config, device = setup.config, setup.device
    state = TrainState(
        model,
        make_config_optimizer(model, config.optim),
        torch.amp.GradScaler(device.type, enabled=setup.precision == "fp16"),
    )
    stage = Stage(
        title="simclr",
        checkpoint=directory.resume_path,
        table=directory.path / "pretrain.csv",
        log=directory.path / "train.log",
        origin=setup.origin("full"),
        save_every=config.train.save_every,
    )
    options = FitOptions(
        epochs=config.train.epochs,
        device=device,
        precision=setup.precision,
        rng_key=setup.rng_key("full"),
        accumulate=setup.accumulate,
        clip=config.optim.clip,
        clip_mode=config.optim.clip_mode,
    )
    loss, data = contrastive_loss(config.simclr.temperature), _train_data(setup, model.backbone)
    run_stage(stage, state, data, options, loss=loss, lr_at=make_config_schedule(config))


def _check(config: Config) -> None:
    if distributed.world_size() > 1:
        raise UserError("pretrain compares all images of a batch, in one process; run it without torchrun")
    if config.schedule.name == "plateau":
        raise UserError("pretrain has no validation loss for schedule.name=plateau; use another schedule")
    if config.model.pretrained or config.model.weights or config.train.init:
        raise UserError("pretrain starts from random weights; remove model.pretrained, model.weights and train.init")


def _make_simclr(setup: Setup) -> SimCLR:
    model = make_model(setup, "full", use_initial_weights=False)
    return SimCLR(model, setup.config.data.size, setup.config.simclr.projection).to(setup.device)


def _train_data(setup: Setup, backbone: nn.Module) -> TrainData:
    """Return batches of the first views of their images and then of the second; targets have no meaning."""
    from comp.batches.augment_image import ImageAugmenter  # imports albumentations, which only training needs

    config = setup.config
    rows = np.arange(len(setup.cache) if config.simclr.test_images else len(setup.targets))
    first = TrainingSet(
        setup.cache,
        rows,
        np.zeros(len(rows), np.int64),
        config.data.size,
        setup.batch_size,
        ImageAugmenter(config.augment.policy),
        setup.rng_key("full"),
    )
    pool = load_pool(setup)
    views = [make_train_batches(setup, train_set, pool) for train_set in (first, replace(first, view=1))]
    mean, std = normalisation(backbone)
    return TrainData(
        partial(_pair_views, views), lambda images: normalise(images, mean, std, setup.device), first.steps_per_epoch
    )


def _pair_views(views: list[TrainBatches], steps: range) -> Iterator[Batch]:
    for (first, targets), (second, _) in zip(*(batches(steps) for batches in views), strict=True):
        yield torch.cat([first, second]), targets


def _print_probe(setup: Setup, backbone: nn.Module) -> None:
    """Print how well the nearest features tell the class, of random weights and of these: the only use of labels."""
    if not setup.task.has_class_targets:
        return
    fold = setup.run.record.folds[0]
    random = remove_classifier(make_model(setup, "full", use_initial_weights=False))
    before, after = (_probe(setup, fold, model) for model in (random, backbone))
    print(
        f"nearest features (k = 20) tell the class of {after:.3f} of the images of fold {fold}; "
        f"those of random weights {before:.3f}",
        flush=True,
    )


def _probe(setup: Setup, fold: int, backbone: nn.Module) -> float:
    train, val = setup.split(fold)
    targets = torch.from_numpy(setup.targets)
    return knn_accuracy(
        _features(setup, train, backbone), targets[train], _features(setup, val, backbone), targets[val]
    )


@torch.no_grad()
def _features(setup: Setup, rows: np.ndarray, backbone: nn.Module) -> torch.Tensor:
    images = EvaluationSet(setup.cache, rows, setup.config.data.size, setup.batch_size)
    batches = progress_bar(iterate_batches(images, range(len(images)), setup.workers), "features", len(images))
    mean, std = normalisation(backbone)
    backbone.eval()
    return torch.cat(
        [backbone(normalise(batch, mean, std, setup.device)).flatten(1).float().cpu() for batch in batches]
    )
