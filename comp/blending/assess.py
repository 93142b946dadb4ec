"""What a blend and each of its members is worth: learnt without a fold, scored on it, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from comp.ensemble.blend import Blend
from comp.ensemble.calibrate import expected_calibration_error
from comp.ensemble.crossfit import (
    FittedMembers,
    FoldFit,
    MemberFitOptions,
    fit_each_fold,
    fit_members,
    fit_on_rows,
    predict_cross_fitted,
    predict_in_sample,
)
from comp.ensemble.pool import Pool
from comp.ensemble.text_tables import Candidate, compare_all_pairs
from comp.metrics import score
from comp.stats import bootstrap_interval


@dataclass(frozen=True)
class Assessment:
    """All of it is out of fold. Candidates are the members, their mean, and the method asked for: arrays (images,
    classes) by name."""

    pool: Pool
    method: str
    blend: Blend  # as learnt on every image, for the test images
    everyone: FittedMembers  # likewise
    parted: Sequence[FoldFit]
    honest: dict[str, np.ndarray]  # cross-fitted
    flattered: dict[str, np.ndarray]  # learnt on the very images it is scored on
    untempered: dict[str, np.ndarray]  # cross-fitted, every temperature 1

    @property
    def result(self) -> str:
        """The candidate that is written."""
        names = [member.name for member in self.pool.members]
        return names[0] if len(names) == 1 and self.method == "mean" else _blend_name(self.method, names)

    @cached_property
    def candidates(self) -> list[Candidate]:
        metric, truth = self.pool.metric, self.pool.truth
        return [
            Candidate(
                name,
                score(metric, truth, made),
                bootstrap_interval(metric, truth, made),
                score(metric, truth, self.flattered[name]),
                score("log_loss", truth, made),
                expected_calibration_error(truth, self.untempered[name]),
                expected_calibration_error(truth, made),
            )
            for name, made in self.honest.items()
        ]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every two candidates held against each other."""
        return compare_all_pairs(self.pool.metric, self.pool.truth, self.honest)

    @property
    def written(self) -> Candidate:
        return next(one for one in self.candidates if one.name == self.result)

    def facts(self) -> dict[str, Any]:
        """Of what is written, for its note."""
        folds = [
            score(
                self.pool.metric,
                self.pool.truth[self.pool.folds == fold],
                self.honest[self.result][self.pool.folds == fold],
            )
            for fold in np.unique(self.pool.folds)
        ]
        return {
            "metric": self.pool.metric,
            "score": self.written.score,
            "interval": list(self.written.interval),
            "naive": self.written.naive,
            "log_loss": self.written.log_loss,
            "calibration_error": self.written.error,
            "per_fold": folds,
            "images": len(self.pool.images),
        }

    def oof(self) -> pd.DataFrame:
        """The cross-fitted predictions of what is written, as a table of OOF predictions."""
        table = pd.DataFrame(self.honest[self.result], columns=list(self.pool.classes))
        table.insert(0, "image", self.pool.images)
        table.insert(1, "label", np.array(self.pool.classes)[self.pool.truth])
        table.insert(2, "fold", self.pool.folds)
        return table


def assess(pool: Pool, method: str, learning: MemberFitOptions) -> Assessment:
    whole = np.arange(len(pool.images))
    everyone, parted = fit_members(pool, whole, learning), fit_each_fold(pool, learning)
    plain = fit_each_fold(pool, replace(learning, temperature=False)) if learning.temperature else parted
    honest, flattered, untempered = {}, {}, {}
    for name, members, how in _candidates(pool, method):
        honest[name] = predict_cross_fitted(how, [part.only(members) for part in parted], pool)
        flattered[name] = predict_in_sample(how, everyone.only(members), pool)
        untempered[name] = predict_cross_fitted(how, [part.only(members) for part in plain], pool)
    return Assessment(
        pool, method, fit_on_rows(method, everyone, pool), everyone, parted, honest, flattered, untempered
    )


def _candidates(pool: Pool, method: str) -> list[tuple[str, list[str], str]]:
    """(name, members, method): each alone, the mean of several, and what was asked for."""
    everyone = [member.name for member in pool.members]
    together = ["mean", method] if len(everyone) > 1 else [method] if method != "mean" else []
    return [
        *((name, [name], "mean") for name in everyone),
        *((_blend_name(how, everyone), everyone, how) for how in dict.fromkeys(together)),
    ]


def _blend_name(method: str, members: Sequence[str]) -> str:
    return f"{method} of {len(members)}"
