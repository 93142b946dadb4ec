"""A past submission made again from its note, and held against the bytes that were recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from comp.data.scan import Dataset, scan
from comp.ensemble.blend import Blend, apply_blend
from comp.errors import UserError, did_you_mean
from comp.files import file_sha256, write_atomic
from comp.prediction.predictor import choose_prediction_device, recompute_test_probabilities
from comp.runs import read_run
from comp.ship.changes import changed_inputs, missing_inputs, possible_causes
from comp.submit.manifest import SUBMISSIONS, find_with_manifest, manifest_path, read_manifest, submission_id
from comp.submit.sample import fill_table, load_sample
from comp.submit.submission_table import to_bytes

Note = dict[str, Any]


@dataclass(frozen=True)
class Reproduction:
    path: Path  # where the submission lies, or lay
    note: Note
    same: bool  # to the byte
    reasons: tuple[str, ...]  # what is not as it was
    perhaps: tuple[str, ...]  # what may have made a difference, where one is left unexplained
    restored: bool = False  # the file was gone, and is back


def reproduce_submission(said: str, device: str = "auto") -> Reproduction:
    """By id or path. The file is written only where it is gone and the bytes are those recorded."""
    path, note = find_manifest(said)
    _check(path, note)
    if reasons := missing_inputs(note):
        return Reproduction(path, note, False, tuple(reasons), ())
    dataset = scan(note["competition"]["root"])
    reasons = changed_inputs(note, dataset)
    try:
        content = recompute_content(note, dataset, device)
    except UserError as problem:  # an image that is gone, say
        return Reproduction(path, note, False, (*reasons, str(problem)), ())
    if hashlib.sha256(content).hexdigest() != note["sha256"]:
        return Reproduction(path, note, False, tuple(reasons), tuple(possible_causes(note)))
    if not path.is_file():
        write_atomic(path, content)
        return Reproduction(path, note, True, tuple(reasons), (), restored=True)
    if file_sha256(path) != note["sha256"]:
        edited = f"{path} holds other bytes than were written: move it away, and the same command writes it again"
        return Reproduction(path, note, False, (*reasons, edited), ())
    return Reproduction(path, note, True, tuple(reasons), ())


def find_manifest(said: str) -> tuple[Path, Note]:
    """Where the submission belongs, and its note: the file itself may be gone."""
    if path := find_with_manifest(said):
        return path, read_manifest(path)
    notes = [path for path in SUBMISSIONS.rglob("*.json") if not path.with_suffix(".about.json").is_file()]
    known = [submission_id(path).removesuffix(".about") for path in notes]
    raise UserError(f"there is no note of a submission {said}{did_you_mean(said, known)}")


def _check(path: Path, note: Note) -> None:
    """That a note has all that is read of it, before anything is."""
    try:
        Blend.from_note(note["blend"])
        for member in note["members"]:
            _ = member_folds(member), member["run"], member["path"], member["runtime"]
        for key in ("sha256", "classes", "versions"):
            _ = note[key]
        _ = note["competition"]["root"], note["git"]["commit"], note["git"]["dirty"], note["images"]["test_sha256"]
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise UserError(
            f"{manifest_path(path)} does not say how it was made ({problem}); make the submission again with infer.py"
        ) from None


def recompute_content(note: Note, dataset: Dataset, device: str) -> bytes:
    """From the weights: what lies in runs/<name>/predictions may be anybody's."""
    members = {member["run"]: member for member in note["members"]}
    blend = Blend.from_note(note["blend"])
    spoken = [
        recompute_test_probabilities(
            read_run(Path(member["path"])),
            member_folds(member),
            part.views,
            device=choose_prediction_device(device, member["runtime"]),
            runtime=member["runtime"],
        )
        for part in blend.parts
        for member in [members[part.name]]
    ]
    table = pd.DataFrame(apply_blend(blend, spoken), [image.id for image in dataset.test], list(note["classes"]))
    return to_bytes(fill_table(load_sample(dataset), table, dataset))


def member_folds(member: dict[str, Any]) -> list[int | str]:
    """In the order they were asked: the last bits of a mean depend on it."""
    return [fold if fold == "full" else int(fold) for fold in member["weights_sha256"]]
