"""Spread groups of images over folds so that every stratum is spread evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from comp.progress_bar import progress_bar

MAX_DENSE_CELLS = 2**24  # groups times classes up to which scikit-learn splits: 128 MiB, and seconds


def spread(strata: np.ndarray, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the fold of each image; the images of a group share one.

    `strata` has a value per image, or 0 and 1 (images, tags) where an image may be in several.
    """
    if strata.ndim == 2:
        return _spread_tags(strata, groups, k, seed)
    sizes = np.unique(strata, return_counts=True)[1]
    is_large = len(sizes) * len(np.unique(groups)) > MAX_DENSE_CELLS
    if is_large or sizes.max() < k:  # of few numbers; scikit-learn refuses strata that are all smaller than k
        return _spread_classes(strata, groups, k, seed)
    from sklearn.model_selection import StratifiedGroupKFold

    folds = np.full(len(groups), -1)
    splitter = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(groups, strata, groups)):
        folds[held_out] = fold
    return folds


def _spread_classes(labels: np.ndarray, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Spread groups as scikit-learn's StratifiedGroupKFold does, in time and memory that grow with the images alone.

    That keeps and visits a count for every group and class: 13 GB and 100 s for 40,000 images of 20,000 classes. Here a
    group is compared in its own classes only: it joins the fold where the classes' shares then differ least, and of
    equal folds the smallest.
    """
    classes, label_codes = np.unique(labels, return_inverse=True)
    names, group_codes = np.unique(groups, return_inverse=True)
    cells, counts = np.unique(group_codes * len(classes) + label_codes, return_counts=True)
    starts = np.searchsorted(cells // len(classes), np.arange(len(names) + 1))
    cell_classes, class_sizes = cells % len(classes), np.bincount(label_codes)
    sizes, squares = (np.add.reduceat(values, starts[:-1]) for values in (counts, counts.astype(float) ** 2))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    uneven = squares / len(classes) - (sizes / len(classes)) ** 2  # the variance of a group's counts
    in_fold, images = np.zeros((len(classes), k)), np.zeros(k)
    fold_of_group = np.empty(len(names), int)
    for group in progress_bar(shuffled[np.argsort(-uneven[shuffled], kind="stable")], "split"):
        own = slice(starts[group], starts[group + 1])
        present, added = in_fold[cell_classes[own]], counts[own, None]
        proposed = present[:, None, :] + np.eye(k) * added[:, None]  # (classes, fold that it joins, folds)
        shares = (proposed / class_sizes[cell_classes[own], None, None]).std(2).sum(0)
        fold = min(np.flatnonzero(shares <= shares.min() + 1e-12), key=lambda candidate: images[candidate])
        in_fold[cell_classes[own], fold] += counts[own]
        images[fold] += sizes[group]
        fold_of_group[group] = fold
    return fold_of_group[group_codes]


def _spread_tags(tags: np.ndarray, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Spread groups by iterative stratification (Sechidis 2011), the rarest tag first.

    Written here, because scikit-learn has none, and the packages that do know no groups.
    """
    codes, names = pd.factorize(groups)
    rng = np.random.default_rng(seed)
    counts = np.zeros((len(names), tags.shape[1] + 1))  # of each group: images with each tag, and images
    np.add.at(counts, codes, np.column_stack([tags, np.ones(len(tags))]))
    lacking = np.tile(counts.sum(0) / k, (k, 1))  # images that each fold still lacks, by tag and in all
    fold_of_group = np.full(len(names), -1)
    order = rng.permutation(len(names))
    while (left := order[fold_of_group[order] < 0]).size:
        remaining = counts[left, :-1].sum(0)
        tag = int(np.argmin(np.where(remaining > 0, remaining, np.inf))) if remaining.any() else tags.shape[1]
        with_tag = left[counts[left, tag] > 0]
        for group in with_tag[np.argsort(-counts[with_tag].sum(1), kind="stable")]:
            fold = max(range(k), key=lambda fold: (lacking[fold, tag], lacking[fold, -1], -fold))
            fold_of_group[group] = fold
            lacking[fold] -= counts[group]
    return fold_of_group[codes]


def join_groups(images: Sequence[str], *groupings: Sequence[str | None]) -> dict[str, str]:
    """Return the group of each image so that images that share a group of any grouping share one; None is no group.

    A group is called after the smallest id in it, as a group of copies is.
    """
    count = len(images)
    links = []
    for grouping in groupings:
        first: dict[str, int] = {}
        links += [(row, first.setdefault(group, row)) for row, group in enumerate(grouping) if group is not None]
    rows, columns = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    groups = connected_components(graph, directed=False)[1].tolist()
    names: dict[int, str] = {}
    for image, group in zip(images, groups, strict=True):
        names[group] = min(image, names.get(group, image))
    return {image: names[group] for image, group in zip(images, groups, strict=True)}
