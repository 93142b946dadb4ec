"""The records of a blend that was written: the manifest of its submission, and blend.json."""

from __future__ import annotations

from comp.blending.assess import Assessment
from comp.blending.members import Members
from comp.blending.options import InferOptions
from comp.data.scan import Dataset
from comp.ensemble.blend import Blend
from comp.environment import command_line, git_state, versions
from comp.metrics import find_metric
from comp.prediction.provenance import input_hashes
from comp.records.blend import BlendRecord, MemberRecord, OofSummary
from comp.records.submission import FoldsFile, SubmissionManifest
from comp.submit.competition import from_config


def build_manifest(
    blend: Blend, members: Members, options: InferOptions, dataset: Dataset, oof: OofSummary | None
) -> SubmissionManifest:
    """Return the manifest: everything needed to reproduce the submission and to verify its bytes."""
    first = members.first
    return SubmissionManifest(
        command=command_line(),
        competition=from_config(first.config),
        classes=tuple(first.classes),
        full=options.full,
        blend=blend.to_spec(),
        members=tuple(_member_record(members, member.name, options.runtime) for member in blend.members),
        folds=FoldsFile(first.record.folds_file, first.record.folds_sha256),
        images=input_hashes(dataset),
        oof=oof,
        git=git_state(),
        versions=versions(),
        unlabelled_images=members.unlabelled_images,
    )


def _member_record(members: Members, name: str, runtime: str) -> MemberRecord:
    predictor = members.predictors[name]
    return MemberRecord(name, str(predictor.run.path), runtime, predictor.weights_sha256(predictor.folds))


def build_blend_record(
    name: str, assessment: Assessment, members: Members, manifest: SubmissionManifest, oof_sha256: str
) -> BlendRecord:
    """Return blend.json: what was fitted to which members, and its score, for the leaderboard."""
    metric = assessment.pool.metric
    return BlendRecord(
        name=name,
        method=assessment.method,
        members=manifest.members,
        dataset=members.first.config.dataset,
        folds_sha256=manifest.folds.sha256,
        metric=metric,
        higher_is_better=find_metric(metric).higher_is_better,
        oof=assessment.oof_summary(),
        parts=manifest.blend.parts,
        complete=not members.missing_folds,
        optimistic=bool(members.keeping_best),
        oof_sha256=oof_sha256,
        split_groups=members.first.record.split_groups,
        unlabelled_images=members.unlabelled_images,
    )
