"""Gupta's ResNet-34 for BloodMNIST at 64 px. Pixels are divided by 255."""

from __future__ import annotations

from torch import nn

from comp.papers.models.layers import Classifier, Residual, conv_bn_relu
from comp.zoo.registry import UNIT_RANGE, register_paper_model


def residual_block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """Return two 3 x 3 convolutions with a shortcut, which is projected where the width changes, and a ReLU."""
    body = nn.Sequential(
        *conv_bn_relu(inputs, outputs, 3, stride), *conv_bn_relu(outputs, outputs, activation=nn.Identity)
    )
    shortcut = (
        nn.Identity()
        if inputs == outputs
        else nn.Sequential(*conv_bn_relu(inputs, outputs, 1, stride, activation=nn.Identity))
    )
    return [Residual([body, shortcut]), nn.ReLU(inplace=True)]


@register_paper_model(UNIT_RANGE)
def gupta_resnet34(num_classes: int = 1000, in_chans: int = 3) -> Classifier:
    """Return ResNet-34 with a bias in every convolution: 21,297,288 parameters.

    At 64 px its last feature map is 2 x 2.
    """
    features: list[nn.Module] = [*conv_bn_relu(in_chans, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            features += residual_block(inputs, width, 2 if block == 0 and width > 64 else 1)
            inputs = width
    return Classifier(features, [nn.AdaptiveAvgPool2d(1), nn.Flatten()], inputs, num_classes)
