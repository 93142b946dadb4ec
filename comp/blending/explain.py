"""Why a blend is what it is: printed, drawn, and kept in runs/blends/<name>/ for the leaderboard.

blend.json         what was learnt, from whom, and its score
oof.csv            its cross-fitted predictions, like a run's
pairs.csv          every two candidates held against each other
members.csv        weight, gain and cost of each member, and blend.png: the same drawn, with whom it fails
reliability.png    how sure each is, and how sure it may be
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from comp.blending.assess import Assessment
from comp.ensemble import blend as blends
from comp.ensemble import diagnostics as explaining
from comp.ensemble.blend import FIXED_METHODS, BlendMember
from comp.ensemble.crossfit import predict_cross_fitted
from comp.ensemble.text_tables import format_candidates, format_members, format_pairs
from comp.files import write_json
from comp.metrics import METRICS
from comp.runs import BLENDS
from comp.stats import bootstrap_weights
from comp.tables import write_csv


def print_assessment(found: Assessment) -> None:
    """The tables people decide by, and what is written in one line."""
    metric, truth = found.pool.metric, found.pool.truth
    if len(found.honest) > 1:
        print(format_candidates(metric, found.candidates))
        print(f"\nheld against each other, on the same {len(truth)} images:")
        print(format_pairs(found.pairs), end="\n\n")
    one = found.written
    print(
        f"OOF {metric} {one.score:.4f} [{one.interval[0]:.4f}, {one.interval[1]:.4f}] on {len(truth)} images, "
        f"cross-fitted (naive {one.naive:.4f}); calibration error {one.error_before:.3f} -> {one.error:.3f}"
    )


def write_blend_files(folder: Path, found: Assessment, note: dict[str, Any]) -> None:
    for name in ("members.csv", "blend.png", "reliability.png"):  # they come last, or not at all: of one member
        (folder / name).unlink(missing_ok=True)
    write_csv(folder / "oof.csv", found.oof())
    write_csv(folder / "pairs.csv", found.pairs)
    write_json(
        folder / "blend.json",
        {
            "name": folder.relative_to(BLENDS).as_posix(),
            "method": found.method,
            "members": note["members"],
            "dataset": note["competition"]["name"],
            "folds_sha256": note["folds"]["sha256"],
            "metric": found.pool.metric,
            "higher_is_better": METRICS[found.pool.metric].higher_is_better,
            "oof": note["oof"],
            "parts": note["blend"]["parts"],
            "complete": note["complete"],
            "optimistic": note["optimistic"],
        },
    )


def write_explanation(folder: Path, found: Assessment, cost_of: Callable[[BlendMember], float]) -> None:
    """`cost_of` a member, in milliseconds per image, is only asked where there are several: it may need measuring."""
    from comp.ensemble import plots  # matplotlib: a bundle predicts without it

    temperature = {part.name: part.temperature for part in found.blend.parts}
    sureness = [
        plots.CandidateConfidence(name, found.untempered[name], made, temperature.get(name))
        for name, made in found.honest.items()
    ]
    plots.draw_reliability(
        folder / "reliability.png", "how sure, and how often right, out of fold", found.pool.truth, sureness
    )
    print(
        f"how sure, and how often right: {folder / 'reliability.png'} (out of fold; on test images the mean over "
        f"folds speaks, and how sure that may be is not measured)"
    )
    if len(found.pool.members) == 1:
        return
    cost = {part.name: cost_of(part) for part in found.blend.parts}
    members = explaining.member_table(
        list(cost), [part.weight for part in found.blend.parts], _resampled_weights(found), _member_gains(found), cost
    )
    write_csv(folder / "members.csv", members)
    names = [part.name for part in found.everyone.parts]
    correlation = pd.DataFrame(explaining.error_correlation(found.pool.truth, found.everyone.said), names, names)
    plots.draw_blend(
        folder / "blend.png", f"{folder.relative_to(BLENDS)}: {found.result}", found.pool.metric, members, correlation
    )
    print(f"\n{format_members(found.pool.metric, members)}\ndrawn in {folder / 'blend.png'}")


def _resampled_weights(found: Assessment) -> np.ndarray | None:
    """Weights learnt from images drawn anew, where weights are learnt."""
    if found.method in (*FIXED_METHODS, "stack"):
        return None
    pool, everyone = found.pool, found.everyone
    draws = max(10, min(100, 2000 // len(pool.members)))  # of 200 members greedily a draw takes about a second
    with tqdm(total=draws, desc="how stable the weights are", disable=None, leave=False) as bar:

        def learnt(rows: np.ndarray) -> np.ndarray:
            bar.update()
            made = blends.fit_blend(
                found.method, everyone.parts, everyone.said[:, rows], pool.truth[rows], pool.folds[rows], pool.metric
            )
            return np.array([part.weight for part in made.parts])

        return bootstrap_weights(learnt, len(pool.images), draws)


def _member_gains(found: Assessment) -> dict[str, Any]:
    """Of every member with a weight: the blend against the one that never heard it."""
    pool, everybody = found.pool, [part.name for part in found.everyone.parts]
    weighty = [part.name for part in found.blend.parts if part.weight != 0]
    without = {}
    for name in tqdm(weighty, "what each member gains", disable=None, leave=False):
        others = [other for other in everybody if other != name]
        without[name] = predict_cross_fitted(found.method, [part.only(others) for part in found.parted], pool)
    return explaining.leave_one_out_gains(pool.metric, pool.truth, found.honest[found.result], without)
