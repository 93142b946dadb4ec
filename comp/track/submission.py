"""The W&B runs of a submission: the one that made it (infer), and the one that sent it and has its scores (submit)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.observers.tracked import ArtifactFiles, TrackedRun
from comp.prediction_file import find_table, recorded_sha256
from comp.records.blend import MemberRecord
from comp.records.submission import SubmissionManifest
from comp.runs import BLENDS, Run, read_run
from comp.submit.ledger import LedgerEntry
from comp.track.fold import artifact_name, weights_artifact
from comp.track.identity import project_of, submission_identity
from comp.track.private import without_paths
from comp.track.summary import oof_artifact

SCORES = ("cv", "cv_low", "cv_high", "public", "private", "rank", "message", "sent", "scored", "metric")


def track_inference(path: Path, manifest: SubmissionManifest) -> TrackedRun:
    """Return the W&B run that made a submission, from its manifest and the runs that are its members."""
    oof = manifest.oof
    members = [(member, run) for member in manifest.members if (run := _read_member(member)) is not None]
    blend = find_table(BLENDS / manifest.id / "oof.npz")
    logged = [submission_artifact(path, manifest.id, manifest.sha256)]
    if oof and blend:
        metadata = {"blend": manifest.id, "kind": "oof", "sha256": recorded_sha256(blend)}
        logged.append(
            ArtifactFiles(artifact_name("oof-blend", manifest.id), "predictions", {blend.name: blend}, metadata)
        )
    scores = {} if oof is None else {"oof": oof.score, "oof_low": oof.interval[0], "oof_high": oof.interval[1]}
    return TrackedRun(
        identity=submission_identity(submission_project(manifest), manifest.id, manifest.sha256, "infer"),
        config=_inference_config(manifest),
        summary={**scores, **({"naive": oof.naive, "metric": oof.metric} if oof else {})},
        used=tuple(artifact for member, run in members for artifact in _member_artifacts(member, run)),
        logged=tuple(artifact for artifact in logged if artifact is not None),
    )


def track_sent(entry: LedgerEntry, path: Path, manifest: SubmissionManifest | None) -> TrackedRun:
    """Return the W&B run of a submission that was sent, with the scores of the ledger."""
    project = submission_project(manifest) if manifest else entry.competition or "submissions"
    artifact = submission_artifact(path, entry.id, entry.sent_sha256)
    values = {name: getattr(entry, name) for name in SCORES}
    return TrackedRun(
        identity=submission_identity(project, entry.id, entry.sent_sha256, "submit"),
        config=without_paths({"submission": entry.id, "competition": entry.competition, "file": entry.file}),
        summary=without_paths({name: value for name, value in values.items() if value not in (None, "")}),
        used=(artifact,) if artifact else (),
    )


def submission_artifact(path: Path, id: str, sha256: str) -> ArtifactFiles | None:
    """Return the file of a submission; None if it is missing or has another content."""
    if not file_exists(path) or file_sha256(path) != sha256:
        return None
    return ArtifactFiles(artifact_name("submission", id), "submission", {path.name: path}, {"sha256": sha256})


def submission_project(manifest: SubmissionManifest) -> str:
    """Return the W&B project of a submission: that of its first member that is here, else the dataset's name."""
    run = first_member(manifest)
    return project_of(run) if run else manifest.competition.name if manifest.competition else "submissions"


def first_member(manifest: SubmissionManifest) -> Run | None:
    """Return the first run of a submission that is on this machine."""
    return next(filter(None, map(_read_member, manifest.members)), None)


def _inference_config(manifest: SubmissionManifest) -> dict[str, Any]:
    record = manifest.to_dict()
    keys = ("id", "sha256", "command", "classes", "full", "blend", "folds", "images", "git", "versions")
    return without_paths(
        {
            **{key: record[key] for key in keys},
            "members": [{"run": member.run, "runtime": member.runtime} for member in manifest.members],
        }
    )


def _member_artifacts(member: MemberRecord, run: Run) -> Iterator[ArtifactFiles]:
    """Yield the OOF predictions and the weights that a submission was made of, if they still are those."""
    artifact = oof_artifact(run)
    if artifact and "full" not in member.weights_sha256:
        yield artifact
    for fold in member.folds:
        record = run.fold_dir(fold).read_record()
        if record and run.fold_dir(fold).is_done and record.weights_sha256 == member.weights_sha256[str(fold)]:
            yield weights_artifact(run, fold, record)


def _read_member(member: MemberRecord) -> Run | None:
    try:
        return read_run(Path(member.path))
    except UserError:
        return None
