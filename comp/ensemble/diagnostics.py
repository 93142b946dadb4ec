"""Diagnostics of a blend: the correlation of the members' errors, and the gain and latency of each member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from comp.stats import Comparison, compare, resample_scores


def error_correlation(errors: np.ndarray) -> np.ndarray:
    """Return the correlation (members, members) of the members' errors (members, images).

    Of classes it is the phi coefficient of being incorrect: 1 if two members err on the same images, 0 if they coincide
    as often as by chance. A member that is always correct, or always incorrect, has correlation 0 with the others.
    """
    centred = errors - errors.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1, keepdims=True))
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    correlation = np.clip(unit @ unit.T, -1, 1)
    np.fill_diagonal(correlation, 1)
    return correlation


def leave_one_out_gains(
    metric: str, targets: np.ndarray, blended: np.ndarray, without: Mapping[str, np.ndarray]
) -> dict[str, Comparison]:
    """Return the gain of each member: the blend's score minus its score without that member.

    `blended` and each of `without` are cross-fitted probabilities (images, classes). A positive gain means that the
    blend is better with the member.
    """
    whole, *others = resample_scores(metric, targets, [blended, *without.values()])
    return {name: compare(whole, other) for name, other in zip(without, others, strict=True)}


def member_table(
    names: Sequence[str],
    weights: Sequence[float | None],
    resampled_weights: np.ndarray | None,
    gains: Mapping[str, Comparison],
    latency: Mapping[str, float],
) -> pd.DataFrame:
    """Return a row per member, the heaviest first, then the most useful.

    weight, weight_low, weight_high, chosen    the interval that holds 95 % of `resampled_weights`, and the share of
                                               resamples in which the weight is not 0
    gain, gain_low, gain_high, p, verdict      of `gains`
    ms, ms_per_thousandth                      latency per image, and latency for a gain of 0.001, where there is one

    `weights` are None for a stack, `resampled_weights` is None where nothing is fitted. A member without an entry in
    `gains` (the only one) has none.
    """
    low = high = chosen = np.full(len(names), np.nan)
    if resampled_weights is not None:
        low, high = np.percentile(resampled_weights, [2.5, 97.5], axis=0)
        chosen = (resampled_weights > 0).mean(0)
    rows = pd.DataFrame(
        {
            "name": list(names),
            "weight": np.array(weights, dtype=float),
            "weight_low": low,
            "weight_high": high,
            "chosen": chosen,
        }
    ).join(pd.DataFrame([_gain_columns(gains.get(name)) for name in names]))
    rows["ms"] = [latency[name] for name in names]
    rows["ms_per_thousandth"] = (rows["ms"] / (rows["gain"] / 0.001)).where(rows["gain"] > 0)
    return rows.sort_values(["weight", "gain", "name"], ascending=[False, False, True], ignore_index=True)


def _gain_columns(gain: Comparison | None) -> dict[str, float | str]:
    if gain is None:
        return {"gain": np.nan, "gain_low": np.nan, "gain_high": np.nan, "p": np.nan, "verdict": ""}
    return {
        "gain": gain.difference,
        "gain_low": gain.interval[0],
        "gain_high": gain.interval[1],
        "p": gain.p,
        "verdict": gain.verdict,
    }
