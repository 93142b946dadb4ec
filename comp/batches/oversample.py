"""Small classes brought up to the size of the largest, on the training rows alone, in the two ways of Gupta's paper.

The added items stand behind the images of a `TrainingSet`, which makes their pixels when asked for them: nothing is
stored. What they are made of is drawn once per training. The images of a class take turns as the base of an added
one, so what falls to any two of them differs by one at most.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comp.batches.loader import OversampledItems, TrainingSet
from comp.batches.policies import POLICIES
from comp.data.cache import Cache
from comp.data.images import resize
from comp.errors import UserError, did_you_mean

NEIGHBOURS = 5  # of SMOTE's own article; Gupta's paper gives no number
SEARCH_SIZE = 32  # px at which neighbours are looked for, see `neighbours`


def oversample(source: TrainingSet, how: str) -> TrainingSet:
    """`source` with as many items of every class as of its largest; the images themselves stay as they are.

    `smote` adds blends of two images of a class, which then go through the run's own policy as images do. The name of
    a policy adds copies, which go through that policy instead, with other draws in every epoch.
    """
    if how == "none":
        return source
    # five words: numpy reads a missing word as zero, and no other draw of a training has more than four
    draw = np.random.default_rng([*source.stream, 0, 0, 1])
    bases = choose_bases(source.labels, draw)
    if how == "smote":
        partners, shares, policy = sample_partners(source, bases, draw), draw.random(len(bases)), source.policy
    else:
        from comp.batches.augment_image import ImageAugmenter  # albumentations: only for who trains

        partners, shares, policy = bases, np.zeros(len(bases)), ImageAugmenter(how)
    return replace(
        source,
        rows=np.concatenate([source.rows, source.rows[bases]]),
        labels=np.concatenate([source.labels, source.labels[bases]]),
        added=OversampledItems(len(source.rows), source.rows[partners], shares, policy),
    )


def choose_bases(labels: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The places in `labels` to take once more, or several times, until all classes are of one size."""
    most = np.bincount(labels).max()
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([np.resize(draw.permutation(places), most - len(places)) for places in members])


def sample_partners(source: TrainingSet, bases: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """For each base one of its nearest neighbours of its class, all equally likely; the base where it has none."""
    partners = bases.copy()
    for label in np.unique(source.labels[bases]):
        places = np.flatnonzero(source.labels == label)
        wanted = source.labels[bases] == label
        if len(places) > 1:
            near = nearest_neighbours(source.images, source.rows[places], source.size)
            chosen = draw.integers(near.shape[1], size=wanted.sum())
            partners[wanted] = places[near[np.searchsorted(places, bases[wanted]), chosen]]
    return partners


def nearest_neighbours(images: Cache, rows: np.ndarray, size: int) -> np.ndarray:
    """The nearest others of each row, as positions in `rows`: 5, or as many as there are.

    scikit-learn finds them but has no SMOTE, so the blending is done by hand. The images are compared in pixels at
    the model's size, but at no more than 32 px: of 3,000 images in 8 classes the smaller 7 then take 0.4 s (1.2 s
    where the disk has to be read) and 14 MB, at 96 px 2.1 s and 104 MB; one class of 1,500 alone 42 MB, at 96 px
    377 MB. Of five neighbours four are the same at both sizes (83 %, 400 blood cells).
    """
    from sklearn.neighbors import NearestNeighbors  # 1.2 s to import, and few trainings ask for it

    size = min(size, SEARCH_SIZE)
    # as float64 the distances of whole numbers are exact, whatever the number of threads
    pixels = np.stack([resize(images[row], size).ravel() for row in rows]).astype(np.float64)
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(rows) - 1), algorithm="brute").fit(pixels)
    return search.kneighbors(return_distance=False)


def check_oversample(name: str) -> None:
    known = {*POLICIES, "smote"}
    if name not in known:
        raise UserError(f"augment.oversample: there is no {name}{did_you_mean(name, known)}")
