"""Cross-fitted scores of what is fitted to out-of-fold predictions: fitted without a fold, scored on that fold.

Views, temperatures and weights are all fitted again each time. The score on the images they were fitted to is called
naive; the naive score minus the cross-fitted one is the optimism.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comp.ensemble import blend as blends
from comp.ensemble.blend import FIXED_METHODS, Blend
from comp.ensemble.calibrate import fit_temperature
from comp.ensemble.pool import MemberPredictions, Pool
from comp.ensemble.view_selection import choose_views
from comp.progress_bar import progress_bar
from comp.records.blend import BlendMember
from comp.tasks import Task

MAX_FITTED_VALUES = 2**26  # that a temperature is fitted to: 256 MiB; of 15,500 classes, 4,300 images


@dataclass(frozen=True)
class MemberFitOptions:
    """The options for fitting each member, before the members are blended."""

    calibrate: bool = True  # fit a temperature
    max_views: int | None = None  # choose at most this many; None: use every predicted view


@dataclass(frozen=True, eq=False)
class FittedMembers:
    """Members whose temperatures and views were fitted on `rows`.

    Their predictions are computed for the rows that need them: of every fold and all images, they were 2.8 GB for 50
    members and 50,000 images of 8 classes.
    """

    pool: Pool
    rows: np.ndarray
    members: tuple[BlendMember, ...]

    def subset(self, names: Sequence[str]) -> FittedMembers:
        """Return the members of these names."""
        return FittedMembers(self.pool, self.rows, tuple(member for member in self.members if member.name in names))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return calibrated predictions of `rows`, averaged over views: (members, rows, columns)."""
        oof = {member.name: member for member in self.pool.members}
        predictions = np.empty((len(self.members), len(rows), len(self.pool.columns)), np.float32)
        for index, member in enumerate(self.members):
            views = select_views(oof[member.name], member.views, rows)
            predictions[index] = blends.average_views(self.pool.task, views[None], member.temperature)
        return predictions


@dataclass(frozen=True, eq=False)
class FoldFit:
    """Members fitted without one fold, and the rows of that fold, which they are scored on."""

    fitted: FittedMembers
    held_out_rows: np.ndarray

    def subset(self, names: Sequence[str]) -> FoldFit:
        """Return the fit of the members of these names."""
        return FoldFit(self.fitted.subset(names), self.held_out_rows)


def fit_members(pool: Pool, rows: np.ndarray, options: MemberFitOptions) -> FittedMembers:
    """Fit views and temperature of every member on `rows`."""
    members = tuple(_fit_member(pool.task, member, pool.targets, rows, options) for member in pool.members)
    return FittedMembers(pool, rows, members)


