"""Explain a blend: reliability diagrams, and the weight, gain and latency of each member."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from comp.blending.assess import Assessment
from comp.blending.members import Members
from comp.ensemble import blend as blends
from comp.ensemble.blend import FIXED_METHODS
from comp.ensemble.crossfit import predict_without_each
from comp.ensemble.diagnostics import error_correlation, leave_one_out_gains, member_table
from comp.ensemble.text_tables import format_members
from comp.progress_bar import progress_bar
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

    temperatures = {member.name: member.temperature for member in assessment.blend.members}
    candidates = [
        plots.CandidateConfidence(name, assessment.uncalibrated[name], after, temperatures.get(name))
        for name, after in assessment.calibrated.items()
    ]
    if not candidates:
        return
    path = directory / "reliability.png"
    plots.draw_reliability(path, "accuracy by confidence, out of fold", candidates)
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

    fitted, pool = assessment.fitted_members, assessment.pool
    names = [member.name for member in fitted.members]
    errors = np.stack([pool.task.errors(pool.targets, fitted.subset([name]).predict(fitted.rows)[0]) for name in names])
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
    predictions = fitted.predict(fitted.rows)
    draws = max(10, min(100, 2000 // len(pool.members)))  # a greedy fit of 200 members takes about a second
    with progress_bar(total=draws, desc="resampled weights") as bar:

        def fit_weights(rows: np.ndarray) -> np.ndarray:
            bar.update()
            blend = blends.fit_blend(
                pool.task,
                assessment.method,
                fitted.members,
                predictions[:, rows],
                pool.targets[rows],
                pool.folds[rows],
                pool.metric,
            )
            return np.array([member.weight for member in blend.members])

        return bootstrap_weights(fit_weights, len(pool.images), draws)


def _member_gains(assessment: Assessment) -> dict[str, Comparison]:
    """Return, for each member of non-zero weight, the comparison of the blend with a blend fitted without it."""
    pool = assessment.pool
    weighted = [member.name for member in assessment.blend.members if member.weight != 0]
    without = predict_without_each(weighted, assessment.method, assessment.fold_fits, pool)
    blended = assessment.cross_fitted[assessment.result_name]
    return leave_one_out_gains(pool.metric, pool.targets, blended, without)
