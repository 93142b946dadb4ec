"""The output of infer.py: tables of candidates and pairs, the score, warnings, and the members of the blend."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from comp.blending.assess import Assessment
from comp.blending.members import Members
from comp.data.folds import describe_split_groups
from comp.data.scan import Dataset
from comp.ensemble.blend import Blend
from comp.ensemble.text_tables import format_candidates, format_pairs
from comp.metrics import score
from comp.prediction.test_labels import join_test_labels
from comp.records.run import describe_unlabelled
from comp.runs import Run
from comp.stats import bootstrap_interval
from comp.text import format_interval

MAX_MEMBERS = 6  # members that are named in the last line


def print_assessment(assessment: Assessment) -> None:
    """Print the tables of candidates and pairs, and the score of the blend that is written in one line."""
    metric, images = assessment.pool.metric, len(assessment.pool.images)
    if len(assessment.cross_fitted) > 1:
        print(format_candidates(metric, assessment.candidates))
        print(f"\npaired tests on the same {images} images:")
        print(format_pairs(assessment.pairs), end="\n\n")
    result = assessment.result
    pool = assessment.pool
    constant = np.broadcast_to(pool.task.baseline(pool.targets), (len(pool.targets), len(pool.columns)))
    line = (
        f"OOF {metric} {result.score:.4f} {format_interval(result.interval)} on {images} images, cross-fitted "
        f"(naive {result.naive_score:.4f}), baseline {score(metric, pool.targets, constant):.4f}"
    )
    if result.ece is not None:
        line += f"; calibration error {result.ece_before:.3f} -> {result.ece:.3f}"
    print(line)


def print_test_score(dataset: Dataset, predictions: pd.DataFrame, run: Run) -> None:
    """Print the score on the test images of a dataset that has their labels. Nothing was chosen by it."""
    labelled = join_test_labels(dataset, predictions)
    if labelled is not None:
        metric, (targets, probabilities) = run.record.metric, run.task.to_arrays(labelled)
        interval = format_interval(bootstrap_interval(metric, targets, probabilities))
        print(f"true test {metric} {score(metric, targets, probabilities):.4f} {interval} on {len(labelled)} images")


def print_warnings(members: Members, dataset: Dataset) -> None:
    """Print what was left out of the dataset, which members lack folds, and which make the OOF score optimistic."""
    for line in dataset.left_out:
        print(f"warning: {line}", file=sys.stderr)
    for name, folds in members.missing_folds.items():
        print(f"warning: {name} lacks fold {', '.join(map(str, folds))}; blended without it", file=sys.stderr)
    if remark := describe_split_groups(members.first.record.split_groups):
        print(f"warning: {remark}")
    if remark := describe_unlabelled(members.unlabelled_images):
        names = [run.name for run in members.runs if run.record.unlabelled_images]
        print(f"warning: {remark}: {', '.join(names)}")
    if members.keeping_best:
        print(
            f"the OOF score is optimistic: each fold's best epoch was chosen on the images it is scored on, in "
            f"{', '.join(members.keeping_best)}"
        )


def describe_blend(blend: Blend) -> str:
    """Return the members of a blend in words: `a (8 views) x 0.75, b (1 view) x 0.25`."""
    heaviest = sorted(blend.members, key=lambda member: -(member.weight or 0))[:MAX_MEMBERS]
    descriptions = [
        f"{member.name} ({len(member.views)} view{'s' * (len(member.views) > 1)})"
        + (f" x {member.weight:.2f}" if blend.method in ("greedy", "weights") else "")
        for member in heaviest
    ]
    remaining = len(blend.members) - len(heaviest)
    return ", ".join(descriptions) + (f" and {remaining} more" if remaining else "")
