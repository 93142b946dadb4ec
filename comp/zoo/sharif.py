"""Sharif: DeepEfficientNet, mobile inverted bottlenecks with squeeze-and-excitation on the expanded channels, and the
baselines it is held against (the third, ResNet-18, is timm's own). All at 224 px, normalised as ImageNet.

The paper's text lists four stages and does not reach its own count of 1,840,228 parameters; these five stages do
(see the table below). Stage 5 keeps the 14 x 14 map, as EfficientNet-B0 does: the count cannot tell.
"""

from __future__ import annotations

import torch
from timm.layers import DropPath
from torch import nn

from comp.zoo.attention import SqueezeExcite
from comp.zoo.layers import Classifier, conv, feature_map_side
from comp.zoo.registry import IMAGENET, register_paper_model

# width, stride of the first block, expansion, blocks
DEEP_STAGES = ((16, 1, 1, 1), (24, 2, 6, 2), (40, 2, 6, 3), (80, 2, 6, 4), (112, 1, 6, 3))
LITE_STAGES = ((16, 1, 1, 1), (24, 2, 6, 2), (40, 2, 6, 2), (80, 2, 6, 3), (112, 1, 6, 2))
TEXT_STAGES = ((16, 1, 1, 1), (24, 2, 6, 2), (40, 2, 6, 2), (80, 2, 6, 3))


def conv_bn(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


class MBConv(nn.Module):
    """Expand, filter each channel, excite, project; the input is added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, se: bool, drop_path: float):
        super().__init__()
        width = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*conv_bn(inputs, width), nn.SiLU(inplace=True)]
        layers += [*conv_bn(width, width, 3, stride, groups=width), nn.SiLU(inplace=True)]
        if se:
            layers += [SqueezeExcite(width)]
        self.body = nn.Sequential(*layers, *conv_bn(width, outputs))
        self.residual = stride == 1 and inputs == outputs
        self.drop_path = DropPath(drop_path) if self.residual else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(self.body(x)) if self.residual else self.body(x)


class DeepEfficientNet(nn.Module):
    def __init__(
        self,
        stages=DEEP_STAGES,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        se: bool = True,
        stem: int = 32,
        head: int | None = 320,
        drop_rate: float = 0.3,
        drop_path_rate: float = 0.2,
    ):
        super().__init__()
        self.num_classes, self.drop_rate = num_classes, drop_rate
        self.stem = nn.Sequential(*conv_bn(in_chans, stem, 3, 2), nn.SiLU(inplace=True))
        blocks, width = [], stem
        for outputs, stride, expansion, repeats in stages:
            for index in range(repeats):
                # the paper's stochastic depth is one rate for all blocks, not rising with depth as in timm
                blocks.append(MBConv(width, outputs, stride if index == 0 else 1, expansion, se, drop_path_rate))
                width = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*conv_bn(width, head), nn.SiLU(inplace=True)) if head else nn.Identity()
        self.num_features = head or width
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.forward_features(x).mean((2, 3))
        return self.fc(nn.functional.dropout(pooled, self.drop_rate, self.training))

    def get_classifier(self) -> nn.Module:
        return self.fc

    def group_matcher(self, coarse: bool = False) -> dict:
        """Depth of every parameter, for timm's layer-wise decay."""
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)", "head": [(r"^head", (99998,)), (r"^fc", (99999,))]}


@register_paper_model(IMAGENET)
def sharif_deep_efficientnet(**kwargs) -> DeepEfficientNet:
    """1,840,228 parameters with 8 classes; 810,088 with se=False."""
    return DeepEfficientNet(DEEP_STAGES, **kwargs)


@register_paper_model(IMAGENET)
def sharif_deep_efficientnet_text(**kwargs) -> DeepEfficientNet:
    """564,664 parameters: the four stages that the text describes, and no convolution after them."""
    return DeepEfficientNet(TEXT_STAGES, head=None, **kwargs)


@register_paper_model(IMAGENET)
def sharif_efficientnet_lite(drop_path_rate: float = 0.0, **kwargs) -> DeepEfficientNet:
    """545,000 parameters: fewer blocks and no excitation. Stochastic depth is what the paper adds to the deep one."""
    return DeepEfficientNet(LITE_STAGES, se=False, drop_path_rate=drop_path_rate, **kwargs)


@register_paper_model(IMAGENET)
def sharif_simple_cnn(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 224, drop_rate: float = 0.5
) -> Classifier:
    """26,084,104 parameters: the paper's count asks for half the widths of its text and for one dense layer.

    The dropout is a choice: the paper names none, and no count can tell.
    """
    features: list[nn.Module] = []
    inputs = in_chans
    for width in (32, 64, 128, 256):
        features += [conv(inputs, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inputs = width
    neck = [
        nn.Flatten(),
        nn.Linear(inputs * feature_map_side(img_size, 4) ** 2, 512),
        nn.ReLU(inplace=True),
        nn.Dropout(drop_rate),
    ]
    return Classifier(features, neck, 512, num_classes)