def _fit_member(
    task: Task, member: MemberPredictions, targets: np.ndarray, rows: np.ndarray, options: MemberFitOptions
) -> BlendMember:
    """Choose the views of a member and fit its temperature, on `rows`."""
    views = member.views
    if options.max_views is not None:
        views = choose_views(task, views, member.oof[:, rows], targets[rows], options.max_views)
    fitted_rows = _spread(rows, MAX_FITTED_VALUES // (len(views) * member.oof.shape[-1]))
    exclusive = task.to_exclusive(select_views(member, views, fitted_rows)) if options.calibrate else None
    temperature = 1.0 if exclusive is None else fit_temperature(exclusive, task.exclusive_targets(targets[fitted_rows]))
    return BlendMember(member.name, views, temperature)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return about `count` of the rows, evenly spread, or all where there are no more."""
    return rows[:: -(-len(rows) // max(count, 1))] if len(rows) else rows


def select_views(member: MemberPredictions, views: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """Return the OOF predictions of some views and rows, (views, rows, columns)."""
    return np.stack([member.oof[member.views.index(view)].take(rows, axis=0) for view in views])


def fit_each_fold(pool: Pool, options: MemberFitOptions) -> list[FoldFit]:
    """Fit the members without each fold in turn. A single fold is divided into five parts for this."""
    if len(np.unique(pool.folds)) > 1:
        masks = [pool.folds == fold for fold in np.unique(pool.folds)]
    else:
        from sklearn.model_selection import KFold  # imported here: scikit-learn takes 0.5 s, and few blends need it

        split = KFold(min(5, len(pool.targets)), shuffle=True, random_state=0).split(pool.targets)
        masks = [np.isin(np.arange(len(pool.targets)), rows) for _, rows in split]
    return [FoldFit(fit_members(pool, np.flatnonzero(~mask), options), np.flatnonzero(mask)) for mask in masks]


def fit_on_rows(method: str, fitted: FittedMembers, pool: Pool) -> Blend:
    """Fit a blend on the rows that its members were fitted on."""
    rows = fitted.rows
    predictions = fitted.predict(rows if _is_fitted(method, pool) else rows[:0])
    return _fit_blend(method, fitted.members, predictions, rows, pool)


def _is_fitted(method: str, pool: Pool) -> bool:
    """Return whether a blend depends on the members' predictions: by its weights, its thresholds or its cut points."""
    return method not in FIXED_METHODS or pool.task.needs_decision(pool.metric)


def _fit_blend(
    method: str, members: Sequence[BlendMember], predictions: np.ndarray, rows: np.ndarray, pool: Pool
) -> Blend:
    rows = rows[: predictions.shape[1]]
    return blends.fit_blend(pool.task, method, members, predictions, pool.targets[rows], pool.folds[rows], pool.metric)


def predict_in_sample(method: str, fitted: FittedMembers, pool: Pool) -> np.ndarray:
    """Return the predictions (images, columns) of a blend, decided, for the images that it was fitted to."""
    predictions = fitted.predict(fitted.rows)
    blend = _fit_blend(method, fitted.members, predictions, fitted.rows, pool)
    return pool.task.decide(blends.combine_members(blend, predictions), blend.decision)


def predict_cross_fitted(method: str, fold_fits: Sequence[FoldFit], pool: Pool) -> np.ndarray:
    """Return predictions (images, columns), decided, each image by a blend that was fitted without its fold."""
    return predict_cross_fitted_twice(method, fold_fits, pool)[1]


def predict_cross_fitted_twice(method: str, fold_fits: Sequence[FoldFit], pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions of `predict_cross_fitted` before and after the decision, from one fit per fold."""
    undecided = np.empty((len(pool.images), len(pool.columns)))
    decided = np.empty_like(undecided) if pool.task.needs_decision(pool.metric) else undecided
    for fold_fit in fold_fits:
        rows = fold_fit.held_out_rows
        blend = fit_on_rows(method, fold_fit.fitted, pool)
        undecided[rows] = blends.combine_members(blend, fold_fit.fitted.predict(rows))
        if decided is not undecided:
            decided[rows] = pool.task.decide(undecided[rows], blend.decision)
    return undecided, decided


def predict_without_each(
    names: Sequence[str], method: str, fold_fits: Sequence[FoldFit], pool: Pool
) -> dict[str, np.ndarray]:
    """Return the cross-fitted predictions of the blend that lacks a member, for each of `names`.

    Fold by fold, so that the members' predictions are computed once for all blends.
    """
    without = {name: np.empty((len(pool.images), len(pool.columns))) for name in names}
    for fold_fit in progress_bar(fold_fits, "gain of each member"):
        fitted, rows = fold_fit.fitted, fold_fit.held_out_rows
        fitted_rows = fitted.rows if _is_fitted(method, pool) else fitted.rows[:0]
        to_fit, held_out = fitted.predict(fitted_rows), fitted.predict(rows)
        for name, predictions in without.items():
            keep = [index for index, member in enumerate(fitted.members) if member.name != name]
            blend = _fit_blend(method, [fitted.members[index] for index in keep], to_fit[keep], fitted.rows, pool)
            predictions[rows] = pool.task.decide(blends.combine_members(blend, held_out[keep]), blend.decision)
    return without
