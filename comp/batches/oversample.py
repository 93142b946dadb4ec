"""Oversample small classes to the size of the largest, on the training rows alone, in the two ways of Gupta's paper.

The added items follow the images of a `TrainingSet`, which makes their pixels on request: nothing is stored. Their
images and partners are drawn once per training. The images of a class take turns as the base of an added item, so
that they are used equally often, give or take one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comp.batches.loader import Augmenter, OversampledItems, TrainingSet
from comp.batches.policies import POLICIES
from comp.data.cache import Squares
from comp.data.images import resize
from comp.errors import UserError, did_you_mean

NEIGHBOURS = 5  # as in the SMOTE article; Gupta's paper gives no number
SEARCH_SIZE = 32  # side in pixels at which neighbours are searched, see `nearest_neighbours`


def oversample(train_set: TrainingSet, method: str) -> TrainingSet:
    """Return `train_set` with items added until every class is as large as the largest; its items do not change.

    `method` is `none`, `smote` or the name of a policy. `smote` adds blends of two images of a class, which are
    augmented like all images. A policy adds copies, which that policy augments instead, differently in every epoch.
    """
    if method == "none":
        return train_set
    # A key of five numbers: numpy reads a missing number as zero, and the other keys of a training have at most four.
    rng = np.random.default_rng([*train_set.rng_key, 0, 0, 1])
    bases = choose_bases(train_set.targets, rng)
    augmenter: Augmenter
    if method == "smote":
        partners = sample_partners(train_set, bases, rng)
        blend_weights, augmenter = rng.random(len(bases)), train_set.augmenter
    else:
        from comp.batches.augment_image import ImageAugmenter  # imports albumentations, which only a training needs

        partners, blend_weights, augmenter = bases, np.zeros(len(bases)), ImageAugmenter(method)
    return replace(
        train_set,
        rows=np.concatenate([train_set.rows, train_set.rows[bases]]),
        targets=np.concatenate([train_set.targets, train_set.targets[bases]]),
        oversampled=OversampledItems(len(train_set.rows), train_set.rows[partners], blend_weights, augmenter),
    )


def choose_bases(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the positions in `targets` to repeat, some of them several times, until all classes have one size."""
    max_count = np.bincount(targets).max()
    positions_by_class = [np.flatnonzero(targets == class_index) for class_index in np.unique(targets)]
    return np.concatenate(
        [np.resize(rng.permutation(positions), max_count - len(positions)) for positions in positions_by_class]
    )


def sample_partners(train_set: TrainingSet, bases: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random one of the nearest neighbours of each base in its class.

    The base itself is returned if its class has no other image.
    """
    partners = bases.copy()
    for class_index in np.unique(train_set.targets[bases]):
        positions = np.flatnonzero(train_set.targets == class_index)
        in_class = train_set.targets[bases] == class_index
        if len(positions) > 1:
            neighbours = nearest_neighbours(train_set.squares, train_set.rows[positions], train_set.size)
            choices = rng.integers(neighbours.shape[1], size=in_class.sum())
            partners[in_class] = positions[neighbours[np.searchsorted(positions, bases[in_class]), choices]]
    return partners


def nearest_neighbours(squares: Squares, rows: np.ndarray, size: int) -> np.ndarray:
    """Return the nearest other images of each row, as positions in `rows`: 5, or as many as exist.

    scikit-learn finds neighbours but has no SMOTE, so the blending is our own. Images are compared in pixels at the
    model's size, but at no more than 32 px. Of 3,000 images in 8 classes the smaller 7 then take 0.4 s (1.2 s when
    they are read from the disk) and 14 MB, against 2.1 s and 104 MB at 96 px; one class of 1,500 alone takes 42 MB,
    against 377 MB at 96 px. Of five neighbours four are the same at both sizes (83 %, 400 blood cells).
    """
    from sklearn.neighbors import NearestNeighbors  # takes 1.2 s to import, and few trainings need it

    size = min(size, SEARCH_SIZE)
    # In float64 the distances of whole numbers are exact, whatever the number of threads.
    pixels = np.stack([resize(squares[row], size).ravel() for row in rows]).astype(np.float64)
    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(rows) - 1), algorithm="brute").fit(pixels)
    return index.kneighbors(return_distance=False)


def check_oversample(name: str) -> None:
    """Raise a UserError unless `name` is a method of `oversample`."""
    available = {*POLICIES, "smote"}
    if name not in available:
        raise UserError(f"augment.oversample: there is no {name}{did_you_mean(name, available)}")
