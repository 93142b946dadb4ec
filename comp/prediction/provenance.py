"""What a file of predictions was made from: it is made again when any of that changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comp.data.cache import cache_key, make_square_spec
from comp.data.scan import Dataset
from comp.files import file_sha256, read_json, write_json
from comp.runs import Run
from comp.submit.sample import sample_path


def weights_hashes(run: Run, folds: Sequence[int | str]) -> dict[str, str]:
    return {str(fold): run.fold_dir(fold).read_record().weights_sha256 for fold in folds}


def build_provenance(
    run: Run, dataset: Dataset, part: str, folds: Sequence[int | str], runtime: str = "torch"
) -> dict[str, Any]:
    """Of the OOF or the test part: which weights looked at which pictures, under which labels, and in what but torch
    (a note without a runtime is torch's)."""
    data = run.config.data
    images = dataset.train if part == "oof" else dataset.test
    square = make_square_spec(dataset.train, data.size, data.fit, data.crop)
    return {
        "weights": weights_hashes(run, folds),
        "labels": dataset.image_list_sha256 if part == "oof" else None,
        "images": cache_key(images, square),
        **({} if runtime == "torch" else {"runtime": runtime}),
    }


def input_hashes(dataset: Dataset) -> dict[str, Any]:
    """Hashes of what a submission depends on beside its members, for its note. The test images' is of their ids and
    bytes: a note is read on other machines, where times of files mean nothing."""
    test = hashlib.sha256()
    for image in sorted(dataset.test, key=lambda image: image.id):
        test.update(f"{image.id}\t{file_sha256(image.path)}\n".encode())
    sample = sample_path(dataset.root)
    return {
        "train_list_sha256": dataset.image_list_sha256,
        "test_sha256": test.hexdigest(),
        "sample_sha256": sample and file_sha256(sample),
    }


def provenance_path(predictions: Path) -> Path:
    return predictions.with_name(f"{predictions.stem}.from.json")


def write_provenance(predictions: Path, made_from: dict[str, Any]) -> None:
    write_json(provenance_path(predictions), made_from)


def is_current(predictions: Path, made_from: dict[str, Any]) -> bool:
    note = provenance_path(predictions)
    return predictions.is_file() and note.is_file() and read_json(note) == made_from


def for_folds(made_from: dict[str, Any], folds: Sequence[int | str]) -> dict[str, Any]:
    """The same of some of its folds."""
    return {**made_from, "weights": {str(fold): made_from["weights"][str(fold)] for fold in folds}}


def current_folds(predictions: Path, made_from: dict[str, Any]) -> list[int]:
    """Of a file that has the rows of several folds: those whose weights did not change, where nothing else did."""
    note = provenance_path(predictions)
    was = read_json(note) if predictions.is_file() and note.is_file() else {"weights": {}}
    if {**was, "weights": None} != {**made_from, "weights": None}:
        return []
    return [int(fold) for fold, sha256 in was["weights"].items() if made_from["weights"].get(fold) == sha256]
