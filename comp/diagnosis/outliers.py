"""Images unlike others: far from their neighbours among features, or with little energy in all outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 10


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Vectors of reference images, in memory to compare many others with.

    Features must all be of one model, and both of images that it has not been trained on, or both of such that it has.
    """

    index: NearestNeighbors | None  # None: of fewer than two images
    own: np.ndarray  # distance of each reference image to the others, in units of the typical one
    unit: float

    @classmethod
    def fit(cls, reference: np.ndarray) -> Neighbourhood:
        count = min(NEIGHBOURS, len(reference) - 1)
        if count < 1:
            return cls(None, np.ones(len(reference)), 1.0)
        index = NearestNeighbors(n_neighbors=count).fit(reference)
        own = index.kneighbors()[0][:, -1]  # without arguments: not itself
        unit = max(float(np.median(own)), float(np.finfo(np.float32).tiny))
        return cls(index, own / unit, unit)

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """Return the distance of each row to its tenth neighbour in the reference, in units of the typical one."""
        if self.index is None:
            return np.ones(len(vectors))
        return self.index.kneighbors(vectors)[0][:, -1] / self.unit


def neighbour_distances(reference: np.ndarray, features: np.ndarray | None = None) -> np.ndarray:
    """Return the distance of each row of `features` to its tenth neighbour in `reference`, in units of the typical one.

    None: of each row of the reference to its neighbours other than itself. Rows are scaled to length 1, so a distance
    is an angle. The unit is the median of the reference, so that 1 is typical, whatever the model.
    """
    neighbourhood = Neighbourhood.fit(unit_length(reference))
    return neighbourhood.own if features is None else neighbourhood.distances(unit_length(features))


def unit_length(features: np.ndarray) -> np.ndarray:
    """Return features with each row scaled to length 1."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def energy(logits: np.ndarray) -> np.ndarray:
    """Return the energy of each row of logits of exclusive classes: high where no class is supported.

    From "Energy-based Out-of-distribution Detection" (Liu and others, 2020), at temperature 1.
    """
    return -logsumexp(logits, axis=1)
