"""Models by name, ours and timm's alike, with errors in the words of the config."""

from __future__ import annotations

import logging
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

import comp.zoo  # noqa: F401  registers our families
from comp.errors import UserError, nearest
from comp.zoo.entry import takes_size
from comp.zoo.init import initialise


def build_model(name: str, classes: int, *, size: int | None = None, pretrained: bool = False,
                dropout: float | None = None, drop_path: float | None = None, init: str = "own",
                kwargs: dict[str, Any] | None = None) -> nn.Module:
    """What is None is the model's own default. A model that ends in dense layers is told the size of its images."""
    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise UserError(f"model.name: neither the kit nor timm has {name}{nearest(base, timm.list_models())}")
    given = {"drop_rate": dropout, "drop_path_rate": drop_path, "img_size": size if takes_size(base) else None,
             **(kwargs or {})}
    given = {key: value for key, value in given.items() if value is not None}
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # a dozen lines of retries; ours is one
    try:
        # channels last: the layout that CPU kernels and tensor cores are fast in
        model = timm.create_model(name, num_classes=classes, pretrained=pretrained, **given).to(
            memory_format=torch.channels_last)
    except TypeError as problem:
        raise UserError(f"model {name}: {_plain(problem)}; check model.kwargs, and set model.dropout=null or "
                        f"model.drop_path=null where it has none") from None
    except Exception as problem:
        if not pretrained:
            raise UserError(f"model {name} cannot be built: {problem}") from None
        raise UserError(f"model.pretrained: cannot load weights for {name} ({type(problem).__name__}: no cached copy "
                        f"and no way to the hub); set model.pretrained=false to train from scratch") from None
    initialise(model, init)
    return model


def normalisation(model: nn.Module) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel: the pretrained weights' own where there are any, else ImageNet's."""
    about = resolve_model_data_config(model)
    return list(about["mean"]), list(about["std"])


def _plain(problem: TypeError) -> str:
    return str(problem).replace("got an unexpected keyword argument", "does not take").partition("()")[2].strip() \
        or str(problem)
