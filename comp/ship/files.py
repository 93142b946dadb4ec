"""The exported files of a fold, beside its weights, and the note that says which weights they hold.

    model.onnx                     --to onnx
    model.xml  model.bin           --to openvino
    model.<runtime>.json           written last: what goes in and out, parity, and the hashes of weights and files.
                                   A file that does not match it is stale
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from comp.engine.runtime import Network, onnx_network, openvino_graph, openvino_network
from comp.errors import UserError
from comp.runs import FoldDir
from comp.ship.graph import onnx_graph
from comp.ship.parity import TOLERANCE, Parity, compare
from comp.tables import file_sha256, read_json, write_atomic, write_json

SCHEMA = 1
FILES: dict[str, tuple[str, ...]] = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
OPEN: dict[str, Callable[..., Network]] = {"onnx": onnx_network, "openvino": openvino_network}
PACKAGES = {"onnx": ("torch", "onnx", "onnxruntime"), "openvino": ("torch", "onnx", "openvino")}


def export(fold: FoldDir, runtime: str, model: nn.Module, recipe: dict[str, Any], images: torch.Tensor) -> Parity:
    """Files of the kept weights, written only after what they will hold has said the same of `images` as `model`."""
    contents, parity = _prove(fold, runtime, onnx_graph(model, recipe), model, recipe, images)
    if not parity.holds:
        raise UserError(f"{fold.path}: {runtime} and torch disagree: {parity}; {TOLERANCE * parity.largest:.1e} is "
                        f"allowed, so nothing was written; stay with --runtime torch")
    for name, content in contents.items():
        write_atomic(fold.path / name, content)
    write_json(_note(fold, runtime), {
        "schema": SCHEMA, "runtime": runtime, "weights_sha256": file_sha256(fold.weights),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "input": f"images: uint8 (N, {recipe['size']}, {recipe['size']}, 3), RGB, not normalised",
        "output": "logits: float32 (N, classes)", "precision": "fp32",
        **{key: recipe[key] for key in ("name", "classes", "size", "fit", "crop")}, "parity": vars(parity),
        "versions": {package: version(package) for package in PACKAGES[runtime]}})
    return parity


def _prove(fold: FoldDir, runtime: str, graph: bytes, model: nn.Module, recipe: dict[str, Any],
           images: torch.Tensor) -> tuple[dict[str, bytes], Parity]:
    """What the files shall hold, and how it compares."""
    try:
        contents = (graph,) if runtime == "onnx" else openvino_graph(graph)
        parity = compare(model, OPEN[runtime](*contents), images, recipe["mean"], recipe["std"])
    except UserError:
        raise
    except Exception as problem:  # each runtime has errors of its own
        raise UserError(f"{fold.path}: {runtime} cannot run the graph of {recipe['name']}: {str(problem)[:200]}; "
                        f"stay with --runtime torch") from None
    return dict(zip(FILES[runtime], contents, strict=True)), parity


def why_stale(fold: FoldDir, runtime: str) -> str:
    """Why there must be an export before `open_exported`; empty where there need be none."""
    note = _note(fold, runtime)
    about = read_json(note) if note.is_file() else {}
    if about.get("schema") != SCHEMA:
        return "not exported yet"
    if about["weights_sha256"] != file_sha256(fold.weights):
        return "exported from other weights"
    whole = all((fold.path / name).is_file() and file_sha256(fold.path / name) == sha256
                for name, sha256 in about["files"].items())
    return "" if whole else "not as it was written"


def open_exported(fold: FoldDir, runtime: str) -> tuple[Network, dict[str, Any]]:
    """Of files that are current: the network, and its note."""
    return OPEN[runtime](*((fold.path / name).read_bytes() for name in FILES[runtime])), read_json(_note(fold, runtime))


def _note(fold: FoldDir, runtime: str) -> Path:
    return fold.path / f"model.{runtime}.json"
