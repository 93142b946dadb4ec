"""Weights from a file of timm, torchvision or this kit: read it, convert its keys, load what fits a model.

match = match_weights(name, model, read_weight_file(path))     # nothing is loaded yet
print(match)
load_matched(model, match)
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import safetensors
import safetensors.torch
import torch
from timm.models import clean_state_dict, model_entrypoint
from torch import nn

from comp.checkpoints import is_plain_archive
from comp.errors import UserError, shorten
from comp.files import read_bytes
from comp.records.run import Unlabelled
from comp.records.weights import MAX_WEIGHTS_BYTES
from comp.zoo.classifier import backbone_parameters
from comp.zoo.registry import register_models

StateDict = dict[str, torch.Tensor]

# Keys under which training programs store a state dict, in timm's order of preference.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
# The names that timm gives to the function of a family of models that converts the keys of published files.
CONVERTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
MIN_BACKBONE_SHARE = 0.5  # of the backbone's numbers; a file of another model has a few layers in common
MAX_NAMED = 5


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file as it names them, and the hash of the bytes they were read from."""

    path: Path
    sha256: str
    state_dict: StateDict
    unlabelled_images: tuple[Unlabelled, ...] = ()  # whose pixels it was trained on, if it is of `comp pretrain`


@dataclass(frozen=True)
class WeightMatch:
    """The tensors of a file that a model takes, and the names of those that are left."""

    path: Path
    fitting: StateDict
    tensors: int  # of the model
    reshaped: tuple[str, ...]  # in both, of another shape
    missing: tuple[str, ...]  # of the model, not in the file
    unused: tuple[str, ...]  # of the file, not in the model
    has_backbone: bool  # everything but the classifier fits

    def __str__(self) -> str:
        """Return one line that names every tensor that is not loaded, up to five of a kind."""
        parts = [
            f"{len(names)} {what} ({_abbreviate(names)})"
            for what, names in (
                ("of another shape", self.reshaped),
                ("not in the file", self.missing),
                ("of the file not used", self.unused),
            )
            if names
        ]
        return "; ".join([f"{self.path}: {len(self.fitting)} of {self.tensors} tensors loaded", *parts])


def read_weight_file(path: Path) -> WeightFile:
    """Read a `.safetensors` file, or one of `torch.save`; no code in it is run. Any other file is a UserError.

    The bytes that are parsed are the bytes that are hashed.
    """
    content = read_bytes(path, MAX_WEIGHTS_BYTES)
    parsed = _parse(path, content)
    tensors = _unwrap(parsed)
    if not tensors:
        raise UserError(f"model.weights: {path} contains no weights; name a file of a state dict")
    stated = parsed.get("unlabelled_images") if isinstance(parsed, dict) else None
    seen = tuple(images for images in get_args(Unlabelled) if isinstance(stated, list) and images in stated)
    return WeightFile(path, hashlib.sha256(content).hexdigest(), clean_state_dict(tensors), seen)


def _parse(path: Path, content: bytes) -> object:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load(content)
        except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(
                f"model.weights: {path} is truncated or no safetensors file ({shorten(error)}); download it again"
            ) from None
    is_zip = content.startswith(b"PK")
    if is_zip and not is_plain_archive(io.BytesIO(content)):
        raise UserError(f"model.weights: {path} is truncated, or not written by torch.save; download it again")
    try:
        # timm's and others' training programs store their arguments beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # anything that pickle or torch raise for another file
        _, separator, rest = str(error).partition("GLOBAL ")
        if separator:
            raise UserError(
                f"model.weights: {path} contains {rest.split()[0]}, for which code in the file would have to run; save "
                f"its state dict alone, or use a .safetensors file"
            ) from None
        raise UserError(
            f"model.weights: {path} is truncated, or not written by torch.save; download it again"
        ) from None


def _unwrap(content: object) -> StateDict:
    """Return the tensors of a state dict, which training programs store beside other things."""
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}


def match_weights(name: str, model: nn.Module, file: WeightFile) -> WeightMatch:
    """Return the tensors of `file` that `model`, built as `name`, takes; a UserError if they are too few.

    The counters of BatchNorm, which torch fills in, are not compared.
    """
    converted, own = _convert_keys(name, model, file), model.state_dict()
    fitting = {key: converted[key] for key, value in own.items() if key in converted and _fits(converted[key], value)}
    sizes = {key: parameter.numel() for key, parameter in backbone_parameters(model).items()}
    if sum(size for key, size in sizes.items() if key in fitting) < MIN_BACKBONE_SHARE * sum(sizes.values()):
        raise UserError(
            f"model.weights: {file.path} is of another model than {name}: {len(fitting)} of {len(own)} tensors fit. It "
            f"has {_abbreviate(converted, 3)}, and the model {_abbreviate(own, 3)}; set model.name and model.kwargs to "
            f"those of the file"
        )
    return WeightMatch(
        path=file.path,
        fitting=fitting,
        tensors=len(own),
        reshaped=tuple(key for key in own if key in converted and key not in fitting),
        missing=tuple(key for key in own if key not in converted and not key.endswith("num_batches_tracked")),
        unused=tuple(sorted(key for key in converted if key not in own)),
        has_backbone=sizes.keys() <= fitting.keys(),
    )


def _fits(value: torch.Tensor, own: torch.Tensor) -> bool:
    return value.shape == own.shape and value.is_floating_point() == own.is_floating_point()


def load_matched(model: nn.Module, match: WeightMatch) -> None:
    """Load the fitting tensors into `model`; the others keep their values."""
    model.load_state_dict(match.fitting, strict=False)


def _convert_keys(name: str, model: nn.Module, file: WeightFile) -> dict[str, torch.Tensor]:
    """Return the tensors under the names that timm's converter for this family of models gives them, resized by it."""
    convert = _find_converter(name)
    if convert is None:
        return file.state_dict
    try:
        state_dict = dict(file.state_dict)
        takes_model = "model" in inspect.signature(convert).parameters
        converted = convert(state_dict, model) if takes_model else convert(state_dict)
    except Exception as error:  # it expects the keys of its family
        raise UserError(
            f"model.weights: timm cannot convert {file.path} for {name} ({type(error).__name__}: {shorten(error)}); "
            f"set model.name and model.kwargs to those of the file"
        ) from None
    return {key: value for key, value in converted.items() if isinstance(value, torch.Tensor)}


def _find_converter(name: str) -> Callable[..., dict[str, Any]] | None:
    """Return timm's function that converts published files for the family of a model; None if there is none."""
    register_models()
    family = sys.modules[model_entrypoint(name.partition(".")[0]).__module__]
    return next((getattr(family, function) for function in CONVERTERS if hasattr(family, function)), None)


def _abbreviate(names: Iterable[str], limit: int = MAX_NAMED) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
