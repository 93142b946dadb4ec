"""From finished runs to a leaderboard file, with an honest score of exactly what is written."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comp.blending.assess import assess
from comp.blending.explain import print_assessment, write_blend_files, write_explanation
from comp.config import check_name
from comp.data.scan import Dataset, scan
from comp.engine.views import TTA
from comp.ensemble import blend as blends
from comp.ensemble.blend import FIXED_METHODS, Blend, BlendMember
from comp.ensemble.crossfit import MemberFitOptions
from comp.ensemble.pool import Pool, build_pool, drop_duplicate_members, stack_tables
from comp.environment import command_line, git_state, versions
from comp.errors import UserError
from comp.metrics import score
from comp.prediction.predictor import Predictor, choose_prediction_device, open_predictor
from comp.prediction.provenance import input_hashes, weights_hashes
from comp.prediction.test_labels import join_test_labels
from comp.records.submission import SubmissionManifest
from comp.runs import BLENDS, Run
from comp.stats import bootstrap_interval
from comp.submit.competition import from_config
from comp.submit.sample import check_sample, fill_table, load_sample
from comp.submit.write import write_submission
from comp.tables import to_arrays


@dataclass(frozen=True)
class InferOptions:
    """What infer.py is asked for; the rest of it is which runs."""

    method: str = "mean"
    tta: str | None = None  # None: each run's own infer.tta; auto: chosen on the OOF
    budget: float | None = None  # seconds that predicting the test images may take, with tta=auto
    temperature: bool = True
    full: bool = False
    name: str | None = None
    device: str = "auto"
    runtime: str = "torch"


def infer(members: Sequence[Run], wish: InferOptions) -> Path:
    """Learn the blend on out-of-fold predictions, score it where it was not learnt, apply it to the test images, and
    write that in the sample's form."""
    wish = _validate_options(members, wish)
    first = members[0]
    dataset = scan(first.config.data.root)
    if not dataset.test:
        raise UserError(f"{dataset.root / 'test'} holds no images to predict")
    sample = load_sample(dataset)
    check_sample(sample, dataset)  # before the minutes of predicting
    device = choose_prediction_device(wish.device, wish.runtime)
    asked = {run.name: open_predictor(run, device=device, full=wish.full, runtime=wish.runtime) for run in members}
    if wish.full:
        blend, found = _unfitted_blend(members, wish), None
        print("trained on everything: there is no CV, and temperatures stay 1")
    else:
        learning = _member_fit_options(asked, wish, len(dataset.test))
        found = assess(_build_pool(asked, members, wish), wish.method, learning)
        blend = found.blend.trimmed()
        print_assessment(found)
    test = _predict_test(blend, asked, dataset, first)
    note = _build_manifest(blend, asked, wish, dataset, first, found and found.facts())
    filled = fill_table(sample, test, dataset)
    manifest = SubmissionManifest.from_dict(note, f"the manifest of {wish.name}")
    path = write_submission(wish.name, filled, manifest)
    _print_test_score(dataset, test, first)
    if found:
        _warn(members, asked)
        write_blend_files(
            BLENDS / wish.name,
            found,
            {
                **note,
                "complete": not any(map(_missing_folds, members, asked.values())),
                "optimistic": bool(_members_keeping_best(members)),
            },
        )
    print(
        f"wrote {path}: {len(filled.rows)} rows, the {wish.method} of {_describe_blend(blend)} (runtime: {wish.runtime})",  # noqa: E501
        flush=True,
    )
    if found:  # after the file is there: it can take longer than the blend
        write_explanation(
            BLENDS / wish.name,
            found,
            lambda part: asked[part.name].latency_ms() * len(asked[part.name].folds) * len(part.views),
        )
    return path


def _validate_options(members: Sequence[Run], wish: InferOptions) -> InferOptions:
    """Refused here is what can be known before anything is predicted."""
    first = members[0]
    places = {run.name: run.path for run in members}
    for run in members:
        if places[run.name] != run.path:
            raise UserError(
                f"{run.path} and {places[run.name]} both call themselves {run.name}; give one of them "
                f"another name in its config.yaml"
            )
    for other in members[1:]:
        for key, what in (
            ("classes", "trained on other classes"),
            ("image_list_sha256", "trained on other images"),
            ("folds_sha256", "trained on another split"),
            ("metric", "scored by another metric"),
        ):
            if getattr(other.record, key) != getattr(first.record, key):
                raise UserError(f"{other.name} was {what} than {first.name}; blend them apart")
    if wish.full and (wish.method not in FIXED_METHODS or wish.tta == "auto"):
        what = "--tta auto" if wish.tta == "auto" else f"--blend {wish.method}"
        raise UserError(
            f"{what} is learnt out of fold, and --fold full has nothing that is; use "
            f"{'--tta d4' if wish.tta == 'auto' else '--blend mean'}"
        )
    if wish.budget is not None and wish.tta != "auto":
        raise UserError("--budget is for views that are chosen; give --tta auto too")
    return replace(wish, name=check_name(wish.name or _default_name(members, wish)))


