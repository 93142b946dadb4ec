"""Why a blend is what it is: who earns a place in it, how sure that is, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from comp.stats import Comparison, compare, resample_scores


def error_correlation(truth: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(members, members): do two fail on the same images? Of (members, images, classes).

    The phi coefficient of being wrong: 1 = exactly together, 0 = as often together as by chance. A member that is
    always right, or always wrong, shares nothing with anybody: 0.
    """
    wrong = (members.argmax(2) != truth).astype(np.float64)
    centred = wrong - wrong.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1, keepdims=True))
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    correlation = np.clip(unit @ unit.T, -1, 1)
    np.fill_diagonal(correlation, 1)
    return correlation


def leave_one_out_gains(
    metric: str, truth: np.ndarray, blended: np.ndarray, without: Mapping[str, np.ndarray]
) -> dict[str, Comparison]:
    """What having each member gains: the blend of all against the one made without it, both (images, classes) and
    cross-fitted. Positive = better with it."""
    everybody, *others = resample_scores(metric, truth, [blended, *without.values()])
    return {name: compare(everybody, other) for name, other in zip(without, others, strict=True)}


def member_table(
    names: Sequence[str],
    weights: Sequence[float | None],
    drawn: np.ndarray | None,
    gains: Mapping[str, Comparison],
    cost: Mapping[str, float],
) -> pd.DataFrame:
    """A row a member, the heaviest first, then the most useful.

    weight, weight_low, weight_high, chosen    and where 95 % of `drawn` lie, and how often it had any weight at all
    gain, gain_low, gain_high, p, verdict      of `gains`
    ms, ms_per_thousandth                      per image, and for a gain of 0.001, where there is one

    `weights` are None for a stack, `drawn` is where nothing was learnt; a member without an entry in `gains` (the
    only one) has none.
    """
    low, high = (np.full(len(names), np.nan),) * 2 if drawn is None else np.percentile(drawn, [2.5, 97.5], axis=0)
    chosen = np.full(len(names), np.nan) if drawn is None else (drawn > 0).mean(0)
    rows = pd.DataFrame(
        {
            "name": list(names),
            "weight": np.array(weights, dtype=float),
            "weight_low": low,
            "weight_high": high,
            "chosen": chosen,
        }
    ).join(pd.DataFrame([_gain_columns(gains.get(name)) for name in names]))
    rows["ms"] = [cost[name] for name in names]
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
