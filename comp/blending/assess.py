"""Score a blend and each of its members out of fold: cross-fitted, in-sample, and compared with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from comp.ensemble.blend import Blend
from comp.ensemble.calibrate import Confidence, expected_calibration_error
from comp.ensemble.candidates import Candidate, compare_all_pairs
from comp.ensemble.crossfit import (
    FittedMembers,
    FoldFit,
    MemberFitOptions,
    fit_each_fold,
    fit_members,
    fit_on_rows,
    predict_cross_fitted_twice,
    predict_in_sample,
)
from comp.ensemble.pool import Pool
from comp.metrics import score
from comp.prediction_file import prediction_table
from comp.progress_bar import progress_bar
from comp.records.blend import OofSummary
from comp.stats import bootstrap_interval


@dataclass(frozen=True)
class CandidateSpec:
    """A candidate before it is scored: some of the members, and how they are blended."""

    name: str
    members: list[str]
    method: str


@dataclass(frozen=True, eq=False)
class Assessment:
    """The cross-fitted predictions of all candidates for the training images, and what is known of others.

    Candidates are the members, their mean, and the blend of the requested method; each mapping is by their names.
    """

    pool: Pool
    method: str
    blend: Blend  # fitted to all images, for the test images
    fitted_members: FittedMembers  # fitted to all images
    fold_fits: Sequence[FoldFit]
    cross_fitted: dict[str, np.ndarray]  # (images, columns), decided
    losses: dict[str, float]  # of cross-fitted predictions before thresholds or cut points
    naive_scores: dict[str, float]  # of predictions by what was fitted to the images that are predicted
    calibrated: dict[str, Confidence]  # cross-fitted, undecided; empty where nothing is a probability
    uncalibrated: dict[str, Confidence]  # the same with every temperature 1

    @property
    def result_name(self) -> str:
        """The name of the candidate that becomes the submission."""
        names = [member.name for member in self.pool.members]
        return names[0] if len(names) == 1 and self.method == "mean" else _blend_name(self.method, names)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """All candidates with their scores."""
        return [self._score(name) for name in self.cross_fitted]

    def _score(self, name: str) -> Candidate:
        metric, targets, probabilities = self.pool.metric, self.pool.targets, self.cross_fitted[name]
        return Candidate(
            name,
            score(metric, targets, probabilities),
            bootstrap_interval(metric, targets, probabilities),
            self.naive_scores[name],
            self.losses[name],
            *(
                expected_calibration_error(confidences[name]) if name in confidences else None
                for confidences in (self.uncalibrated, self.calibrated)
            ),
        )

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Paired tests of every two candidates."""
        return compare_all_pairs(self.pool.metric, self.pool.targets, self.cross_fitted)

    @property
    def result(self) -> Candidate:
        """The candidate that becomes the submission."""
        return next(candidate for candidate in self.candidates if candidate.name == self.result_name)

    def oof_summary(self) -> OofSummary:
        """Return the scores of the candidate that becomes the submission, for its manifest."""
        pool, result, probabilities = self.pool, self.result, self.cross_fitted[self.result_name]
        per_fold = tuple(
            score(pool.metric, pool.targets[pool.folds == fold], probabilities[pool.folds == fold])
            for fold in np.unique(pool.folds)
        )
        return OofSummary(
            metric=pool.metric,
            score=result.score,
            interval=result.interval,
            naive=result.naive_score,
            log_loss=result.loss,
            calibration_error=result.ece,
            per_fold=per_fold,
            images=len(pool.images),
        )

    def oof_table(self) -> pd.DataFrame:
        """Return the cross-fitted predictions of `result`, with the columns of a run's OOF table."""
        pool = self.pool
        index = pd.DataFrame({"image": pool.images, "label": pool.labels, "fold": pool.folds})
        return prediction_table(index, self.cross_fitted[self.result_name], pool.columns)


def assess(pool: Pool, method: str, options: MemberFitOptions) -> Assessment:
    """Fit the blend to all images, and predict each image by every candidate fitted without its fold."""
    fitted_members, fold_fits = fit_members(pool, np.arange(len(pool.images)), options), fit_each_fold(pool, options)
    uncalibrated_fits = fit_each_fold(pool, replace(options, calibrate=False)) if options.calibrate else fold_fits
    cross_fitted, losses, naive_scores = {}, {}, {}
    calibrated: dict[str, Confidence] = {}
    uncalibrated: dict[str, Confidence] = {}
    for candidate in progress_bar(_candidate_specs(pool, method), "cross-fit"):
        name, members = candidate.name, candidate.members
        fits = [fit.subset(members) for fit in fold_fits]
        undecided, cross_fitted[name] = predict_cross_fitted_twice(candidate.method, fits, pool)
        losses[name] = float(pool.task.losses(pool.targets, undecided).mean())
        in_sample = predict_in_sample(candidate.method, fitted_members.subset(members), pool)
        naive_scores[name] = score(pool.metric, pool.targets, in_sample)
        del in_sample  # one of these arrays at a time
        _add_confidence(calibrated, name, pool, undecided)
        if options.calibrate:
            fits = [fit.subset(members) for fit in uncalibrated_fits]
            undecided = predict_cross_fitted_twice(candidate.method, fits, pool)[0]
        _add_confidence(uncalibrated, name, pool, undecided)
    return Assessment(
        pool=pool,
        method=method,
        blend=fit_on_rows(method, fitted_members, pool),
        fitted_members=fitted_members,
        fold_fits=fold_fits,
        cross_fitted=cross_fitted,
        losses=losses,
        naive_scores=naive_scores,
        calibrated=calibrated,
        uncalibrated=uncalibrated,
    )


def _add_confidence(confidences: dict[str, Confidence], name: str, pool: Pool, predictions: np.ndarray) -> None:
    """Add the confidence of a candidate's predictions, if they are probabilities."""
    exclusive = pool.task.to_exclusive(predictions)
    if exclusive is not None:
        confidences[name] = Confidence.of(pool.task.exclusive_targets(pool.targets), exclusive)


def _candidate_specs(pool: Pool, method: str) -> list[CandidateSpec]:
    """Return each member alone, the mean of several, and the blend of the requested method."""
    names = [member.name for member in pool.members]
    methods = ["mean", method] if len(names) > 1 else [method] if method != "mean" else []
    return [
        *(CandidateSpec(name, [name], "mean") for name in names),
        *(CandidateSpec(_blend_name(method, names), names, method) for method in dict.fromkeys(methods)),
    ]


def _blend_name(method: str, members: Sequence[str]) -> str:
    return f"{method} of {len(members)}"