def _default_name(members: Sequence[Run], wish: InferOptions) -> str:
    joined = "+".join(member.name.replace("/", "-") for member in members)
    if len(joined) > 100:
        joined = f"{wish.method}-of-{len(members)}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"
    elif wish.method != "mean":
        joined += f"+{wish.method}"
    return (
        joined
        + (f"+{wish.tta}" if wish.tta and any(member.config.infer.tta != wish.tta for member in members) else "")
        + ("+full" if wish.full else "" if wish.temperature else "+no-temperature")
    )


def _unfitted_blend(members: Sequence[Run], wish: InferOptions) -> Blend:
    return Blend(
        wish.method,
        tuple(
            BlendMember(run.name, tuple(TTA[wish.tta or run.config.infer.tta]), 1.0, 1 / len(members))
            for run in sorted(members, key=lambda run: run.name)
        ),
    )


def _member_fit_options(asked: dict[str, Predictor], wish: InferOptions, test_images: int) -> MemberFitOptions:
    """A budget buys every member the same number of views."""
    if wish.tta != "auto":
        return MemberFitOptions(wish.temperature)
    most = len(TTA["d4"])
    if wish.budget is not None:
        one = sum(each.latency_ms() * len(each.folds) for each in asked.values()) * test_images / 1000
        if one > wish.budget:
            raise UserError(
                f"--budget {wish.budget:g}s: one view of the test images by every fold of every member "
                f"takes about {one:.2g} s here; allow more, or leave members out (predictions/cost.json "
                f"of each run has what was measured: deleted, it is measured again)"
            )
        most = min(most, int(wish.budget / one))
        print(f"views: a budget of {wish.budget:g} s buys up to {most} for each member, at {one:.2g} s for one of all")
    return MemberFitOptions(wish.temperature, most)


def _build_pool(asked: dict[str, Predictor], members: Sequence[Run], wish: InferOptions) -> Pool:
    spoken = {}
    for run in members:
        views = TTA["d4" if wish.tta == "auto" else wish.tta or run.config.infer.tta]
        spoken[run.name] = dict(zip(views, asked[run.name].predict_oof(views), strict=True))
    pool, copies = drop_duplicate_members(build_pool(members[0].classes, members[0].record.metric, spoken))
    for copy, original in copies.items():
        print(f"warning: {copy} says of every image what {original} says; it is counted once", file=sys.stderr)
    return pool


def _predict_test(blend: Blend, asked: dict[str, Predictor], dataset: Dataset, run: Run) -> pd.DataFrame:
    images = [image.id for image in dataset.test]
    spoken = [
        np.stack([stack_tables(views, images, run.classes) for views in asked[part.name].predict_test(part.views)])
        for part in blend.parts
    ]
    return pd.DataFrame(blends.apply_blend(blend, spoken), pd.Index(images, name="image"), list(run.classes))


def _warn(members: Sequence[Run], asked: dict[str, Predictor]) -> None:
    for member in members:
        if missing := _missing_folds(member, asked[member.name]):
            print(f"warning: {member.name} lacks fold {', '.join(map(str, missing))}; made without it", file=sys.stderr)
    if lucky := _members_keeping_best(members):
        print(
            f"that OOF is optimistic: each fold's best epoch was chosen on the images it is scored on, in "
            f"{', '.join(lucky)}"
        )


def _members_keeping_best(members: Sequence[Run]) -> list[str]:
    return [member.name for member in members if member.config.train.keep == "best"]


def _missing_folds(member: Run, asked: Predictor) -> list[int]:
    return sorted(set(member.record.folds) - set(asked.folds))


def _build_manifest(
    blend: Blend,
    asked: dict[str, Predictor],
    wish: InferOptions,
    dataset: Dataset,
    run: Run,
    oof: dict[str, Any] | None,
) -> dict[str, Any]:
    """All it takes to make the file again, and to know that it was."""
    return {
        "command": command_line(),
        "competition": asdict(from_config(run.config)),
        "classes": list(run.classes),
        "full": wish.full,
        "blend": blend.to_note(),
        "members": [
            {
                "run": part.name,
                "path": str(asked[part.name].run.path),
                "runtime": wish.runtime,
                "weights_sha256": weights_hashes(asked[part.name].run, asked[part.name].folds),
            }
            for part in blend.parts
        ],
        "folds": {"file": run.record.folds_file, "sha256": run.record.folds_sha256},
        "images": input_hashes(dataset).to_dict(),
        "oof": oof,
        "git": git_state().to_dict(),
        "versions": versions(),
    }


def _print_test_score(dataset: Dataset, test: pd.DataFrame, run: Run) -> None:
    """Where the dataset tells the true labels. Nothing was chosen by them."""
    known = join_test_labels(dataset, test)
    if known is not None:
        metric, truth = run.record.metric, to_arrays(known, run.classes)
        low, high = bootstrap_interval(metric, *truth)
        print(f"true test {metric} {score(metric, *truth):.4f} [{low:.4f}, {high:.4f}] on {len(known)} images")


def _describe_blend(blend: Blend) -> str:
    """`a (8 views) x 0.75, b (1 view) x 0.25`"""
    shown = sorted(blend.parts, key=lambda part: -(part.weight or 0))[:6]
    words = [
        f"{part.name} ({len(part.views)} view{'s' * (len(part.views) > 1)})"
        + (f" x {part.weight:.2f}" if blend.method in ("greedy", "weights") else "")
        for part in shown
    ]
    return ", ".join(words) + (f" and {len(blend.parts) - 6} more" if len(blend.parts) > 6 else "")
