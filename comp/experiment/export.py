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
from typing import Any

import numpy as np
import torch
from torch import nn

from comp.data.cache import load_cache, square_for
from comp.data.loader import EvaluationSet
from comp.data.scan import Dataset
from comp.engine.export import TOLERANCE, Parity, compare, graph_for
from comp.engine.predict import FromPixels, Network
from comp.engine.runtime import OPEN
from comp.errors import UserError
from comp.experiment.setup import dataset_of, finished_folds, load_model
from comp.runs import FoldDir, Run
from comp.tables import file_sha256, read_json, write_atomic, write_json

SCHEMA = 1
FILES = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
PACKAGES = {"onnx": ("torch", "onnx", "onnxruntime"), "openvino": ("torch", "onnx", "openvino")}
SAMPLE = 64  # images of the training set that parity is measured on


def export_run(run: Run, runtime: str, *, full: bool = False) -> None:
    """Every finished fold, or the model trained on everything; again, if it was exported before."""
    dataset = dataset_of(run)
    for fold in finished_folds(run, full):
        _export_fold(run.fold(fold), dataset, runtime)


def exported_networks(run: Run, dataset: Dataset, folds: Sequence[int | str], runtime: str) -> list[Network]:
    """One per fold, exported first where files are missing or stale."""
    for fold in folds:
        if stale := why_stale(run.fold(fold), runtime):
            print(f"{run.fold(fold).path}: the {runtime} model is {stale}, so it is exported now")
            _export_fold(run.fold(fold), dataset, runtime)
    return [OPEN[runtime](*((run.fold(fold).path / name).read_bytes() for name in FILES[runtime])) for fold in folds]


def _export_fold(place: FoldDir, dataset: Dataset, runtime: str) -> None:
    model, recipe = load_model(place.weights, torch.device("cpu"))
    parity = export(place, runtime, model, recipe, _some_images(dataset, recipe))
    print(f"wrote {' and '.join(str(place.path / name) for name in FILES[runtime])}, 32 bits: {parity}")


def _some_images(dataset: Dataset, recipe: dict[str, Any]) -> torch.Tensor:
    """Spread over the training images, which are listed by class."""
    square = square_for(dataset.train, recipe["size"], recipe["fit"], recipe["crop"])
    rows = np.unique(np.linspace(0, len(dataset.train) - 1, SAMPLE).astype(int))
    cache = load_cache(dataset.name, dataset.train, square)
    return EvaluationSet(cache, rows, recipe["size"], len(rows))[0]


def export(place: FoldDir, runtime: str, model: nn.Module, recipe: dict[str, Any], images: torch.Tensor) -> Parity:
    """Prove, then write."""
    contents = graph_for(runtime, model, recipe)
    parity = _prove(place, runtime, contents, model, recipe, images)
    for name, content in zip(FILES[runtime], contents, strict=True):
        write_atomic(place.path / name, content)
    write_json(_note(place, runtime), {
        "schema": SCHEMA, "runtime": runtime, "weights_sha256": file_sha256(place.weights),
        "files": {name: hashlib.sha256(content).hexdigest()
                  for name, content in zip(FILES[runtime], contents, strict=True)},
        "input": f"images: uint8 (N, {recipe['size']}, {recipe['size']}, 3), RGB, not normalised",
        "output": "logits: float32 (N, classes)", "precision": "fp32",
        **{key: recipe[key] for key in ("name", "classes", "size", "fit", "crop")}, "parity": vars(parity),
        "versions": {package: version(package) for package in PACKAGES[runtime]}})
    return parity


def _prove(place: FoldDir, runtime: str, contents: tuple[bytes, ...], model: nn.Module, recipe: dict[str, Any],
           images: torch.Tensor) -> Parity:
    try:
        parity = compare(FromPixels(model, recipe["mean"], recipe["std"]), OPEN[runtime](*contents), images)
    except UserError:
        raise
    except Exception as problem:  # each runtime has errors of its own
        raise UserError(f"{place.path}: {runtime} cannot run the graph of {recipe['name']}: {str(problem)[:200]}; "
                        f"stay with --runtime torch") from None
    if not parity.holds:
        raise UserError(f"{place.path}: {runtime} and torch disagree: {parity}; {TOLERANCE * parity.largest:.1e} is "
                        f"allowed, so nothing was written; stay with --runtime torch")
    return parity


def why_stale(place: FoldDir, runtime: str) -> str:
    """Why the files may not be used as they are; empty where they may."""
    note = _note(place, runtime)
    about = read_json(note) if note.is_file() else {}
    if about.get("schema") != SCHEMA:
        return "not exported yet"
    if about["weights_sha256"] != file_sha256(place.weights):
        return "exported from other weights"
    whole = all((place.path / name).is_file() and file_sha256(place.path / name) == sha256
                for name, sha256 in about["files"].items())
    return "" if whole else "not as it was written"


def _note(place: FoldDir, runtime: str) -> Path:
    return place.path / f"model.{runtime}.json"
