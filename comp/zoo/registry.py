"""Register our models with timm, so that every program finds them in timm's registry."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import model_entrypoint, register_model
from torch import nn

import comp

ModelBuilder = Callable[..., nn.Module]
Normalisation = dict[str, tuple[float, ...]]  # `mean` and `std` per channel, for pixels from 0 to 1
IMAGENET: Normalisation = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
UNIT_RANGE: Normalisation = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # pixels / 255 and nothing else


@functools.cache
def register_models() -> None:
    """Import every module of the model packages (`comp.MODEL_PACKAGES`), so that timm knows our models by name."""
    for package in map(importlib.import_module, comp.MODEL_PACKAGES):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def takes_img_size(name: str) -> bool:
    """Return whether the builder of a model, ours or timm's, has the argument `img_size`."""
    register_models()
    return "img_size" in inspect.signature(model_entrypoint(name)).parameters


def register_paper_model(normalisation: Normalisation) -> Callable[[ModelBuilder], ModelBuilder]:
    """Return a decorator that registers a builder with timm under its own name.

    The builder's signature stays visible, so that `takes_img_size` can read it. The model carries the paper's
    normalisation in `pretrained_cfg`, where timm keeps that of a weight file.
    """

    def register(build: ModelBuilder) -> ModelBuilder:
        @functools.wraps(build)
        def entrypoint(
            pretrained: bool = False,
            pretrained_cfg: object = None,
            pretrained_cfg_overlay: dict[str, Any] | None = None,
            cache_dir: object = None,
            **kwargs: Any,
        ) -> nn.Module:
            """Build the model; the arguments of weight files have no use here, as there are none."""
            if pretrained:
                raise RuntimeError("no pretrained weights exist for this architecture")
            model = build(**kwargs)
            model.pretrained_cfg = {**normalisation, **(pretrained_cfg_overlay or {})}  # type: ignore[assignment]  # a plain attribute, as timm's own
            return model

        return register_model(entrypoint)

    return register
