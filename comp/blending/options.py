"""The options of infer.py, checked before anything is predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from comp.config import check_name
from comp.engine.runtime import RUNTIME_LOADERS
from comp.engine.views import TTA
from comp.ensemble.blend import FIXED_METHODS
from comp.errors import UserError
from comp.runs import Run


@dataclass(frozen=True)
class InferOptions:
    """The options of blending and predicting runs, and the name of the submission."""

    method: str = "mean"
    tta: str | None = None  # None: each run's own infer.tta; auto: chosen by OOF log loss
    budget_seconds: float | None = None  # with tta=auto: time limit for predicting the test images
    calibrate: bool = True  # fit a temperature per member
    full: bool = False  # use the models that were trained on every image
    name: str = ""  # empty: derived from the runs and the options above
    device: str = "auto"
    runtime: str = "torch"


def check_options(runs: Sequence[Run], options: InferOptions) -> InferOptions:
    """Return the options with a name. Options that do not go together are a UserError."""
    task = runs[0].task
    if options.tta not in (None, *TTA, "auto"):
        raise UserError(f"there are no views --tta {options.tta}; use one of {', '.join(TTA)}, auto")
    if options.runtime not in ("torch", *RUNTIME_LOADERS):
        raise UserError(f"there is no --runtime {options.runtime}; use one of torch, {', '.join(RUNTIME_LOADERS)}")
    if options.method not in task.blend_methods:
        raise UserError(
            f"--blend {options.method} does not work with data.task={task.kind}; use one of "
            f"{', '.join(task.blend_methods)}"
        )
    if options.full and options.tta == "auto":
        raise UserError("--tta auto is fitted out of fold, and --fold full has no such predictions; use --tta d4")
    if options.full and options.method not in FIXED_METHODS:
        raise UserError(
            f"--blend {options.method} is fitted out of fold, and --fold full has no such predictions; use --blend mean"
        )
    if options.budget_seconds is not None and options.tta != "auto":
        raise UserError("--budget limits the views that are chosen; pass --tta auto too")
    return replace(options, name=check_name(options.name or _default_name(runs, options)))


def _default_name(runs: Sequence[Run], options: InferOptions) -> str:
    """Return the name of a submission from its runs and from the options that are not the default."""
    name = "+".join(run.name.replace("/", "-") for run in runs)
    if len(name) > 100:
        name = f"{options.method}-of-{len(runs)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    elif options.method != "mean":
        name += f"+{options.method}"
    if options.tta and any(run.config.infer.tta != options.tta for run in runs):
        name += f"+{options.tta}"
    return name + ("+full" if options.full else "" if options.calibrate else "+no-temperature")
