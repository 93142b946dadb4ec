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

CLASSES = 8  # of every dataset that the papers use
BUILD_ERRORS = (KeyError, RuntimeError, ValueError, TypeError)  # what building a model from a config may raise


@dataclass(frozen=True)
class ModelSize:
    """What a model contains and computes."""

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
    """Build a model on the meta device, without memory: the largest of Gupta's experiments would take 1 GiB."""
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
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    statistics = sum(buffer.numel() for name, buffer in model.named_buffers() if ".running_" in name)
    return ModelSize(counts[True], counts[False], statistics, flops.get_total_flops() // 2)
