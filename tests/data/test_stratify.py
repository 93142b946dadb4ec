"""Groups stay together, and every stratum is spread evenly."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from comp.data import stratify
from comp.data.stratify import join_groups, spread


def test_spread_tags_evenly_and_groups_together():
    rng = np.random.default_rng(0)
    groups = np.array([f"g{index}" for index in rng.integers(0, 300, 600)])
    tags = (rng.random((600, 4)) < [0.5, 0.2, 0.05, 0.03]).astype(int)
    folds = spread(tags, groups, 5, seed=1)
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    for tag in range(4):
        counts = np.bincount(folds[tags[:, tag] == 1], minlength=5)
        assert counts.max() - counts.min() <= max(2, 0.1 * counts.mean())
    assert np.ptp(np.bincount(folds)) <= 12


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("per_group", [1, 4])
def test_spread_classes_over_k_folds(k, per_group):
    rows = np.arange(4 * 7 * 6)
    folds = spread(rows // per_group % 2, (rows // per_group).astype(str), k, seed=0)
    assert np.bincount(folds).min() > 0 and len(np.bincount(folds)) == k
    assert all(len(set(group)) == 1 for group in folds.reshape(-1, per_group))


def test_spread_images_without_tags_too():
    tags = np.zeros((20, 2), int)
    tags[:4, 0] = 1
    folds = spread(tags, np.arange(20).astype(str), 4, seed=0)
    assert np.bincount(folds).tolist() == [5] * 4 and np.bincount(folds[:4]).tolist() == [1] * 4


def test_spread_tags_between_equal_folds_the_first_wins():
    tags = np.zeros((8, 1), int)
    tags[[3, 5]] = 1
    folds = spread(tags, np.arange(8).astype(str), 4, seed=0)
    assert sorted(folds[[3, 5]]) == [0, 1]


@pytest.mark.parametrize("strata", [np.arange(40) % 2, np.eye(4, dtype=int)[np.arange(40) % 4]])
def test_spread_depends_on_the_seed_alone(strata):
    groups = np.arange(40).astype(str)
    first, again, other = (spread(strata, groups, 4, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_spread_tags_is_the_same_on_every_machine():
    """The seed alone orders equally large groups, as the sort of their sizes is stable."""
    tags = np.eye(3, dtype=int)[np.arange(24) % 3]
    folds = spread(tags, np.arange(24).astype(str), 2, seed=3)
    assert "".join(map(str, folds)) == "001111000010000101111110"


@pytest.mark.parametrize("seed", range(6))
def test_spread_tags_fills_folds_that_lack_the_tag_equally_by_the_images_that_they_lack(seed):
    tags = (np.random.default_rng(seed).random((12, 3)) < [0.6, 0.3, 0.1]).astype(int)
    folds = spread(tags, np.arange(12).astype(str), 3, seed=0)
    assert np.bincount(folds).tolist() == [4, 4, 4]
    if seed == 3:  # one image has the last tag, and is therefore the first that is placed
        assert tags.sum(0).tolist() == [6, 9, 1] and "".join(map(str, folds)) == "211020011202"


def test_join_groups_links_through_either_grouping():
    copies = ["a", "b", "b", "c", "d", "e"]
    patients = ["p", "p", None, None, "q", None]
    groups = join_groups(list("zyxwvu"), copies, patients)
    assert groups == {"z": "x", "y": "x", "x": "x", "w": "w", "v": "v", "u": "u"}


def test_join_groups_are_called_after_their_smallest_id():
    assert join_groups(["img_2", "img_1", "img_3"], ["p", "p", None]) == {
        "img_2": "img_1",
        "img_1": "img_1",
        "img_3": "img_3",
    }


def test_join_groups_without_a_group_leaves_every_image_alone():
    assert join_groups(["b", "a"], [None, None]) == {"b": "b", "a": "a"}


@pytest.mark.parametrize("k", [2, 5])
def test_spread_of_many_classes_is_as_even_as_scikit_learns(k, monkeypatch):
    rng = np.random.default_rng(3)
    labels = rng.choice([f"c{index:02}" for index in range(30)], 900).astype(object)
    groups = np.array([f"{label}-{group}" for label, group in zip(labels, rng.integers(0, 12, 900), strict=True)])
    groups[:40] = "mixed"  # one of several classes
    order = rng.permutation(900)

    def unevenness(folds: np.ndarray) -> float:
        assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
        counts = np.array([np.bincount(folds[labels == label], minlength=k) for label in set(labels)])
        return float((counts / counts.sum(1, keepdims=True)).std(1).mean())

    dense = unevenness(spread(labels, groups, k, seed=7))
    monkeypatch.setattr(stratify, "MAX_DENSE_CELLS", 0)
    folds = spread(labels, groups, k, seed=7)
    assert unevenness(folds) < 1.1 * dense
    assert np.array_equal(spread(labels[order], groups[order], k, seed=7), folds[order])
    assert not np.array_equal(spread(labels, groups, k, seed=8), folds)


def test_spread_of_thousands_of_classes_takes_seconds_and_little_memory():
    labels = np.arange(15_000) % 5_000
    tracemalloc.start()
    try:
        folds = spread(labels, np.arange(15_000).astype(str), 3, seed=0)
        assert tracemalloc.get_traced_memory()[1] < 2e7  # a count per group and class would take 600 MB
    finally:
        tracemalloc.stop()
    assert all(sorted(folds[labels == label]) == [0, 1, 2] for label in range(0, 5_000, 100))
