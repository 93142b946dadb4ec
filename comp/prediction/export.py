"""Export a run's folds to ONNX or OpenVINO: files beside the weights, written only if they agree with torch.

model.onnx                     --to onnx
model.xml  model.bin           --to openvino or openvino-bf16, which are the same graph, computed in fp32 or in bf16
model.<runtime>.json           the ExportRecord, written last: input and output, parity with torch, and the hashes of
                               weights and files. Files that do not match it are stale
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from comp.batches.loader import EvaluationSet
from comp.data.cache import load_cache, make_square_spec
from comp.data.scan import Dataset
from comp.engine.export import TOLERANCES, Parity, check_parity, export_graph
from comp.engine.predict import Network, NormalisedModel
from comp.engine.runtime import RUNTIME_LOADERS
from comp.errors import UserError
from comp.files import file_exists, read_bytes, write_atomic
from comp.prediction.load import LoadedModel, finished_folds, load_model, load_run_dataset
from comp.records.base import Fold
from comp.records.export import ExportRecord, ParityRecord
from comp.records.weights import ModelSpec
from comp.runs import FoldDir, Run

RUNTIME_FILES = dict.fromkeys(("openvino", "openvino-bf16"), ("model.xml", "model.bin")) | {"onnx": ("model.onnx",)}
PACKAGES = {
    "onnx": ("torch", "onnx", "onnxruntime"),
    "openvino": ("torch", "onnx", "openvino"),
    "openvino-bf16": ("torch", "onnx", "openvino"),
}
PARITY_IMAGES = 64  # images of the training set that parity is measured on


def export_run(run: Run, runtime: str, *, full: bool = False) -> None:
    """Export every finished fold, or the model trained on all images; replace earlier exports."""
    dataset = load_run_dataset(run)
    for fold in finished_folds(run, full):
        _load_and_export(run, fold, dataset, runtime)


def exported_network(run: Run, dataset: Dataset, fold: Fold, weights_sha256: str, runtime: str) -> Network:
    """Return the network exported from the weights with that hash; missing or stale files are exported first."""
    fold_dir = run.fold_dir(fold)
    contents = read_graph_files(fold_dir, runtime)
    if reason := stale_reason(fold_dir, runtime, weights_sha256, contents):
        print(f"{fold_dir.path}: the {runtime} model is {reason}, so it is exported now")
        _load_and_export(run, fold, dataset, runtime)
        contents = read_graph_files(fold_dir, runtime)
        if reason := stale_reason(fold_dir, runtime, weights_sha256, contents):
            raise UserError(f"{fold_dir.path}: the {runtime} model was {reason} again; run the same command again")
    return RUNTIME_LOADERS[runtime](*contents.values())


def read_graph_files(fold_dir: FoldDir, runtime: str) -> dict[str, bytes]:
    """Return the contents of the exported files by name; a missing one is empty."""
    paths = {name: fold_dir.path / name for name in RUNTIME_FILES[runtime]}
    return {name: read_bytes(path, None) if file_exists(path) else b"" for name, path in paths.items()}


def _load_and_export(run: Run, fold: Fold, dataset: Dataset, runtime: str) -> None:
    """Export the model of one fold and print the files and their parity."""
    fold_dir, loaded = run.fold_dir(fold), load_model(run.read_weights(fold), torch.device("cpu"))
    parity = export_fold(fold_dir, runtime, loaded, sample_images(dataset, loaded.spec))
    files = " and ".join(str(fold_dir.path / name) for name in RUNTIME_FILES[runtime])
    print(f"wrote {files}, computed in {precision_of(runtime)}: {parity}")


def sample_images(dataset: Dataset, spec: ModelSpec) -> torch.Tensor:
    """Return images spread evenly over the training set, which is sorted by class."""
    square_spec = make_square_spec(dataset.train, spec.size, spec.fit, spec.crop)
    rows = np.unique(np.linspace(0, len(dataset.train) - 1, PARITY_IMAGES).astype(int))
    cache = load_cache(dataset.name, dataset.train, square_spec)
    return EvaluationSet(cache, rows, spec.size, len(rows))[0]


def export_fold(fold_dir: FoldDir, runtime: str, loaded: LoadedModel, images: torch.Tensor) -> Parity:
    """Export a model, check its parity with torch on `images`, then write its files and their record."""
    model, spec = loaded.model, loaded.spec
    graph_files = dict(zip(RUNTIME_FILES[runtime], export_graph(runtime, model, spec), strict=True))
    parity = _check_parity(fold_dir, runtime, tuple(graph_files.values()), model, spec, images)
    for name, content in graph_files.items():
        write_atomic(fold_dir.path / name, content)
    ExportRecord(
        schema=ExportRecord.SCHEMA,
        runtime=runtime,
        weights_sha256=loaded.weights_sha256,
        files={name: hashlib.sha256(content).hexdigest() for name, content in graph_files.items()},
        input=f"images: uint8 (N, {spec.size}, {spec.size}, 3), RGB, not normalised",
        output="logits: float32 (N, classes)",
        precision=precision_of(runtime),
        name=spec.name,
        classes=spec.classes,
        size=spec.size,
        fit=spec.fit,
        crop=spec.crop,
        parity=ParityRecord(parity.images, parity.max_difference, parity.max_logit, parity.same_class_count),
        versions={package: version(package) for package in PACKAGES[runtime]},
    ).write(_record_path(fold_dir, runtime))
    return parity


def _check_parity(
    fold_dir: FoldDir,
    runtime: str,
    contents: tuple[bytes, ...],
    model: nn.Module,
    spec: ModelSpec,
    images: torch.Tensor,
) -> Parity:
    try:
        network = RUNTIME_LOADERS[runtime](*contents)
        parity = check_parity(NormalisedModel(model, spec.mean, spec.std), network, images, TOLERANCES[runtime])
    except UserError:
        raise
    except Exception as error:  # each runtime has errors of its own
        raise UserError(
            f"{fold_dir.path}: {runtime} cannot run the graph of {spec.name}: {str(error)[:200]}; use --runtime torch"
        ) from None
    if not parity.passed:
        raise UserError(
            f"{fold_dir.path}: {runtime} and torch disagree: {parity}; {parity.tolerance * parity.max_logit:.1e} is "
            f"allowed, so nothing was written; use --runtime torch"
        )
    return parity


def precision_of(runtime: str) -> str:
    """Return the precision that a runtime computes in."""
    return "bf16" if runtime.endswith("-bf16") else "fp32"


def stale_reason(fold_dir: FoldDir, runtime: str, weights_sha256: str, contents: Mapping[str, bytes]) -> str:
    """Return why the exported files of a fold, with these contents, cannot be used for its weights; "" if they can."""
    path = _record_path(fold_dir, runtime)
    try:
        record = ExportRecord.read(path)
    except UserError:  # missing, or of another format
        return "not exported yet"
    if record.weights_sha256 != weights_sha256:
        return "exported from other weights"
    intact = record.files == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return "" if intact else "not as it was written"


def _record_path(fold_dir: FoldDir, runtime: str) -> Path:
    return fold_dir.path / f"model.{runtime}.json"
