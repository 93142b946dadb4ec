"""The tables of an ensemble as text of at most 120 columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from comp.ensemble.candidates import Candidate
from comp.metrics import find_metric
from comp.stats import Comparison
from comp.text import WIDTH, format_interval, format_table

MAX_ALL_PAIRS = 6  # candidates up to which every pair is printed: 15 lines
MAX_LINES = 30  # lines of a table; the CSV files have all rows


def format_candidates(metric: str, candidates: Sequence[Candidate]) -> str:
    """Return a line per candidate, the best first.

    A positive optimism means that the naive score is too good, whatever the metric's direction.
    """
    sign = find_metric(metric).sign
    rows = [
        [
            candidate.name,
            f"{candidate.score:.4f}",
            format_interval(candidate.interval),
            f"{candidate.naive_score:.4f}",
            f"{sign * (candidate.naive_score - candidate.score):+z.4f}",
            "" if metric == "log_loss" else f"{candidate.loss:.4f}",
            "" if candidate.ece_before is None else f"{candidate.ece_before:.4f}",
            "" if candidate.ece is None else f"{candidate.ece:.4f}",
        ]
        for candidate in sorted(candidates, key=lambda candidate: (-sign * candidate.score, candidate.name))
    ]
    titles = [metric, "cross-fitted", "95 % interval", "naive", "optimism", "loss", "ECE before", "after"]
    return format_table(titles, rows, width=WIDTH, max_rows=MAX_LINES)


def format_pairs(pairs: pd.DataFrame) -> str:
    """Return a line per pair; of many candidates, only the pairs with the best one, which comes first in `pairs`."""
    is_short = len(pairs) <= MAX_ALL_PAIRS * (MAX_ALL_PAIRS - 1) / 2
    shown = pairs if is_short else pairs[pairs["a"] == pairs["a"].iloc[0]]
    rows = [
        [row["a"], "-", row["b"], *str(Comparison(row["difference"], (row["low"], row["high"]), row["p"])).split("  ")]
        for row in shown.to_dict("records")
    ]
    titles = ["a", "", "b", "difference, 95 %", "", ""]
    return format_table(titles, rows, left=(0, 1, 2, 5), width=WIDTH, max_rows=MAX_LINES)


def format_members(metric: str, members: pd.DataFrame) -> str:
    """Return the table of `diagnostics.member_table` as text.

    The latency per gain of 0.001 is left out if the gain is inside the noise.
    """
    rows = [
        [
            row["name"],
            _unless_nan(row["weight"], f"{row['weight']:.3f}"),
            _unless_nan(row["chosen"], f"[{row['weight_low']:.2f}, {row['weight_high']:.2f}]"),
            _unless_nan(row["chosen"], f"{row['chosen']:.0%}"),
            _unless_nan(row["gain"], f"{row['gain']:+z.4f}"),
            _unless_nan(row["gain"], format_interval((row["gain_low"], row["gain_high"]), signed=True)),
            row["verdict"],
            f"{row['ms']:.2f}",
            f"{row['ms_per_thousandth']:.2f}" if row["verdict"] == "better" else "",
        ]
        for row in members.to_dict("records")
    ]
    titles = [
        *("member", "weight", "95 %, resampled", "chosen", "gain", f"95 %, {metric}", ""),
        *("ms/image", "ms per 0.001"),
    ]
    return format_table(titles, rows, left=(0, 6), width=WIDTH, max_rows=MAX_LINES)


def _unless_nan(value: float, text: str) -> str:
    return "" if np.isnan(value) else text
