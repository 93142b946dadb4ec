"""A run's folds leave torch: files beside the weights, written only after they were held against torch on real images.

model.onnx                     --to onnx
model.xml  model.bin           --to openvino
model.<runtime>.json           written last: what goes in and out, parity, and the hashes of weights and files.
                               A file that does not match it is stale
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from comp.batches.loader import EvaluationSet
from comp.data.cache import load_cache, make_square_spec
from comp.data.scan import Dataset
from comp.engine.export import TOLERANCE, Parity, check_parity, export_graph
from comp.engine.predict import Network, NormalisedModel
from comp.engine.runtime import RUNTIME_LOADERS
from comp.errors import UserError
from comp.files import file_sha256, read_json, write_atomic, write_json
from comp.prediction.load import finished_folds, load_model, load_run_dataset
from comp.records.weights import ModelSpec
from comp.runs import FoldDir, Run

EXPORT_SCHEMA = 1
RUNTIME_FILES = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
PACKAGES = {"onnx": ("torch", "onnx", "onnxruntime"), "openvino": ("torch", "onnx", "openvino")}
PARITY_IMAGES = 64  # images of the training set that parity is measured on


def export_run(run: Run, runtime: str, *, full: bool = False) -> None:
    """Every finished fold, or the model trained on everything; again, if it was exported before."""
    dataset = load_run_dataset(run)
    for fold in finished_folds(run, full):
        _export_fold(run.fold_dir(fold), dataset, runtime)


def exported_networks(run: Run, dataset: Dataset, folds: Sequence[int | str], runtime: str) -> list[Network]:
    """One per fold, exported first where files are missing or stale."""
    for fold in folds:
        if stale := stale_reason(run.fold_dir(fold), runtime):
            print(f"{run.fold_dir(fold).path}: the {runtime} model is {stale}, so it is exported now")
            _export_fold(run.fold_dir(fold), dataset, runtime)
    return [
        RUNTIME_LOADERS[runtime](*((run.fold_dir(fold).path / name).read_bytes() for name in RUNTIME_FILES[runtime]))
        for fold in folds
    ]


def _export_fold(place: FoldDir, dataset: Dataset, runtime: str) -> None:
    loaded = load_model(place.weights_path, torch.device("cpu"))
    parity = export_fold(place, runtime, loaded.model, loaded.spec, _sample_images(dataset, loaded.spec))
    print(f"wrote {' and '.join(str(place.path / name) for name in RUNTIME_FILES[runtime])}, 32 bits: {parity}")


def _sample_images(dataset: Dataset, spec: ModelSpec) -> torch.Tensor:
    """Spread over the training images, which are listed by class."""
    square = make_square_spec(dataset.train, spec.size, spec.fit, spec.crop)
    rows = np.unique(np.linspace(0, len(dataset.train) - 1, PARITY_IMAGES).astype(int))
    cache = load_cache(dataset.name, dataset.train, square)
    return EvaluationSet(cache, rows, spec.size, len(rows))[0]


def export_fold(place: FoldDir, runtime: str, model: nn.Module, spec: ModelSpec, images: torch.Tensor) -> Parity:
    """Prove, then write."""
    contents = export_graph(runtime, model, spec)
    parity = _check_parity(place, runtime, contents, model, spec, images)
    for name, content in zip(RUNTIME_FILES[runtime], contents, strict=True):
        write_atomic(place.path / name, content)
    write_json(
        _note(place, runtime),
        {
            "schema": EXPORT_SCHEMA,
            "runtime": runtime,
            "weights_sha256": file_sha256(place.weights_path),
            "files": {
                name: hashlib.sha256(content).hexdigest()
                for name, content in zip(RUNTIME_FILES[runtime], contents, strict=True)
            },
            "input": f"images: uint8 (N, {spec.size}, {spec.size}, 3), RGB, not normalised",
            "output": "logits: float32 (N, classes)",
            "precision": "fp32",
            "name": spec.name,
            "classes": list(spec.classes),
            "size": spec.size,
            "fit": spec.fit,
            "crop": spec.crop,
            "parity": vars(parity),
            "versions": {package: version(package) for package in PACKAGES[runtime]},
        },
    )
    return parity


def _check_parity(
    place: FoldDir, runtime: str, contents: tuple[bytes, ...], model: nn.Module, spec: ModelSpec, images: torch.Tensor
) -> Parity:
    try:
        parity = check_parity(NormalisedModel(model, spec.mean, spec.std), RUNTIME_LOADERS[runtime](*contents), images)
    except UserError:
        raise
    except Exception as problem:  # each runtime has errors of its own
        raise UserError(
            f"{place.path}: {runtime} cannot run the graph of {spec.name}: {str(problem)[:200]}; "
            f"stay with --runtime torch"
        ) from None
    if not parity.holds:
        raise UserError(
            f"{place.path}: {runtime} and torch disagree: {parity}; {TOLERANCE * parity.largest:.1e} is "
            f"allowed, so nothing was written; stay with --runtime torch"
        )
    return parity


def stale_reason(place: FoldDir, runtime: str) -> str:
    """Why the files may not be used as they are; empty where they may."""
    note = _note(place, runtime)
    about = read_json(note) if note.is_file() else {}
    if about.get("schema") != EXPORT_SCHEMA:
        return "not exported yet"
    if about["weights_sha256"] != file_sha256(place.weights_path):
        return "exported from other weights"
    whole = all(
        (place.path / name).is_file() and file_sha256(place.path / name) == sha256
        for name, sha256 in about["files"].items()
    )
    return "" if whole else "not as it was written"


def _note(place: FoldDir, runtime: str) -> Path:
    return place.path / f"model.{runtime}.json"
