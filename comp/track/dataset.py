"""The artifacts of a dataset: a list of its images by hash, never the images, and the split."""

from __future__ import annotations

from pathlib import Path

from comp.data.cache import CACHE
from comp.data.dataset import Dataset
from comp.data.file_hashes import hash_files
from comp.data.scan import scan
from comp.errors import UserError
from comp.files import file_exists, file_sha256, write_atomic
from comp.observers.tracked import ArtifactFiles
from comp.runs import Run
from comp.submit.ledger_lines import format_row
from comp.track.identity import wandb_folder


def scan_dataset(run: Run) -> Dataset | None:
    """Return the images of a run, or None where they are missing or others than those that it was trained on."""
    try:
        dataset = scan(run.config.source)
    except UserError:
        return None
    return dataset if dataset.image_list_sha256 == run.record.image_list_sha256 else None


def dataset_artifacts(run: Run, dataset: Dataset | None) -> tuple[ArtifactFiles, ...]:
    """Return the dataset and the split that a run was trained on.

    Without the images the dataset is its fingerprint alone: the hash of the ids and labels.
    """
    record, files = run.record, {}
    if dataset is not None:
        files["images.csv"] = _write_image_list(dataset, wandb_folder(run) / "images.csv")
    metadata = {
        "images": len(dataset.train) if dataset else None,
        "test_images": len(dataset.test) if dataset else None,
        "classes": list(record.classes),
        "image_list_sha256": record.image_list_sha256,
        **{f"{name}_sha256": file_sha256(path) for name, path in files.items()},
    }
    return (
        ArtifactFiles(f"dataset-{run.config.dataset}", "dataset", files, metadata),
        ArtifactFiles(f"folds-{run.config.dataset}", "folds", _split_files(run), {"sha256": record.folds_sha256}),
    )


def _split_files(run: Run) -> dict[str, Path]:
    """Return the CSV of the split, if it is still the one that the run was trained on."""
    path = Path(run.record.folds_file)
    is_current = file_exists(path) and file_sha256(path) == run.record.folds_sha256
    return {path.name: path} if is_current else {}


def _write_image_list(dataset: Dataset, path: Path) -> Path:
    """Write id, label and hash of each image; the file stays as it is while the dataset does."""
    lines = [format_row(["image", "label", "xxh3_128"])]
    for images in (dataset.train, dataset.test):
        hashes = hash_files(images, CACHE)
        lines += [format_row([image.id, image.label or "", sha]) for image, sha in zip(images, hashes, strict=True)]
    content = "".join(lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not file_exists(path) or path.read_bytes() != content:
        write_atomic(path, content)
    return path
