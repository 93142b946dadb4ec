"""The size of a model: parameters, running statistics, and multiply-adds per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from comp.zoo.registry import takes_img_size

CLASSES = 8  # the number of classes in every dataset of the papers
BUILD_ERRORS = (KeyError, RuntimeError, ValueError, TypeError)  # what building a model from a config may raise


@dataclass(frozen=True)
class ModelSize:
    """The numbers of parameters, running statistics and multiply-adds of a model."""

    trainable: int
    frozen: int
    statistics: int  # running means and variances
    macs: int  # multiply-adds of convolutions and dense layers for one image

    @property
    def total(self) -> int:
        """All numbers of the model, which Keras calls total parameters: it counts running statistics as parameters."""
        return self.trainable + self.frozen + self.statistics

    @property
    def weights_mib(self) -> float:
        """All numbers of the model in 32 bits, in MiB."""
        return self.total * 4 / 2**20


def build_on_meta(name: str, kwargs: Mapping[str, Any], image_size: int) -> nn.Module:
    """Build a model on the meta device, without memory for its weights: 1 GiB for Gupta's largest experiment."""
    if takes_img_size(name):
        kwargs = {"img_size": image_size, **kwargs}
    with torch.device("meta"):
        return timm.create_model(name, num_classes=CLASSES, **kwargs)


@torch.no_grad()
def count_model_size(name: str, kwargs: Mapping[str, Any], image_size: int) -> ModelSize:
    """Count the parameters and multiply-adds of a model with 8 classes, for square images of `image_size` pixels."""
    model = build_on_meta(name, kwargs, image_size).eval()
    with FlopCounterMode(display=False) as flops:
        model(torch.zeros(1, 3, image_size, image_size, device="meta"))
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    statistics = sum(buffer.numel() for key, buffer in model.named_buffers() if ".running_" in key)
    return ModelSize(trainable, frozen, statistics, flops.get_total_flops() // 2)  # 2 FLOPs per multiply-add
