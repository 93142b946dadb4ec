from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from comp.batches.augment_image import ImageAugmenter
from comp.batches.loader import OversampledItems, TrainingSet, iterate_batches
from comp.batches.oversample import SEARCH_SIZE, check_oversample, oversample
from comp.data.cache import Cache
from comp.data.images import resize
from comp.errors import UserError

COUNTS = [12, 7, 3, 1]  # of the classes among the training rows: the largest, six neighbours, two, none
SIDE = 40  # of the cached squares: larger than the search, as real ones are


@pytest.fixture
def source(tmp_path) -> TrainingSet:
    """23 of 60 random images, in no order; the other rows are of a validation part that nothing may touch."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    rows = np.random.default_rng(1).permutation(60)[: sum(COUNTS)]
    labels = np.random.default_rng(2).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    return TrainingSet(Cache(tmp_path / "images.npy", 60, SIDE), rows, labels, SIDE, 8, ImageAugmenter("none"), (42, 0))


def parts(source: TrainingSet) -> tuple[np.ndarray, ...]:
    return source.rows, source.targets, source.oversampled.partners, source.oversampled.blend_weights


def same_plan(a: TrainingSet, b: TrainingSet) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(parts(a), parts(b), strict=True))


def same(a, b) -> bool:
    return all(torch.equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


def epoch(source: TrainingSet, number: int) -> list:
    return [source[number * source.steps_per_epoch + step] for step in range(source.steps_per_epoch)]


def pictures(source: TrainingSet, number: int) -> dict[int, np.ndarray]:
    """What an epoch shows, by item."""
    shown = np.concatenate([images.numpy() for images, _ in epoch(source, number)])
    return dict(zip(source._order(number).tolist(), shown, strict=True))


@pytest.mark.parametrize("how", ["smote", "gupta"])
def test_every_class_grows_to_the_largest_from_training_rows_of_its_own(source, how):
    more = oversample(source, how)
    count = len(source.rows)
    assert np.bincount(more.targets).tolist() == [max(COUNTS)] * len(COUNTS)
    assert np.array_equal(more.rows[:count], source.rows) and np.array_equal(more.targets[:count], source.targets)
    assert (
        more.oversampled.first_index == count
        and len(more.oversampled.partners) == len(more.oversampled.blend_weights) == len(more.rows) - count
    )
    label_of = dict(zip(source.rows.tolist(), source.targets.tolist(), strict=True))  # no other row has a label here
    assert [label_of[row] for row in more.rows.tolist()] == more.targets.tolist()
    assert [label_of[row] for row in more.oversampled.partners.tolist()] == more.targets[count:].tolist()


@pytest.mark.parametrize("how", ["smote", "gupta"])
def test_the_images_of_a_class_take_turns(source, how):
    more = oversample(source, how)
    used = Counter(more.rows[len(source.rows) :].tolist())
    for label in range(1, len(COUNTS)):
        times = [used[row] for row in source.rows[source.targets == label].tolist()]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("how", ["smote", "gupta"])
def test_the_plan_is_a_pure_function_of_the_stream(source, how):
    plan = oversample(source, how)
    np.random.seed(5)
    assert same_plan(plan, oversample(source, how))
    for stream in [(43, 0), (42, 1)]:
        assert not same_plan(plan, oversample(replace(source, rng_key=stream), how))


def test_the_plan_shares_no_stream_with_the_order_or_the_augmentation(source, monkeypatch):
    """numpy reads a missing word of a seed as zero: [42, 0, 0], an epoch's order, is also [42, 0, 0, 0]."""
    seeds, real = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: seeds.append(seed) or real(seed))
    oversample(source, "smote")
    monkeypatch.undo()
    [plan] = seeds
    shorter = [(*source.rng_key, *rest) for rest in np.ndindex(9, 9)] + [(*source.rng_key, epoch) for epoch in range(9)]
    state = np.random.SeedSequence(plan).generate_state(4).tolist()
    assert all(np.random.SeedSequence(seed).generate_state(4).tolist() != state for seed in shorter)


@pytest.mark.parametrize("size", [16, SIDE])
def test_a_partner_is_one_of_the_five_nearest_of_the_class(source, size):
    more = oversample(replace(source, size=size), "smote")
    side = min(size, SEARCH_SIZE)
    pixels = {row: resize(source.squares[row], side).astype(int) for row in source.rows.tolist()}
    ranks = []
    for base, partner, label in zip(
        more.rows[len(source.rows) :].tolist(),
        more.oversampled.partners.tolist(),
        more.targets[len(source.rows) :],
        strict=True,
    ):
        others = [row for row in source.rows[source.targets == label].tolist() if row != base]
        near = sorted(others, key=lambda row: ((pixels[row] - pixels[base]) ** 2).sum())[:5]
        assert partner in near or (not near and partner == base)
        ranks += [near.index(partner)] if near else []
    assert len(set(ranks)) > 2  # and not always the very nearest


