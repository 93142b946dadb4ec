"""How a model of a paper gets into timm's registry, and what it says of the pixels it wants."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import model_entrypoint, register_model
from torch import nn

ModelBuilder = Callable[..., nn.Module]
IMAGENET = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
UNIT_RANGE = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # pixels / 255 and nothing else


def takes_img_size(name: str) -> bool:
    """Whether a model, ours or timm's, must be told the size of its images: where dense layers follow the last map."""
    return "img_size" in inspect.signature(model_entrypoint(name)).parameters


def register_paper_model(pixels: dict[str, tuple[float, ...]]) -> Callable[[ModelBuilder], ModelBuilder]:
    """Register a builder under its own name; its signature stays visible, so that others see whether it takes a size.

    The model carries the paper's normalisation where timm looks for a weight file's: in `pretrained_cfg`.
    """

    def register(build: ModelBuilder) -> ModelBuilder:
        @functools.wraps(build)
        def entry(pretrained: bool = False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
            """The last three of timm's own arguments are about weight files, and there are none."""
            if pretrained:
                raise RuntimeError("no pretrained weights exist for this architecture")
            model = build(**kwargs)
            model.pretrained_cfg = dict(pixels)
            return model

        return register_model(entry)

    return register
