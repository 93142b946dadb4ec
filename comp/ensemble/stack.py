"""A stack: a logistic regression on the members' log probabilities, which can weigh each member per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1)  # inverse penalties; chosen by log loss, cross-validated on the folds it is fitted to


@dataclass(frozen=True, eq=False)
class StackModel:
    """The fitted regression. Called with probabilities (members, images, classes), it returns (images, classes)."""

    coefficients: np.ndarray  # (classes, members * classes)
    intercepts: np.ndarray  # (classes,)

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        from scipy.special import softmax  # imported here: most blends are no stack

        return softmax(_features(probabilities) @ self.coefficients.T + self.intercepts, axis=1)


def fit_stack(probabilities: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> StackModel:
    """Fit a stack to probabilities (members, images, classes)."""
    classes = probabilities.shape[2]
    seen = np.unique(targets)
    features = _features(probabilities)
    if len(seen) == 1:
        return _with_unseen_classes(np.zeros((1, features.shape[1])), np.zeros(1), seen, classes)
    model = _fit_regression(features, targets, _splits(targets, folds))
    weights, intercepts = model.coef_, model.intercept_
    if len(seen) == 2:  # scikit-learn then gives one row, of the second class against the first
        weights, intercepts = np.stack([-weights[0], weights[0]]) / 2, np.array([-1, 1]) * intercepts[0] / 2
    return _with_unseen_classes(weights, intercepts, seen, classes)


def _fit_regression(
    features: np.ndarray, targets: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]]
) -> LogisticRegression:
    """Fit a logistic regression with the C of the lowest log loss on `splits`; without splits, with the smallest C."""
    from sklearn.linear_model import LogisticRegression  # imported here: it takes 0.5 s, and most blends are no stack
    from sklearn.model_selection import GridSearchCV

    # newton-cg: a fit of 5 members of 3,200 images takes 0.03 s, by lbfgs 0.1 to 0.7 s; of 20, 0.1 s and 0.2 to 0.5 s
    strongest = LogisticRegression(C=C_GRID[0], solver="newton-cg")
    if not splits:  # no data to choose C by
        return strongest.fit(features, targets)
    search = GridSearchCV(strongest, {"C": C_GRID}, scoring=_log_likelihood, cv=splits)
    return search.fit(features, targets).best_estimator_


def _splits(targets: np.ndarray, folds: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return splits that hold out each fold, or each third of a single fold, if two classes remain to train on."""
    from sklearn.model_selection import KFold, LeaveOneGroupOut

    splits = (
        LeaveOneGroupOut().split(targets, groups=folds)
        if len(np.unique(folds)) > 1
        else KFold(min(3, len(targets)), shuffle=True, random_state=0).split(targets)
    )
    return [(train, held_out) for train, held_out in splits if len(np.unique(targets[train])) > 1]


def _log_likelihood(model: LogisticRegression, features: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean log probability of the targets; scikit-learn's scorer fails where a split lacks a class."""
    logs = model.predict_log_proba(features)
    known = np.isin(targets, model.classes_)
    return float(logs[known, np.searchsorted(model.classes_, targets[known])].mean()) if known.any() else 0.0


def _features(probabilities: np.ndarray) -> np.ndarray:
    """Return the log probabilities as (images, members * classes)."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).eps, dtype=np.float64))
    return logs.transpose(1, 0, 2).reshape(probabilities.shape[1], -1)


def _with_unseen_classes(weights: np.ndarray, intercepts: np.ndarray, seen: np.ndarray, classes: int) -> StackModel:
    """Extend the model to all classes. A class without training images is never predicted."""
    model = StackModel(np.zeros((classes, weights.shape[1])), np.full(classes, -100.0))
    model.coefficients[seen], model.intercepts[seen] = weights, intercepts
    return model
