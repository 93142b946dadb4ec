"""Find what a person wants to predict with, and read its record, or make it where something has changed.

runs/served/runs/<name>/served.json              of a run
runs/served/submissions/<id>/served.json         of a submission, whose blend has the same name
runs/served/.../member0.onnx                     its members as graphs, for --runtime onnx
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.records.run import FoldRecord
from comp.records.served import ServedMember, ServedRecord

SERVED = Path("runs/served")


@dataclass(frozen=True)
class Reference:
    """A run or a submission, by the directory of its record."""

    kind: str  # "runs" or "submissions"
    name: str

    @property
    def directory(self) -> Path:
        return SERVED / self.kind / self.name

    @property
    def file(self) -> Path:
        return self.directory / "served.json"


def parse_reference(text: str) -> Reference:
    """Return what `text` names: a run, a blend or a submission, by name or path. A run comes before a submission."""
    path = Path(text)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    name = path.as_posix()
    if path.is_absolute() or ".." in path.parts or name == ".":
        raise UserError(f"{text!r} is no run or submission of this directory; pass its name, or go to its directory")
    for prefix, kind in (("runs/blends/", "submissions"), ("blends/", "submissions"), ("runs/", "runs")):
        if name.startswith(prefix):
            return Reference(kind, name.removeprefix(prefix))
    if name.startswith("submissions/"):
        return Reference("submissions", path.relative_to("submissions").with_suffix("").as_posix())
    if not (Path("runs") / name / "run.json").is_file() and any(
        (Path("submissions") / f"{name}{suffix}").is_file() for suffix in (".json", ".about.json")
    ):
        return Reference("submissions", name)
    return Reference("runs", name)


def open_record(reference: Reference, device: str) -> ServedRecord:
    """Return the record of a run or submission; it is made again where weights or the manifest have changed."""
    if file_exists(reference.file):
        try:
            record = ServedRecord.read(reference.file)
        except UserError:  # damaged, or of another version
            pass
        else:
            if _is_current(record):
                return record
    with require_installation():
        from comp.serving.prepare import make_record  # imported here: torch and pandas take seconds

    record = make_record(reference, device)
    record.write(reference.file)
    return record


@contextlib.contextmanager
def require_installation() -> Iterator[None]:
    """Turn the lack of a package, on a machine that only predicts, into a UserError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed, so only --runtime onnx works here, with the runs/served/ and fold.json of "
            f"a machine that has used it since the last training; copy them, or install all: pip install -e ."
        ) from None


def _is_current(record: ServedRecord) -> bool:
    if record.manifest is not None:
        manifest = Path(record.manifest)
        if not file_exists(manifest) or file_sha256(manifest) != record.manifest_sha256:
            return False
    return all(_has_same_weights(member, every_fold=record.manifest is None) for member in record.members)


def _has_same_weights(member: ServedMember, every_fold: bool) -> bool:
    """Return whether the recorded folds of a run have the same weights, and with `every_fold` no other is finished."""
    finished = {}
    for file in Path(member.path).glob("fold*/fold.json"):
        fold = FoldRecord.read(file)
        if fold.status == "done" and fold.weights_sha256:
            finished[file.parent.name.removeprefix("fold")] = fold.weights_sha256
    full = member.weights_sha256.keys() == {"full"}
    expected = {fold for fold in finished if (fold == "full") == full} if every_fold else member.weights_sha256.keys()
    return {fold: finished.get(fold) for fold in expected} == member.weights_sha256
