"""Reproduce a past submission from its manifest, and compare it with the recorded hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from comp.data.scan import Dataset, scan
from comp.engine.views import check_views
from comp.ensemble.blend import Blend, apply_blend
from comp.errors import UserError, did_you_mean
from comp.files import file_exists, file_sha256, write_atomic
from comp.prediction.predictor import choose_prediction_device, recompute_test_probabilities
from comp.records.submission import SubmissionManifest
from comp.runs import read_run
from comp.ship.changes import changed_inputs, missing_inputs, possible_causes
from comp.submit.competition import from_manifest
from comp.submit.manifest import SUBMISSIONS, find_with_manifest, manifest_path, read_manifest, submission_id
from comp.submit.sample import check_sample, fill_table, load_sample
from comp.submit.submission_table import to_bytes


@dataclass(frozen=True)
class Reproduction:
    """The result of reproducing a submission."""

    path: Path  # the submission, which may be missing
    manifest: SubmissionManifest
    is_identical: bool  # every byte
    changes: tuple[str, ...] = ()  # what has changed since
    possible_causes: tuple[str, ...] = ()  # causes of different bytes if no change explains them
    restored: bool = False  # the file was missing and has been written


def reproduce_submission(reference: str, device: str = "auto") -> Reproduction:
    """Reproduce a submission, given by path or id.

    The file is written only if it is missing and the bytes match the recorded hash.
    """
    path, manifest = find_manifest(reference)
    if changes := missing_inputs(manifest):
        return Reproduction(path, manifest, False, tuple(changes))
    dataset = scan(from_manifest(manifest).source)
    changes = changed_inputs(manifest, dataset)
    try:
        content = recompute_content(manifest, dataset, device)
    except UserError as error:  # for example a missing image
        return Reproduction(path, manifest, False, (*changes, str(error)))
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        return Reproduction(path, manifest, False, tuple(changes), tuple(possible_causes(manifest)))
    if not file_exists(path):
        write_atomic(path, content)
        return Reproduction(path, manifest, True, tuple(changes), restored=True)
    if file_sha256(path) != manifest.sha256:
        edited = f"{path} has other bytes than were written; move it away and run again to write it"
        return Reproduction(path, manifest, False, (*changes, edited))
    return Reproduction(path, manifest, True, tuple(changes))


def find_manifest(reference: str) -> tuple[Path, SubmissionManifest]:
    """Return the path of a submission, given by path or id, and its manifest. The file itself may be missing."""
    path = find_with_manifest(reference)
    if path is None:
        manifests = [path for path in SUBMISSIONS.rglob("*.json") if not path.with_suffix(".about.json").is_file()]
        available = [submission_id(path).removesuffix(".about") for path in manifests]
        raise UserError(f"there is no manifest of a submission {reference}{did_you_mean(reference, available)}")
    manifest = read_manifest(path)
    _check_complete(path, manifest)
    return path, manifest


def recompute_content(manifest: SubmissionManifest, dataset: Dataset, device: str) -> bytes:
    """Return the bytes of the submission, predicted from the weights; stored predictions are not used."""
    by_run = {member.run: member for member in manifest.members}
    blend = Blend.from_spec(manifest.blend, manifest.classes)
    probabilities = []
    for part in manifest.blend.parts:
        member = by_run[part.name]
        run = read_run(Path(member.path))
        probabilities.append(
            recompute_test_probabilities(
                run,
                member.folds,
                part.views,
                device=choose_prediction_device(device, member.runtime),
                runtime=member.runtime,
            )
        )
    sample = load_sample(dataset)
    rows = check_sample(sample, dataset)
    table = pd.DataFrame(apply_blend(blend, probabilities, rows), list(rows.ids), list(manifest.classes))
    return to_bytes(fill_table(sample, table, dataset))


def _check_complete(path: Path, manifest: SubmissionManifest) -> None:
    """Raise a UserError if the manifest lacks something that the submission depends on."""
    empty = SubmissionManifest()
    keys = ("sha256", "competition", "classes", "blend", "members", "images", "versions")
    missing = [key for key in keys if getattr(manifest, key) == getattr(empty, key)]
    runs = {member.run for member in manifest.members}
    missing += [f"members.{part.name}" for part in manifest.blend.parts if part.name not in runs]
    missing += [f"members.{member.run}.weights_sha256" for member in manifest.members if not member.weights_sha256]
    if missing:
        raise UserError(
            f"{manifest_path(path)} does not record how it was made ({', '.join(missing)} is missing); "
            f"make the submission again with infer.py"
        )
    Blend.from_spec(manifest.blend, manifest.classes, manifest_path(path))
    try:
        check_views(view for part in manifest.blend.parts for view in part.views)
    except UserError as error:
        raise UserError(f"{manifest_path(path)}: {error}; {manifest.ADVICE}") from None
