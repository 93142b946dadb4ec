"""A past submission made again from its note, and held against the bytes that were recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from comp.data.scan import Dataset, scan
from comp.ensemble.blend import Blend, apply
from comp.errors import UserError, nearest
from comp.experiment.predict import predict_test
from comp.runs import read_run
from comp.ship.changes import broken, changed, perhaps
from comp.submit.sample import fill, find_sample
from comp.submit.write import SUBMISSIONS, find_noted, note_path, read_note, render, submission_id
from comp.tables import file_sha256, write_atomic

Note = dict[str, Any]


@dataclass(frozen=True)
class Rebuilt:
    path: Path                   # where the submission lies, or lay
    note: Note
    same: bool                   # to the byte
    reasons: tuple[str, ...]     # what is not as it was
    perhaps: tuple[str, ...]     # what may have made a difference, where one is left unexplained
    restored: bool = False       # the file was gone, and is back


def rebuild(said: str, device: str = "auto") -> Rebuilt:
    """By id or path. The file is written only where it is gone and the bytes are those recorded."""
    path, note = find_note(said)
    _check(path, note)
    if reasons := broken(note):
        return Rebuilt(path, note, False, tuple(reasons), ())
    dataset = scan(note["competition"]["root"])
    reasons = changed(note, dataset)
    try:
        content = content_of(note, dataset, device)
    except UserError as problem:  # an image that is gone, say
        return Rebuilt(path, note, False, (*reasons, str(problem)), ())
    if hashlib.sha256(content).hexdigest() != note["sha256"]:
        return Rebuilt(path, note, False, tuple(reasons), tuple(perhaps(note)))
    if not path.is_file():
        write_atomic(path, content)
        return Rebuilt(path, note, True, tuple(reasons), (), restored=True)
    if file_sha256(path) != note["sha256"]:
        edited = f"{path} holds other bytes than were written: move it away, and the same command writes it again"
        return Rebuilt(path, note, False, (*reasons, edited), ())
    return Rebuilt(path, note, True, tuple(reasons), ())


def find_note(said: str) -> tuple[Path, Note]:
    """Where the submission belongs, and its note: the file itself may be gone."""
    if path := find_noted(said):
        return path, read_note(path)
    notes = [path for path in SUBMISSIONS.rglob("*.json") if not path.with_suffix(".about.json").is_file()]
    known = [submission_id(path).removesuffix(".about") for path in notes]
    raise UserError(f"there is no note of a submission {said}{nearest(said, known)}")


def _check(path: Path, note: Note) -> None:
    """That a note has all that is read of it, before anything is."""
    try:
        Blend.from_note(note["blend"])
        for member in note["members"]:
            _ = folds_of(member), member["run"], member["path"], member["runtime"]
        for key in ("sha256", "classes", "versions"):
            _ = note[key]
        _ = note["competition"]["root"], note["git"]["commit"], note["git"]["dirty"], note["images"]["test_sha256"]
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise UserError(f"{note_path(path)} does not say how it was made ({problem}); make the submission again with "
                        f"infer.py") from None


def content_of(note: Note, dataset: Dataset, device: str) -> bytes:
    """From the weights: what lies in runs/<name>/predictions may be anybody's."""
    members = {member["run"]: member for member in note["members"]}
    blend = Blend.from_note(note["blend"])
    spoken = [predict_test(read_run(Path(member["path"])), folds_of(member), part.views, device=device,
                           runtime=member["runtime"])
              for part in blend.parts for member in [members[part.name]]]
    table = pd.DataFrame(apply(blend, spoken), [image.id for image in dataset.test], list(note["classes"]))
    return render(fill(find_sample(dataset), table, dataset))


def folds_of(member: dict[str, Any]) -> list[int | str]:
    """In the order they were asked: the last bits of a mean depend on it."""
    return [fold if fold == "full" else int(fold) for fold in member["weights_sha256"]]
