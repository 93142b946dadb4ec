"""Cross-fitted scores of what is fitted to out-of-fold predictions: fitted without a fold, scored on that fold.

Views, temperatures and weights are all fitted again each time. The score on the images they were fitted to is called
naive; the naive score minus the cross-fitted one is the optimism.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold

from comp.ensemble import blend as blends
from comp.ensemble.blend import Blend
from comp.ensemble.calibrate import fit_temperature
from comp.ensemble.pool import MemberPredictions, Pool
from comp.ensemble.view_selection import choose_views
from comp.records.blend import BlendMember
from comp.tasks import Task


@dataclass(frozen=True)
class MemberFitOptions:
    """The options for fitting each member, before the members are blended."""

    calibrate: bool = True  # fit a temperature
    max_views: int | None = None  # choose at most this many; None: use every predicted view


@dataclass(frozen=True, eq=False)
class FittedMembers:
    """Calibrated predictions of every member for all images, averaged over views.

    Temperatures and views were fitted on `rows`.
    """

    rows: np.ndarray
    members: tuple[BlendMember, ...]
    predictions: np.ndarray  # (members, images, columns)

    def subset(self, names: Sequence[str]) -> FittedMembers:
        """Return the members of these names."""
        keep = [index for index, member in enumerate(self.members) if member.name in names]
        return FittedMembers(self.rows, tuple(self.members[index] for index in keep), self.predictions[keep])


@dataclass(frozen=True, eq=False)
class FoldFit:
    """Members fitted without one fold, and the rows of that fold, which they are scored on."""

    fitted: FittedMembers
    held_out_rows: np.ndarray

    def subset(self, names: Sequence[str]) -> FoldFit:
        """Return the fit of the members of these names."""
        return FoldFit(self.fitted.subset(names), self.held_out_rows)


def fit_members(pool: Pool, rows: np.ndarray, options: MemberFitOptions) -> FittedMembers:
    """Fit views and temperature of every member on `rows`, and apply them to all images."""
    members = tuple(_fit_member(pool.task, member, pool.targets, rows, options) for member in pool.members)
    predictions = [
        blends.average_views(pool.task, select_views(member_oof, member.views)[None], member.temperature)
        for member_oof, member in zip(pool.members, members, strict=True)
    ]
    return FittedMembers(rows, members, np.stack(predictions).astype(np.float32))


def _fit_member(
    task: Task, member: MemberPredictions, targets: np.ndarray, rows: np.ndarray, options: MemberFitOptions
) -> BlendMember:
    """Choose the views of a member and fit its temperature, on `rows`."""
    views = member.views
    if options.max_views is not None:
        views = choose_views(task, views, member.oof[:, rows], targets[rows], options.max_views)
    exclusive = task.to_exclusive(select_views(member, views)[:, rows]) if options.calibrate else None
    temperature = 1.0 if exclusive is None else fit_temperature(exclusive, task.exclusive_targets(targets[rows]))
    return BlendMember(member.name, views, temperature)


def select_views(member: MemberPredictions, views: Sequence[str]) -> np.ndarray:
    """Return the OOF predictions of some views, (views, images, columns)."""
    return member.oof[[member.views.index(view) for view in views]]


def fit_each_fold(pool: Pool, options: MemberFitOptions) -> list[FoldFit]:
    """Fit the members without each fold in turn. A single fold is divided into five parts for this."""
    if len(np.unique(pool.folds)) > 1:
        masks = [pool.folds == fold for fold in np.unique(pool.folds)]
    else:
        split = KFold(min(5, len(pool.targets)), shuffle=True, random_state=0).split(pool.targets)
        masks = [np.isin(np.arange(len(pool.targets)), rows) for _, rows in split]
    return [FoldFit(fit_members(pool, np.flatnonzero(~mask), options), np.flatnonzero(mask)) for mask in masks]


def fit_on_rows(method: str, fitted: FittedMembers, pool: Pool) -> Blend:
    """Fit a blend on the rows that its members were fitted on."""
    rows = fitted.rows
    return blends.fit_blend(
        pool.task,
        method,
        fitted.members,
        fitted.predictions[:, rows],
        pool.targets[rows],
        pool.folds[rows],
        pool.metric,
    )


def predict_in_sample(method: str, fitted: FittedMembers, pool: Pool) -> np.ndarray:
    """Return the predictions (images, columns) of a blend, decided, for the images that it was fitted to."""
    blend = fit_on_rows(method, fitted, pool)
    return pool.task.decide(blends.combine_members(blend, fitted.predictions), blend.decision)


def predict_cross_fitted(method: str, fold_fits: Sequence[FoldFit], pool: Pool) -> np.ndarray:
    """Return predictions (images, columns), decided, each image by a blend that was fitted without its fold."""
    return predict_cross_fitted_twice(method, fold_fits, pool)[1]


def predict_cross_fitted_twice(method: str, fold_fits: Sequence[FoldFit], pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions of `predict_cross_fitted` before and after the decision, from one fit per fold."""
    undecided, decided = (np.empty((len(pool.images), len(pool.columns))) for _ in range(2))
    for fold_fit in fold_fits:
        rows = fold_fit.held_out_rows
        blend = fit_on_rows(method, fold_fit.fitted, pool)
        combined = blends.combine_members(blend, fold_fit.fitted.predictions[:, rows])
        undecided[rows], decided[rows] = combined, pool.task.decide(combined, blend.decision)
    return undecided, decided
