"""Provenance: hashes of the inputs of a table of predictions, which is computed again when one of them changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from comp.data.cache import cache_key, make_square_spec, stat_key
from comp.data.scan import Dataset
from comp.files import file_sha256
from comp.records.base import Fold
from comp.records.predictions import Provenance
from comp.records.submission import InputHashes
from comp.runs import Run
from comp.submit.sample import sample_path


def build_provenance(
    run: Run, dataset: Dataset, kind: Literal["oof", "test"], weights: dict[str, str], runtime: str = "torch"
) -> Provenance:
    """Return the provenance of OOF or test predictions with weights of these hashes, by fold."""
    data = run.config.data
    images = dataset.train if kind == "oof" else dataset.test
    square_spec = make_square_spec(dataset.train, data.size, data.fit, data.crop)
    return Provenance(
        weights=weights,
        labels=dataset.image_list_sha256 if kind == "oof" else None,
        images=cache_key(images, square_spec),
        old_images=stat_key(images, square_spec),
        runtime=runtime,
    )


def validation_provenance(run: Run, dataset: Dataset, folds: Sequence[Fold]) -> Provenance:
    """Return the provenance of the predictions that trainings made of their validation images.

    The images are those of the training: predictions of an image that has changed since are not current.
    """
    provenance = build_provenance(run, dataset, "oof", {str(fold): run.weights_sha256(fold) for fold in folds})
    records = [run.fold_dir(fold).read_record() for fold in folds]
    keys = {record.images if record and record.images else provenance.images for record in records}
    return replace(provenance, images=" ".join(sorted(keys)))  # several: no table is current with them


def input_hashes(dataset: Dataset) -> InputHashes:
    """Return hashes of the inputs of a submission other than its members, for its manifest.

    The test images are hashed by id and content: manifests are read on other machines, where file times mean nothing.
    """
    test = hashlib.sha256()
    for image in sorted(dataset.test, key=lambda image: image.id):
        test.update(f"{image.id}\t{file_sha256(image.path)}\n".encode())
    sample = sample_path(dataset.root, dataset.sample)
    return InputHashes(
        train_list_sha256=dataset.image_list_sha256,
        test_sha256=test.hexdigest(),
        sample_sha256=file_sha256(sample) if sample else None,
    )