def test_a_blend_lies_between_its_parents_at_its_share(source):
    more = oversample(source, "smote")
    shown = pictures(more, 0)
    assert (
        more.oversampled.blend_weights.min() >= 0
        and more.oversampled.blend_weights.max() < 1
        and 0.3 < more.oversampled.blend_weights.mean() < 0.7
    )
    for number, (partner, share) in enumerate(
        zip(more.oversampled.partners, more.oversampled.blend_weights, strict=True)
    ):
        item = more.oversampled.first_index + number
        base, other = more.squares[more.rows[item]], more.squares[partner]
        assert (shown[item] >= np.minimum(base, other)).all() and (shown[item] <= np.maximum(base, other)).all()
        exact = base + share * (other.astype(float) - base)
        assert np.abs(shown[item] - exact).max() <= 0.5 + 1e-4


def test_every_pair_of_values_is_blended_to_the_nearest_whole_number(tmp_path):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 256, 3))
    np.save(tmp_path / "pairs.npy", np.stack([ramp, ramp.transpose(1, 0, 2)]))
    cache = Cache(tmp_path / "pairs.npy", 2, 256)
    for share in [1e-9, 0.25, 1 / 3, 0.5, 0.999999]:
        oversampled = OversampledItems(0, np.array([1]), np.array([share]), ImageAugmenter("none"))
        source = TrainingSet(
            cache, np.array([0]), np.array([0]), 256, 1, ImageAugmenter("none"), (1, 0), oversampled=oversampled
        )
        a, b = cache[0].astype(float), cache[1].astype(float)
        assert np.abs(source[0][0][0].numpy() - (a + share * (b - a))).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("how", ["smote", "gupta"])
def test_the_images_themselves_are_left_to_the_runs_own_policy(source, how):
    shown = pictures(oversample(source, how), 0)
    assert sorted(shown) == list(range(max(COUNTS) * len(COUNTS)))
    for item, row in enumerate(source.rows):
        assert np.array_equal(shown[item], source.squares[row])


def test_copies_go_through_their_policy_and_look_different_every_epoch(source):
    more = oversample(source, "flips")
    first, second = pictures(more, 0), pictures(more, 1)
    changed = again = 0
    for item in range(more.oversampled.first_index, len(more.rows)):
        square = more.squares[more.rows[item]]
        views = [square, square[::-1], square[:, ::-1], square[::-1, ::-1]]
        assert any(np.array_equal(first[item], view) for view in views)
        changed += not np.array_equal(first[item], square)
        again += not np.array_equal(first[item], second[item])
    assert changed > 0 and again > 0
    assert list(more._order(0)) != list(more._order(1))


def test_blends_go_through_the_runs_own_policy(source):
    plain, flipped = (
        oversample(replace(source, augmenter=ImageAugmenter(name)), "smote") for name in ("none", "flips")
    )
    assert same_plan(plain, flipped)
    before, after = pictures(plain, 0), pictures(flipped, 0)
    blends = range(plain.oversampled.first_index, len(plain.rows))
    assert all(sorted(before[item].ravel()) == sorted(after[item].ravel()) for item in blends)
    assert any(not np.array_equal(before[item], after[item]) for item in blends)


@pytest.mark.parametrize("how", ["smote", "gupta"])
def test_workers_change_nothing(source, how):
    more = oversample(replace(source, augmenter=ImageAugmenter("flips")), how)
    steps = range(3, 9)  # from mid-epoch, across an epoch's end
    assert same(list(iterate_batches(more, steps, workers=0)), list(iterate_batches(more, steps, workers=2)))


@pytest.mark.parametrize("how", ["smote", "gupta"])
def test_an_image_alone_in_its_class_is_copied(source, how):
    more = oversample(source, how)
    alone = np.flatnonzero(more.targets == COUNTS.index(1))
    assert len(alone) == max(COUNTS) and len(set(more.rows[alone])) == 1
    if how == "smote":
        shown = pictures(more, 0)
        assert all(np.array_equal(shown[item], more.squares[more.rows[item]]) for item in alone)


@pytest.mark.parametrize("how", ["smote", "gupta"])
def test_a_balanced_set_gains_nothing(source, how):
    even = replace(source, rows=source.rows[:20], targets=np.arange(20) % 4)
    more = oversample(even, how)
    assert len(more.rows) == 20 and more.targets.dtype == even.targets.dtype
    assert same(epoch(even, 0), epoch(more, 0))


def test_none_is_the_very_same_set(source):
    assert oversample(source, "none") is source


def test_scikit_learn_is_imported_for_smote_alone(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)  # an import of it fails from here on
    oversample(source, "gupta")
    with pytest.raises(ImportError, match="neighbors"):
        oversample(source, "smote")


def test_an_unknown_way_names_the_nearest():
    for name in ("none", "smote", "gupta", "heavy"):
        check_oversample(name)
    with pytest.raises(UserError, match="there is no smoke; did you mean smote"):
        check_oversample("smoke")
