"""DeepEfficientNet, the kit's main model: inverted bottlenecks with squeeze-and-excitation on the expanded channels.

From the paper of Sharif and others, at 224 px and normalised as ImageNet. The paper's text lists four stages and does
not reach its own count of 1,840,228 parameters; the five stages below do. Stage 5 keeps the feature map of
14 x 14, as EfficientNet-B0 does; its stride does not change the count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from timm.layers import DropPath
from torch import nn

from comp.zoo.attention import SqueezeExcite
from comp.zoo.registry import IMAGENET, register_paper_model


class Stage(NamedTuple):
    """Blocks of one width; only the first of them has the stride."""

    width: int
    stride: int
    expansion: int
    blocks: int


STAGES = (Stage(16, 1, 1, 1), Stage(24, 2, 6, 2), Stage(40, 2, 6, 3), Stage(80, 2, 6, 4), Stage(112, 1, 6, 3))


def conv_bn(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution without bias and its BatchNorm."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


class MBConv(nn.Module):
    """Inverted bottleneck: expand, depthwise convolution, squeeze-and-excitation, project; residual if shapes allow."""

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
    """A stem, stages of inverted bottlenecks, an optional 1 x 1 convolution of `head` channels, and mean pooling."""

    def __init__(
        self,
        stages: Sequence[Stage] = STAGES,
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
        blocks: list[nn.Module] = []
        inputs = stem
        for stage in stages:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                # The paper's stochastic depth has one rate for all blocks; timm's grows with depth.
                blocks.append(MBConv(inputs, stage.width, stride, stage.expansion, se, drop_path_rate))
                inputs = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*conv_bn(inputs, head), nn.SiLU(inplace=True)) if head else nn.Identity()
        self.num_features = head or inputs
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature map."""
        return self.head(self.blocks(self.stem(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.forward_features(x).mean((2, 3))
        return self.fc(nn.functional.dropout(pooled, self.drop_rate, self.training))

    def get_classifier(self) -> nn.Linear:
        """Return the last layer, as timm's models do."""
        return self.fc

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Return the regular expressions by which timm groups parameters by depth, for layer-wise decay."""
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)", "head": [(r"^head", (99998,)), (r"^fc", (99999,))]}


@register_paper_model(IMAGENET)
def sharif_deep_efficientnet(**kwargs: Any) -> DeepEfficientNet:
    """Return DeepEfficientNet: 1,840,228 parameters with 8 classes, 810,088 with se=False."""
    return DeepEfficientNet(STAGES, **kwargs)
