"""From finished runs to a leaderboard file, with the score of exactly what is written."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from comp.config import check_name
from comp.data.scan import scan
from comp.engine.views import TTA
from comp.ensemble import blend
from comp.errors import UserError
from comp.experiment.predict import predict_run
from comp.experiment.provenance import weights_of
from comp.experiment.summary import arrays
from comp.experiment.truth import with_truth
from comp.metrics import interval, score
from comp.runs import Run
from comp.submit.competition import of_config
from comp.submit.sample import check_sample, fill, find_sample
from comp.submit.write import write_submission


def infer(members: Sequence[Run], *, tta: str | None = None, full: bool = False, name: str | None = None,
          device: str = "auto", runtime: str = "torch") -> Path:
    """Mean over members, folds and views; written in the sample's form, read back, and scored."""
    first = members[0]
    name = check_name(name or _name(members, tta, full))
    _check_members(members)
    dataset = scan(first.config.data.root)
    sample = find_sample(dataset)
    check_sample(sample, dataset)  # before the minutes of predicting
    chosen = [tta or member.config.infer.tta for member in members]
    oof, test, asked = [], [], []
    for member, views in zip(members, chosen, strict=True):
        made = predict_run(member, TTA[views], device=device, full=full, runtime=runtime)
        asked.append(made.folds)
        oof += [blend.mean(made.oof, member.classes)] if made.oof else []
        test.append(blend.mean(made.test, member.classes))
    filled = fill(sample, blend.mean(test, first.classes), dataset)
    facts: dict[str, Any] = {"competition": asdict(of_config(first.config)), "members": [
        {"run": member.name, "tta": views, "runtime": runtime,
         "weights_sha256": weights_of(member, folds)}
        for member, views, folds in zip(members, chosen, asked, strict=True)]}
    if oof:
        facts["oof"] = _score(first, blend.mean(oof, first.classes), "OOF" if len(members) == 1 else "OOF of the mean")
        if any(member.config.train.keep == "best" for member in members):
            print("that OOF is optimistic: each fold's best epoch was chosen on the images it is scored on")
    else:
        print("trained on everything: there is no CV")
    known = with_truth(dataset, blend.mean(test, first.classes))
    if known is not None:
        _score(first, known, "true test")
    path = write_submission(name, filled, facts)
    if not full:
        _warn_of_gaps(members, asked)
    print(f"wrote {path}: {len(filled.rows)} rows, the mean of {', '.join(member.name for member in members)} "
          f"(views: {', '.join(sorted(set(chosen)))}; runtime: {runtime})")
    return path


def _warn_of_gaps(members: Sequence[Run], asked: Sequence[list]) -> None:
    for member, folds in zip(members, asked, strict=True):
        missing = sorted(set(member.about["folds"]) - set(folds))
        if missing:
            print(f"warning: {member.name} lacks fold {', '.join(map(str, missing))}; made without it",
                  file=sys.stderr)


def _check_members(members: Sequence[Run]) -> None:
    first = members[0]
    for other in members[1:]:
        for key, what in (("classes", "classes"), ("image_list_sha256", "images"), ("folds_sha256", "split")):
            if other.about[key] != first.about[key]:
                raise UserError(f"{other.name} and {first.name} were trained on different {what}; blend them apart")


def _score(run: Run, table: pd.DataFrame, what: str) -> dict[str, Any]:
    metric = run.about["metric"]
    truth = arrays(table, run.classes)
    value, (low, high) = score(metric, *truth), interval(metric, *truth)
    print(f"{what} {metric} {value:.4f} [{low:.4f}, {high:.4f}] on {len(table)} images")
    return {"metric": metric, "score": value, "interval": [low, high], "images": len(table)}


def _name(members: Sequence[Run], tta: str | None, full: bool) -> str:
    joined = "+".join(member.name.replace("/", "-") for member in members)
    if len(joined) > 100:
        joined = f"mean-of-{len(members)}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"
    return joined + (f"+{tta}" if tta and any(member.config.infer.tta != tta for member in members) else "") \
        + ("+full" if full else "")
