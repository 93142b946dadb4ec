"""Provenance: hashes of the inputs of a table of predictions, which is computed again when one of them changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from comp.data.cache import cache_key, make_square_spec
from comp.data.scan import Dataset
from comp.errors import UserError
from comp.files import file_sha256, read_json
from comp.records.base import Fold
from comp.records.predictions import Provenance
from comp.records.submission import InputHashes
from comp.runs import Run
from comp.submit.sample import sample_path


def weights_hashes(run: Run, folds: Sequence[Fold]) -> dict[str, str]:
    """Return the hash of each fold's kept weights, as its fold.json records it."""
    hashes = {}
    for fold in folds:
        record = run.fold_dir(fold).read_record()
        if record is None or record.weights_sha256 is None:
            raise UserError(f"{run.fold_dir(fold).path} has no finished training; train the fold")
        hashes[str(fold)] = record.weights_sha256
    return hashes


def build_provenance(
    run: Run, dataset: Dataset, kind: Literal["oof", "test"], folds: Sequence[Fold], runtime: str = "torch"
) -> Provenance:
    """Return the provenance of OOF or test predictions: hashes of weights, labels and images, and the runtime."""
    data = run.config.data
    images = dataset.train if kind == "oof" else dataset.test
    square_spec = make_square_spec(dataset.train, data.size, data.fit, data.crop)
    return Provenance(
        weights=weights_hashes(run, folds),
        labels=dataset.image_list_sha256 if kind == "oof" else None,
        images=cache_key(images, square_spec),
        runtime=runtime,
    )


def provenance_path(predictions: Path) -> Path:
    return predictions.with_name(f"{predictions.stem}.from.json")


def write_provenance(predictions: Path, provenance: Provenance) -> None:
    provenance.write(provenance_path(predictions))


def read_provenance(predictions: Path) -> Provenance | None:
    """Return the provenance of a table; None without a table, or with a provenance of another format."""
    path = provenance_path(predictions)
    if not predictions.is_file() or not path.is_file():
        return None
    content = read_json(path)
    try:
        provenance = Provenance.from_dict(content, path)
    except UserError:
        return None
    return provenance if provenance.to_dict() == content else None  # a key that is unknown here may matter


def is_current(predictions: Path, provenance: Provenance) -> bool:
    """Return whether the table exists and was computed from exactly `provenance`."""
    return read_provenance(predictions) == provenance


def current_folds(predictions: Path, provenance: Provenance) -> list[int]:
    """Return the folds whose rows of an OOF table are up to date.

    Labels, images and runtime must match for the whole table; then the weights are compared fold by fold.
    """
    stored = read_provenance(predictions)
    if stored is None or not stored.matches(provenance):
        return []
    return [int(fold) for fold, sha256 in stored.weights.items() if provenance.weights.get(fold) == sha256]


def input_hashes(dataset: Dataset) -> InputHashes:
    """Return hashes of the inputs of a submission other than its members, for its manifest.

    The test images are hashed by id and content: manifests are read on other machines, where file times mean nothing.
    """
    test = hashlib.sha256()
    for image in sorted(dataset.test, key=lambda image: image.id):
        test.update(f"{image.id}\t{file_sha256(image.path)}\n".encode())
    sample = sample_path(dataset.root)
    return InputHashes(
        train_list_sha256=dataset.image_list_sha256,
        test_sha256=test.hexdigest(),
        sample_sha256=file_sha256(sample) if sample else None,
    )
