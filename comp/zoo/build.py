"""Models by name, ours and timm's alike, with errors that name the config key."""

from __future__ import annotations

import logging
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from comp.errors import UserError, did_you_mean
from comp.zoo.init import initialise
from comp.zoo.registry import register_models, takes_img_size


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
    """Build the model `name` with an output per class; an argument that is None keeps the model's own default.

    `size` is the side of the images in pixels. It is passed on to models that end in dense layers; the others take
    any size.
    """
    register_models()
    base_name = name.partition(".")[0]
    if not timm.is_model(base_name):
        hint = did_you_mean(base_name, timm.list_models())
        raise UserError(f"model.name: neither the kit nor timm has {name}{hint}")
    options = {
        "drop_rate": dropout,
        "drop_path_rate": drop_path,
        "img_size": size if takes_img_size(base_name) else None,
        **(kwargs or {}),
    }
    options = {key: value for key, value in options.items() if value is not None}
    model = _create_model(name, classes, pretrained, options)
    initialise(model, init)
    return model


def _create_model(name: str, classes: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    logging.getLogger("huggingface_hub").setLevel(
        logging.CRITICAL
    )  # it logs a dozen lines of retries; the UserError is one line
    try:
        model = timm.create_model(name, num_classes=classes, pretrained=pretrained, **options)
    except TypeError as error:
        raise UserError(
            f"model {name}: {_format_type_error(error)}; check model.kwargs, and set model.dropout=null or "
            f"model.drop_path=null for a model without it"
        ) from None
    except Exception as error:
        if not pretrained:
            raise UserError(f"model {name} cannot be built: {error}") from None
        raise UserError(
            f"model.pretrained: cannot load weights for {name} ({type(error).__name__}: no cached copy and no access "
            f"to the hub); set model.pretrained=false to train from scratch"
        ) from None
    # channels last: the layout in which CPU kernels and tensor cores are fast
    return model.to(memory_format=torch.channels_last)


def normalisation(model: nn.Module) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel: the pretrained weights' own, or else ImageNet's."""
    data_config = resolve_model_data_config(model)
    return list(data_config["mean"]), list(data_config["std"])


def _format_type_error(error: TypeError) -> str:
    """Return the message without the builder's name: `does not take 'sse'`."""
    message = str(error).replace("got an unexpected keyword argument", "does not take")
    return message.partition("()")[2].strip() or str(error)
