"""Features in two dimensions, to be looked at: t-SNE after PCA."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

MAX_IMAGES = 1500  # the time of t-SNE grows with them: 17 s of a busy core for 640 images
COMPONENTS = 50
PERPLEXITY = 30
ITERATIONS = 500  # half of the default: the groups have settled


def choose_sample(images: int, seed: int = 0) -> np.ndarray:
    """Return the rows to project, in order: all of them, or a random `MAX_IMAGES`."""
    if images <= MAX_IMAGES:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).choice(images, MAX_IMAGES, replace=False))


def project(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return float32 (images, 2): neighbours stay neighbours; distances between groups and directions mean nothing.

    Fewer than 5 images cannot be projected, and give zeros.
    """
    images = len(features)
    if images < 5:
        return np.zeros((images, 2), np.float32)
    components = min(COMPONENTS, images, features.shape[1])
    reduced = PCA(components, random_state=seed).fit_transform(features)
    perplexity = min(PERPLEXITY, (images - 1) / 3)
    return (
        TSNE(perplexity=perplexity, max_iter=ITERATIONS, init="pca", random_state=seed)
        .fit_transform(reduced)
        .astype(np.float32)
    )
