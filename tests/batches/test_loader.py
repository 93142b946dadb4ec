"""Batches depend on the step alone, and an epoch has every image once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comp.batches.augment_image import ImageAugmenter
from comp.batches.loader import EvaluationSet, TrainingSet, choose_evaluation_batch, choose_workers, iterate_batches
from comp.data.cache import load_cache, make_square_spec
from comp.data.scan import scan


@pytest.fixture
def make_train_set(workspace):
    dataset = scan("input/tiny")
    cache = load_cache("tiny", dataset.train, make_square_spec(dataset.train, 24, "squash", None))
    targets = np.array([dataset.classes.index(image.label) for image in dataset.train])

    def make(count: int = 48, batch_size: int = 8, rng_key=(42, 0), balanced=False, policy="heavy") -> TrainingSet:
        return TrainingSet(
            cache, np.arange(count), targets[:count], 24, batch_size, ImageAugmenter(policy), rng_key, balanced
        )

    return make


def same(a, b) -> bool:
    return all(torch.equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # on purpose more than cores
def test_iterate_batches_workers_change_nothing(make_train_set):
    steps = range(3, 12)  # from mid-epoch, across an epoch's end
    assert same(
        list(iterate_batches(make_train_set(), steps, workers=0)),
        list(iterate_batches(make_train_set(), steps, workers=4)),
    )


def test_training_set_epochs_folds_and_seeds_differ(make_train_set):
    first = make_train_set()[0][0]
    assert not torch.equal(first, make_train_set()[6][0])
    assert not torch.equal(first, make_train_set(rng_key=(42, 1))[0][0])
    assert not torch.equal(first, make_train_set(rng_key=(43, 0))[0][0])
    images = [image.numpy().tobytes() for step in range(24) for image in make_train_set()[step][0]]
    assert len(set(images)) == len(images) == 4 * 48  # the reported bug: the same augmentations every epoch


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (48, 8, [8] * 6),
        (47, 8, [8] * 5 + [7]),
        (42, 8, [8] * 5 + [2]),
        (41, 8, [8] * 4 + [9]),
        (9, 8, [9]),
        (3, 8, [3]),
    ],
)
def test_training_set_epoch_has_every_image_once_and_no_batch_of_one(make_train_set, count, batch_size, sizes):
    epoch = make_train_set(count, batch_size, policy="none")
    batches = [epoch[step] for step in range(epoch.steps_per_epoch)]
    assert [len(targets) for _, targets in batches] == sizes
    seen = sorted(image.numpy().tobytes() for images, _ in batches for image in images)
    evaluated = EvaluationSet(epoch.squares, np.arange(count), 24, count)[0]
    assert seen == sorted(image.numpy().tobytes() for image in evaluated)


def test_training_set_balanced_makes_rare_classes_common(make_train_set):
    train_set = make_train_set(48, 8, balanced=True)
    skewed_set = TrainingSet(
        train_set.squares, np.arange(30), np.array([0] * 27 + [1] * 3), 24, 10, ImageAugmenter("none"), (1, 0), True
    )
    targets = np.concatenate([skewed_set[step][1].numpy() for step in range(60)])
    assert 0.4 < targets.mean() < 0.6


def test_evaluation_set_keeps_the_order_at_any_batch_size(make_train_set):
    rows = np.array([5, 3, 40, 7, 1])
    cache = make_train_set().squares
    single_batch = EvaluationSet(cache, rows, 24, 99)[0]
    batches = EvaluationSet(cache, rows, 24, 2)
    assert torch.equal(single_batch, torch.cat([batches[index] for index in range(len(batches))]))


def test_choose_workers_auto_depends_on_the_device():
    assert choose_workers("auto", "cpu") == 0
    assert choose_workers(3, "cpu") == 3


def test_choose_evaluation_batch_is_larger_than_that_of_the_training_on_a_gpu_only():
    """On a CPU the last bits of predictions depend on it, and no time is gained."""
    assert [choose_evaluation_batch(32, device) for device in ("cpu", "cuda", "mps")] == [32, 128, 32]
