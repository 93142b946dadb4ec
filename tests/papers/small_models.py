"""The models that the kit registers, and the smallest images that each can be tested with."""

from __future__ import annotations

import timm
import torch
from torch import nn

from comp.zoo.build import build_model
from comp.zoo.registry import register_models

register_models()
KIT_MODELS = [name for name in timm.list_models() if timm.models.model_entrypoint(name).__module__.startswith("comp.")]
MODELS_WITH_DENSE_LAYERS = {name for name in KIT_MODELS if name.partition("_")[0] in ("gupta", "pinto")} - {
    "gupta_resnet34"
} | {"sharif_simple_cnn", "karakus_baseline_cnn", "karakus_unet_encoder"}
MODELS_WITHOUT_DROPOUT = {"pinto_cnn", "pinto_mlnn", "gupta_resnet34"}
VGG15 = ("gupta_vgg15", "gupta_se_vgg15", "gupta_sa_vgg15", "gupta_cbam_vgg15")
SMALLEST_SIZES = {**dict.fromkeys(KIT_MODELS, 28), **dict.fromkeys(VGG15, 32), "gupta_vgg18": 64}


def build_small(name: str, **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, 8, size=SMALLEST_SIZES[name], kwargs=kwargs)
