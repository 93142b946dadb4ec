"""The tables an ensemble is judged by, as text of at most 120 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comp.metrics import METRICS
from comp.stats import Comparison, compare, resample_scores

MAX_ALL_PAIRS = 6  # candidates up to which every pair is printed: 15 lines
WIDTH = 120
MAX_LINES = 30  # lines of a table; the files have them all


@dataclass(frozen=True)
class Candidate:
    """A member or a blend. All but `naive` is of cross-fitted predictions."""

    name: str
    score: float
    interval: tuple[float, float]
    naive: float  # of what was learnt on the very images it is scored on
    log_loss: float
    error_before: float  # expected calibration error, without temperatures
    error: float  # and with


def format_candidates(metric: str, candidates: Sequence[Candidate]) -> str:
    """The best first. Optimism is by how much the naive score flatters: positive, whatever the metric's direction."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    lines = [
        [
            one.name,
            f"{one.score:.4f}",
            _interval(*one.interval),
            f"{one.naive:.4f}",
            f"{sign * (one.naive - one.score):+z.4f}",
            "" if metric == "log_loss" else f"{one.log_loss:.4f}",
            f"{one.error_before:.4f}",
            f"{one.error:.4f}",
        ]
        for one in sorted(candidates, key=lambda one: (-sign * one.score, one.name))
    ]
    return _table(
        [metric, "cross-fitted", "95 % interval", "naive", "optimism", "log loss", "ECE before", "after"],
        lines,
        left=(0,),
    )


def compare_all_pairs(metric: str, truth: np.ndarray, candidates: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Every pair of candidates (images, classes), the better one first: a, b, difference, low, high, p, verdict."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    known = dict(zip(candidates, resample_scores(metric, truth, list(candidates.values())), strict=True))
    names = sorted(known, key=lambda name: (-sign * known[name].score, name))
    compared = [(a, b, compare(known[a], known[b])) for place, a in enumerate(names) for b in names[place + 1 :]]
    return pd.DataFrame(
        [[a, b, one.difference, *one.interval, one.p, one.verdict] for a, b, one in compared],
        columns=["a", "b", "difference", "low", "high", "p", "verdict"],
    )


def format_pairs(pairs: pd.DataFrame) -> str:
    """All of few candidates; of many the best against each other one. `pairs` has the best one first."""
    few = len(pairs) <= MAX_ALL_PAIRS * (MAX_ALL_PAIRS - 1) / 2
    shown = pairs if few else pairs[pairs["a"] == pairs["a"].iloc[0]]
    lines = [
        [row.a, "-", row.b, *str(Comparison(row.difference, (row.low, row.high), row.p)).split("  ")]
        for row in shown.itertuples()
    ]
    return _table(["a", "", "b", "difference, 95 %", "", ""], lines, left=(0, 1, 2, 5)) if lines else ""


def format_members(metric: str, members: pd.DataFrame) -> str:
    """The table of `explain.members`. What 0.001 costs is only said of a gain that is more than noise."""
    lines = [
        [
            row.name,
            _known(row.weight, f"{row.weight:.3f}"),
            _known(row.chosen, f"[{row.weight_low:.2f}, {row.weight_high:.2f}]"),
            _known(row.chosen, f"{row.chosen:.0%}"),
            _known(row.gain, f"{row.gain:+z.4f}"),
            _known(row.gain, _interval(row.gain_low, row.gain_high, sign="+")),
            row.verdict,
            f"{row.ms:.2f}",
            f"{row.ms_per_thousandth:.2f}" if row.verdict == "better" else "",
        ]
        for row in members.itertuples(index=False)
    ]
    return _table(
        ["member", "weight", "95 %, redrawn", "picked", "gain", f"95 %, {metric}", "", "ms/image", "ms per 0.001"],
        lines,
        left=(0, 6),
    )


def _known(value: float, text: str) -> str:
    return "" if np.isnan(value) else text


def _interval(low: float, high: float, sign: str = "-") -> str:
    return f"[{low:{sign}z.4f}, {high:{sign}z.4f}]"


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Columns side by side, without those that say nothing; `left` are to the left, names among them shortened."""
    columns = [
        (title, [line[place] for line in lines[:MAX_LINES]], place in left) for place, title in enumerate(titles)
    ]
    columns = [([title, *cells], aligned) for title, cells, aligned in columns if any(cells)]
    widths = [max(map(len, cells)) for cells, _ in columns]
    names = [place for place, (_, aligned) in enumerate(columns) if aligned and widths[place] > len("inside the noise")]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH and names:
        widths[max(names, key=lambda place: widths[place])] -= 1
    text = [
        "  ".join(
            _short(cells[row], width).ljust(width) if aligned else cells[row].rjust(width)
            for (cells, aligned), width in zip(columns, widths, strict=True)
        ).rstrip()
        for row in range(len(columns[0][0]))
    ]
    return "\n".join([*text, f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else text)


def _short(name: str, width: int) -> str:
    """The middle goes: names of runs begin with the config and end with what was changed last."""
    tail = (width - 1) // 2
    return name if len(name) <= width else f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"
