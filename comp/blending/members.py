"""The members of a blend: runs that fit together, and their predictions of the training and the test images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comp.blending.options import InferOptions
from comp.data.scan import Image
from comp.engine.views import TTA
from comp.ensemble.blend import Blend, apply_blend
from comp.ensemble.pool import Pool, build_pool, drop_duplicate_members, stack_tables
from comp.errors import UserError
from comp.prediction.predictor import Predictor, choose_prediction_device, open_predictor
from comp.records.blend import BlendMember
from comp.records.run import Unlabelled
from comp.rows import Rows
from comp.runs import Run
from comp.tasks import Task


@dataclass(frozen=True)
class Members:
    """Runs of the same images, classes, split and metric, and the predictor of each."""

    predictors: dict[str, Predictor]  # run name -> predictor, in the order given

    @property
    def runs(self) -> list[Run]:
        """The runs, in the order given."""
        return [predictor.run for predictor in self.predictors.values()]

    @property
    def first(self) -> Run:
        """The first run, for the properties that all runs share."""
        return self.runs[0]

    @property
    def task(self) -> Task:
        """The task of all runs."""
        return self.first.task

    @property
    def keeping_best(self) -> list[str]:
        """The runs whose OOF is optimistic: each fold's epoch was chosen on the images that are scored."""
        return [run.name for run in self.runs if run.config.train.keep == "best"]

    @property
    def missing_folds(self) -> dict[str, list[int]]:
        """The unfinished folds of each incomplete run, by the name of the run."""
        missing = {
            name: sorted(set(predictor.run.record.folds) - set(predictor.folds))
            for name, predictor in self.predictors.items()
        }
        return {name: folds for name, folds in missing.items() if folds}

    @property
    def unlabelled_images(self) -> tuple[Unlabelled, ...]:
        """The images whose pixels a run has seen without their labels."""
        return tuple(sorted({images for run in self.runs for images in run.record.unlabelled_images}))

    def latency_ms(self, member: BlendMember) -> float:
        """Return the milliseconds per image of a member's views by all its fold models."""
        return self.view_latency_ms(member.name) * len(member.views)

    def view_latency_ms(self, name: str) -> float:
        """Return the milliseconds per image of one view by all fold models of a run."""
        predictor = self.predictors[name]
        return predictor.latency_ms() * len(predictor.folds)


def open_members(runs: Sequence[Run], options: InferOptions) -> Members:
    """Open a predictor of each run. Nothing is predicted yet."""
    device = choose_prediction_device(options.device, options.runtime)
    return Members(
        {run.name: open_predictor(run, device=device, full=options.full, runtime=options.runtime) for run in runs}
    )


def check_runs(runs: Sequence[Run]) -> None:
    """Check that runs can be blended: different names, and the same classes, images, split and metric."""
    first, paths = runs[0], {run.name: run.path for run in runs}
    for run in runs:
        if paths[run.name] != run.path:
            raise UserError(
                f"{run.path} and {paths[run.name]} have the same name {run.name}; change the name in the config.yaml "
                f"of one of them"
            )
    for run in runs[1:]:
        for key, difference in (
            ("classes", "trained on other classes"),
            ("image_list_sha256", "trained on other images"),
            ("folds_sha256", "trained on another split"),
            ("metric", "scored by another metric"),
            ("task", "trained for another task"),
        ):
            if getattr(run.record, key) != getattr(first.record, key):
                raise UserError(f"{run.name} was {difference} than {first.name}; blend them separately")


def predict_oof(members: Members, options: InferOptions) -> Pool:
    """Return the out-of-fold predictions of all members, without duplicate members."""
    tables = {}
    for name, predictor in members.predictors.items():
        views = TTA["d4" if options.tta == "auto" else options.tta or predictor.run.config.infer.tta]
        tables[name] = dict(zip(views, predictor.predict_oof(views), strict=True))
        if len(members.predictors) > 1:  # one member's models at a time; a single one's are used again for the test
            predictor.release_networks()
    pool, copies = drop_duplicate_members(build_pool(members.task, members.first.record.metric, tables))
    for copy, original in copies.items():
        print(f"warning: {copy} has the same predictions as {original}; it is used once", file=sys.stderr)
    return pool


def predict_test(blend: Blend, members: Members, images: Sequence[Image], rows: Rows) -> pd.DataFrame:
    """Return the blended predictions of the rows of a submission, made of the test `images`: a column per class."""
    ids, classes = [image.id for image in images], members.first.classes
    probabilities = []
    for member in blend.members:
        predictor = members.predictors[member.name]
        by_fold = predictor.predict_test(member.views)
        probabilities.append(np.stack([stack_tables(tables, ids, classes) for tables in by_fold]))
        predictor.release_networks()
    return pd.DataFrame(apply_blend(blend, probabilities, rows), pd.Index(rows.ids, name="image"), list(classes))
