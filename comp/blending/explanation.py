"""Explain a blend: reliability diagrams, and the weight, gain and latency of each member."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from comp.blending.assess import Assessment
from comp.blending.members import Members
from comp.ensemble import blend as blends
from comp.ensemble.blend import FIXED_METHODS
from comp.ensemble.crossfit import predict_cross_fitted
from comp.ensemble.diagnostics import error_correlation, leave_one_out_gains, member_table
from comp.ensemble.text_tables import format_members
from comp.runs import BLENDS
from comp.stats import Comparison, bootstrap_weights
from comp.tables import write_csv


def write_explanation(directory: Path, assessment: Assessment, members: Members) -> None:
    """Draw the reliability diagrams, and for several members write, draw and print the table of members."""
    _draw_reliability(directory, assessment)
    if len(assessment.pool.members) == 1:
        return
    table = _member_table(assessment, members)
    write_csv(directory / "members.csv", table)
    _draw_members(directory, assessment, table)
    print(f"\n{format_members(assessment.pool.metric, table)}\nplot: {directory / 'blend.png'}")


def _draw_reliability(directory: Path, assessment: Assessment) -> None:
    """Draw and announce reliability.png: candidates of probabilities, before and after calibration."""
    from comp.ensemble import plots  # matplotlib: a bundle predicts without it

    task = assessment.pool.task
    temperatures = {member.name: member.temperature for member in assessment.blend.members}
    candidates = []
    for name, predictions in assessment.undecided.items():
        before, after = task.to_exclusive(assessment.uncalibrated[name]), task.to_exclusive(predictions)
        if before is not None and after is not None:
            candidates.append(plots.CandidateConfidence(name, before, after, temperatures.get(name)))
    if not candidates:
        return
    targets = task.exclusive_targets(assessment.pool.targets)
    path = directory / "reliability.png"
    plots.draw_reliability(path, "accuracy by confidence, out of fold", targets, candidates)
    print(f"reliability diagram: {path} (OOF; the calibration of the fold mean on test images is not measured)")


def _member_table(assessment: Assessment, members: Members) -> pd.DataFrame:
    """Return weight, gain and latency of each member; the latency is measured where it is not known yet."""
    blend = assessment.blend
    latency = {member.name: members.latency_ms(member) for member in blend.members}
    return member_table(
        list(latency),
        [member.weight for member in blend.members],
        _resampled_weights(assessment),
        _member_gains(assessment),
        latency,
    )


def _draw_members(directory: Path, assessment: Assessment, table: pd.DataFrame) -> None:
    """Draw blend.png: the table of members and the correlation of their errors."""
    from comp.ensemble import plots

    names = [member.name for member in assessment.fitted_members.members]
    pool = assessment.pool
    errors = np.stack([pool.task.errors(pool.targets, member) for member in assessment.fitted_members.predictions])
    correlation = error_correlation(errors)
    title = f"{directory.relative_to(BLENDS)}: {assessment.result_name}"
    plots.draw_blend(
        directory / "blend.png", title, assessment.pool.metric, table, pd.DataFrame(correlation, names, names)
    )


def _resampled_weights(assessment: Assessment) -> np.ndarray | None:
    """Return (draws, members): weights fitted to resampled images, or None where no weights are fitted."""
    if assessment.method in (*FIXED_METHODS, "stack"):
        return None
    pool, fitted = assessment.pool, assessment.fitted_members
    draws = max(10, min(100, 2000 // len(pool.members)))  # a greedy fit of 200 members takes about a second
    with tqdm(total=draws, desc="resampled weights", disable=None, leave=False) as bar:

        def fit_weights(rows: np.ndarray) -> np.ndarray:
            bar.update()
            blend = blends.fit_blend(
                pool.task,
                assessment.method,
                fitted.members,
                fitted.predictions[:, rows],
                pool.targets[rows],
                pool.folds[rows],
                pool.metric,
            )
            return np.array([member.weight for member in blend.members])

        return bootstrap_weights(fit_weights, len(pool.images), draws)


def _member_gains(assessment: Assessment) -> dict[str, Comparison]:
    """Return, for each member of non-zero weight, the comparison of the blend with a blend fitted without it."""
    pool, names = assessment.pool, [member.name for member in assessment.fitted_members.members]
    weighted = [member.name for member in assessment.blend.members if member.weight != 0]
    without = {}
    for name in tqdm(weighted, "gain of each member", disable=None, leave=False):
        others = [other for other in names if other != name]
        without[name] = predict_cross_fitted(
            assessment.method, [fold_fit.subset(others) for fold_fit in assessment.fold_fits], pool
        )
    blended = assessment.cross_fitted[assessment.result_name]
    return leave_one_out_gains(pool.metric, pool.targets, blended, without)
