"""Models by name, ours and timm's alike, with errors in the words of the config."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from functools import lru_cache
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

import comp
from comp.errors import UserError, did_you_mean
from comp.zoo.init import initialise
from comp.zoo.registry import takes_img_size


@lru_cache
def register_models() -> None:
    """Import every module of the model packages, so that timm knows the kit's models by name."""
    for package in map(importlib.import_module, comp.MODEL_PACKAGES):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def build_model(
    name: str,
    classes: int,
    *,
    size: int | None = None,
    pretrained: bool = False,
    dropout: float | None = None,
    drop_path: float | None = None,
    init: str = "own",
    kwargs: dict[str, Any] | None = None,
) -> nn.Module:
    """What is None is the model's own default. A model that ends in dense layers is told the size of its images."""
    register_models()
    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise UserError(f"model.name: neither the kit nor timm has {name}{did_you_mean(base, timm.list_models())}")
    given = {
        "drop_rate": dropout,
        "drop_path_rate": drop_path,
        "img_size": size if takes_img_size(base) else None,
        **(kwargs or {}),
    }
    given = {key: value for key, value in given.items() if value is not None}
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # a dozen lines of retries; ours is one
    try:
        # channels last: the layout that CPU kernels and tensor cores are fast in
        model = timm.create_model(name, num_classes=classes, pretrained=pretrained, **given).to(
            memory_format=torch.channels_last
        )
    except TypeError as problem:
        raise UserError(
            f"model {name}: {_plain(problem)}; check model.kwargs, and set model.dropout=null or "
            f"model.drop_path=null where it has none"
        ) from None
    except Exception as problem:
        if not pretrained:
            raise UserError(f"model {name} cannot be built: {problem}") from None
        raise UserError(
            f"model.pretrained: cannot load weights for {name} ({type(problem).__name__}: no cached copy "
            f"and no way to the hub); set model.pretrained=false to train from scratch"
        ) from None
    initialise(model, init)
    return model


def normalisation(model: nn.Module) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel: the pretrained weights' own where there are any, else ImageNet's."""
    about = resolve_model_data_config(model)
    return list(about["mean"]), list(about["std"])


def _plain(problem: TypeError) -> str:
    return str(problem).replace("got an unexpected keyword argument", "does not take").partition("()")[
        2
    ].strip() or str(problem)
