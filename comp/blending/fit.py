"""Fit a blend to the members' out-of-fold predictions; or, without such predictions, give every member one weight."""

from __future__ import annotations

from comp.blending.assess import Assessment, assess
from comp.blending.members import Members, predict_oof
from comp.blending.options import InferOptions
from comp.engine.views import TTA
from comp.ensemble.blend import Blend
from comp.ensemble.crossfit import MemberFitOptions
from comp.errors import UserError
from comp.records.blend import BlendMember


def fit_and_assess(members: Members, options: InferOptions, test_images: int) -> Assessment:
    """Fit the blend out of fold, and score it cross-fitted. A budget that is too short fails before predicting."""
    fit_options = _member_fit_options(members, options, test_images)
    return assess(predict_oof(members, options), options.method, fit_options)


def unfitted_blend(members: Members, options: InferOptions) -> Blend:
    """Return the blend of models that were trained on every image: nothing can be fitted, so every temperature is 1."""
    runs = sorted(members.runs, key=lambda run: run.name)
    return Blend(
        members.task,
        options.method,
        tuple(
            BlendMember(run.name, tuple(TTA[options.tta or run.config.infer.tta]), 1.0, 1 / len(runs)) for run in runs
        ),
    )


def _member_fit_options(members: Members, options: InferOptions, test_images: int) -> MemberFitOptions:
    """Return the options for fitting each member. A time budget gives every member the same maximum of views."""
    if options.tta != "auto":
        return MemberFitOptions(options.calibrate)
    max_views, budget = len(TTA["d4"]), options.budget_seconds
    if budget is not None:
        view_seconds = sum(map(members.view_latency_ms, members.predictors)) * test_images / 1000
        if view_seconds > budget:
            raise UserError(
                f"--budget {budget:g}s: one view of the test images by every fold of every member takes about "
                f"{view_seconds:.2g} s on this machine; allow more time or leave members out (to measure again, delete "
                f"predictions/cost.json of each run)"
            )
        max_views = min(max_views, int(budget / view_seconds))
        print(
            f"views: a budget of {budget:g} s allows up to {max_views} per member, at {view_seconds:.2g} s for one "
            f"view of all members"
        )
    return MemberFitOptions(options.calibrate, max_views)
