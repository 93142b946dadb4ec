"""Adversarial validation: can a classifier tell the test images from the training images by their features?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from comp.metrics import find_metric
from comp.stats import bootstrap_interval

FOLDS = 5
COMPONENTS = 50  # with all features of a small dataset the regression would learn its rows


@dataclass(frozen=True, eq=False)
class Separation:
    """The AUC with which a classifier separates two sets of images, cross-validated."""

    auc: float  # 0.5: not at all
    interval: tuple[float, float]  # 95 %
    probabilities: np.ndarray  # that an image is of the second set: first the rows of the first set, then its own


def separate(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Separation | None:
    """Return how well cross-validated logistic regression tells two sets of features apart; None for fewer than 10.

    The features must be of one model that was trained on neither set: what a model was trained on, it knows.
    """
    if min(len(first), len(second)) < 2 * FOLDS:
        return None
    features, targets = np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)])
    components = min(COMPONENTS, features.shape[1], len(features) * (FOLDS - 1) // FOLDS)
    classifier = make_pipeline(
        StandardScaler(),
        PCA(components, random_state=seed),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    )
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(classifier, features, targets, cv=split, method="predict_proba")
    auc = find_metric("auc").score(targets, probabilities)
    return Separation(auc, bootstrap_interval("auc", targets, probabilities), probabilities[:, 1])
