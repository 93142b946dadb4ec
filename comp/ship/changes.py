"""Name what has changed since a submission was made."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from comp.data.scan import Dataset, scan
from comp.environment import git_state
from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.prediction.provenance import input_hashes
from comp.records.blend import MemberRecord
from comp.records.submission import SubmissionManifest
from comp.runs import FoldDir
from comp.submit.competition import from_manifest


def missing_inputs(manifest: SubmissionManifest) -> list[str]:
    """List missing or changed weights and classes. With any of them the bytes cannot match, so nothing is predicted."""
    return [*_class_changes(manifest), *(line for member in manifest.members for line in _weight_changes(member))]


def changed_inputs(manifest: SubmissionManifest, dataset: Dataset) -> list[str]:
    """List what has changed of the test images and the sample."""
    then, now = manifest.images, input_hashes(dataset)
    lines = []
    if now.test_sha256 != then.test_sha256:
        count = len(dataset.test)
        lines.append(f"the test images: {dataset.root / 'test'} has others, or other bytes ({count} images now)")
    if now.sample_sha256 != then.sample_sha256:
        change = "was added" if not then.sample_sha256 else "is missing" if not now.sample_sha256 else "has changed"
        lines.append(f"the sample submission of {dataset.root} {change}")
    return lines


def possible_causes(manifest: SubmissionManifest) -> list[str]:
    """List differences that may explain other bytes but need not: training images, versions, code and machine."""
    lines = []
    if scan(from_manifest(manifest).source).image_list_sha256 != manifest.images.train_list_sha256:
        lines.append("the list of training images changed, which decides the size that images are kept at")
    for package, old_version in manifest.versions.items():
        if (new_version := _installed_version(package)) != old_version:
            lines.append(f"{package} {old_version} then, {new_version} now")
    then, now = manifest.git, git_state()
    if then.commit != now.commit:
        lines.append(f"the code: commit {str(then.commit)[:8]} then, {str(now.commit)[:8]} now")
    if then.dirty or now.dirty:
        lines.append(f"the code: uncommitted changes{' then' * then.dirty}{' now' * now.dirty}")
    return [*lines, "another machine or another number of threads, which add up in another order"]


def _class_changes(manifest: SubmissionManifest) -> Iterator[str]:
    source, then = from_manifest(manifest).source, manifest.classes
    try:
        now = scan(source).classes
    except UserError as error:  # the dataset is missing, or its folders differ from class_map.json
        yield str(error)
    else:
        if now != then:
            yield f"the classes of {source.root}, or their order: {', '.join(then)} then, {', '.join(now)} now"


def _weight_changes(member: MemberRecord) -> Iterator[str]:
    path = Path(member.path)
    if not file_exists(path / "run.json"):
        yield f"the run {member.run}: {path} is missing"
        return
    for fold, sha256 in member.weights_sha256.items():
        weights = FoldDir(path / f"fold{fold}").weights_path
        if not file_exists(weights):
            yield f"the weights of {member.run}, fold {fold}: {weights} is missing"
        elif file_sha256(weights) != sha256:
            yield f"the weights of {member.run}, fold {fold}: {weights} has changed"


def _installed_version(package: str) -> str | None:
    try:
        return platform.python_version() if package == "python" else version(package)
    except PackageNotFoundError:
        return None
