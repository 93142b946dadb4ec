"""Pack a submission into a zip that reproduces it without internet: code, weights and a notebook.

bundle.json              the blend, and for each member its weights, its square and its size
notebook.ipynb           finds the bundle and the competition, and calls comp/ship/bundle_runtime.py
weights/member0-fold0.pt ...
sample_submission.csv    used where the competition has none
comp/                    this code
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from comp.data.cache import make_square_spec
from comp.data.scan import Dataset, scan
from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.records.blend import MemberRecord
from comp.records.bundle import BundleMember, BundleRecord, SquareRecord
from comp.records.submission import SubmissionManifest
from comp.runs import RUNS, Run, read_run
from comp.ship.bundle_runtime import BUNDLE_FILE, Timing
from comp.ship.notebook import notebook
from comp.ship.verify_bundle import verify_bundle
from comp.submit.competition import from_manifest
from comp.submit.manifest import read_manifest
from comp.submit.sample import sample_path

CODE = Path(__file__).parents[1]
BUNDLES = RUNS / "bundles"


@dataclass(frozen=True)
class Bundle:
    """A verified zip, and how long its notebook took on this machine."""

    path: Path
    timing: Timing


def make_bundle(submission: Path) -> Bundle:
    """Pack all that `submission` was computed with, verify the bundle, and only then rename it to its final name."""
    manifest = read_manifest(submission)
    if other_runtimes := sorted({member.runtime for member in manifest.members} - {"torch"}):
        raise UserError(
            f"a bundle computes with torch, and {submission} was made with {', '.join(other_runtimes)}; make it "
            f"again without --runtime"
        )
    dataset = scan(from_manifest(manifest).source)
    target = BUNDLES / f"{manifest.id}.zip"
    temporary = target.with_name(f".{target.name}.part")  # one name: the next attempt replaces what a killed one left
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        _pack(temporary, manifest, dataset)
        timing = verify_bundle(temporary, manifest.id, dataset.root, submission, dataset.source)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return Bundle(target, timing)


def _pack(file: Path, manifest: SubmissionManifest, dataset: Dataset) -> None:
    """Write the zip and flush it to the disk."""
    by_run = {member.run: member for member in manifest.members}
    members: list[BundleMember] = []
    weights: dict[str, Path] = {}  # name in the bundle -> file
    for index, part in enumerate(manifest.blend.parts):
        member = by_run[part.name]
        run = read_run(Path(member.path))
        files = _member_weights(run, member, index)
        members.append(_bundle_member(run, dataset, tuple(files), tuple(member.weights_sha256.values())))
        weights |= files
    source = dataset.source.unless_folders if dataset.source else None
    record = BundleRecord(
        name=manifest.id,
        sha256=manifest.sha256,
        classes=dataset.classes,
        numbers=dataset.class_numbers,
        blend=manifest.blend,
        members=tuple(members),
        created=manifest.created,
        oof=manifest.oof,
        git=manifest.git,
        versions=manifest.versions,
        source=replace(source, root=".") if source else None,
        unlabelled_images=manifest.unlabelled_images,
    )
    with open(file, "wb") as target:
        _write_zip(target, record, weights, sample_path(dataset.root, dataset.sample))
        target.flush()
        os.fsync(target.fileno())


def _write_zip(target: BinaryIO, record: BundleRecord, weights: Mapping[str, Path], sample: Path | None) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(BUNDLE_FILE, json.dumps(record.to_dict(), indent=1, ensure_ascii=False))
        archive.writestr("notebook.ipynb", notebook(record.name))
        for path in sorted(path for pattern in ("*.py", "*.cpp", "*.h") for path in CODE.rglob(pattern)):
            archive.write(path, f"comp/{path.relative_to(CODE).as_posix()}")
        if sample:
            archive.write(sample, sample.name)
        for name, path in weights.items():
            archive.write(path, name, zipfile.ZIP_STORED)  # random digits: compression gains nothing


def _member_weights(run: Run, member: MemberRecord, index: int) -> dict[str, Path]:
    """Return name in the bundle -> weights file, in the order of the folds, after a check of each file's hash."""
    files = {}
    for fold, sha256 in zip(member.folds, member.weights_sha256.values(), strict=True):
        weights = run.fold_dir(fold).weights_path
        if not file_exists(weights) or file_sha256(weights) != sha256:
            raise UserError(
                f"{weights} is not the file that the submission was made with; restore it, or train that fold again"
            )
        files[f"weights/member{index}-fold{fold}.pt"] = weights
    return files


def _bundle_member(run: Run, dataset: Dataset, weights: tuple[str, ...], sha256: tuple[str, ...]) -> BundleMember:
    data = run.config.data
    square = make_square_spec(dataset.train, data.size, data.fit, data.crop)
    square_record = SquareRecord(square.size, square.fit, square.crop)
    return BundleMember(square_record, data.size, run.config.train.batch, weights, sha256)
