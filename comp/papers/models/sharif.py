"""Sharif: the models that DeepEfficientNet is compared with, and DeepEfficientNet as the paper's text describes it.

DeepEfficientNet itself is the kit's main model (comp/zoo/deep_efficientnet.py), and the third baseline, ResNet-18, is
timm's own. All at 224 px, normalised as ImageNet.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from comp.papers.models.layers import Classifier, conv, feature_map_side
from comp.zoo.deep_efficientnet import DeepEfficientNet, Stage
from comp.zoo.registry import IMAGENET, register_paper_model

LITE_STAGES = (Stage(16, 1, 1, 1), Stage(24, 2, 6, 2), Stage(40, 2, 6, 2), Stage(80, 2, 6, 3), Stage(112, 1, 6, 2))
TEXT_STAGES = (Stage(16, 1, 1, 1), Stage(24, 2, 6, 2), Stage(40, 2, 6, 2), Stage(80, 2, 6, 3))


@register_paper_model(IMAGENET)
def sharif_deep_efficientnet_text(**kwargs: Any) -> DeepEfficientNet:
    """Return the four stages that the text describes, without a convolution after them: 564,664 parameters."""
    return DeepEfficientNet(TEXT_STAGES, head=None, **kwargs)


@register_paper_model(IMAGENET)
def sharif_efficientnet_lite(drop_path_rate: float = 0.0, **kwargs: Any) -> DeepEfficientNet:
    """Return EfficientNet-Lite: 545,000 parameters.

    It has fewer blocks, no squeeze-and-excitation, and no stochastic depth unless requested.
    """
    return DeepEfficientNet(LITE_STAGES, se=False, drop_path_rate=drop_path_rate, **kwargs)


@register_paper_model(IMAGENET)
def sharif_simple_cnn(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 224, drop_rate: float = 0.5
) -> Classifier:
    """Return the simple CNN: 26,084,104 parameters.

    The paper's count fits half the widths of its text and one dense layer.

    The dropout rate is our choice: the paper gives none, and it does not change the count.
    """
    features: list[nn.Module] = []
    inputs = in_chans
    for width in (32, 64, 128, 256):
        features += [conv(inputs, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inputs = width
    neck: list[nn.Module] = [
        nn.Flatten(),
        nn.Linear(inputs * feature_map_side(img_size, 4) ** 2, 512),
        nn.ReLU(inplace=True),
        nn.Dropout(drop_rate),
    ]
    return Classifier(features, neck, 512, num_classes)
