from __future__ import annotations

import numpy as np
import pytest
import torch

from comp.batches.augment_image import ImageAugmenter
from comp.batches.loader import EvaluationSet, TrainingSet, choose_workers, iterate_batches
from comp.data.cache import load_cache, make_square_spec
from comp.data.scan import scan


@pytest.fixture
def source(workspace):
    dataset = scan("input/tiny")
    cache = load_cache("tiny", dataset.train, make_square_spec(dataset.train, 24, "squash", None))
    labels = np.array([dataset.classes.index(image.label) for image in dataset.train])

    def make(count: int = 48, batch: int = 8, stream=(42, 0), balanced=False, policy="heavy") -> TrainingSet:
        return TrainingSet(cache, np.arange(count), labels[:count], 24, batch, ImageAugmenter(policy), stream, balanced)

    return make


def same(a, b) -> bool:
    return all(torch.equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # on 2 cores, and on purpose
def test_workers_change_nothing(source):
    steps = range(3, 12)  # from mid-epoch, across an epoch's end
    assert same(list(iterate_batches(source(), steps, workers=0)), list(iterate_batches(source(), steps, workers=4)))


def test_no_two_epochs_folds_or_seeds_are_alike(source):
    first = source()[0][0]
    assert not torch.equal(first, source()[6][0])
    assert not torch.equal(first, source(stream=(42, 1))[0][0])
    assert not torch.equal(first, source(stream=(43, 0))[0][0])
    pictures = [image.numpy().tobytes() for step in range(24) for image in source()[step][0]]
    assert len(set(pictures)) == len(pictures) == 4 * 48  # the reported bug: the same augmentations every epoch


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (48, 8, [8] * 6),
        (47, 8, [8] * 5 + [7]),
        (42, 8, [8] * 5 + [2]),
        (41, 8, [8] * 4 + [9]),
        (9, 8, [9]),
        (3, 8, [3]),
    ],
)
def test_an_epoch_shows_every_image_once_and_never_one_alone(source, count, batch, sizes):
    epoch = source(count, batch, policy="none")
    batches = [epoch[step] for step in range(epoch.steps_per_epoch)]
    assert [len(labels) for _, labels in batches] == sizes
    seen = sorted(image.numpy().tobytes() for images, _ in batches for image in images)
    once = EvaluationSet(epoch.squares, np.arange(count), 24, count)[0]
    assert seen == sorted(image.numpy().tobytes() for image in once)


def test_balanced_draws_make_rare_classes_common(source):
    few = source(48, 8, balanced=True)
    skewed = TrainingSet(
        few.squares, np.arange(30), np.array([0] * 27 + [1] * 3), 24, 10, ImageAugmenter("none"), (1, 0), True
    )
    drawn = np.concatenate([skewed[step][1].numpy() for step in range(60)])
    assert 0.4 < drawn.mean() < 0.6


def test_evaluation_keeps_the_order_and_any_batch_size(source):
    rows = np.array([5, 3, 40, 7, 1])
    cache = source().squares
    whole = EvaluationSet(cache, rows, 24, 99)[0]
    parts = EvaluationSet(cache, rows, 24, 2)
    assert torch.equal(whole, torch.cat([parts[index] for index in range(len(parts))]))


def test_workers_are_chosen_by_the_machine_unless_named():
    assert choose_workers("auto", "cpu") == 0
    assert choose_workers(3, "cpu") == 3
