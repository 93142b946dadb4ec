"""Karakus: five small networks for BloodMNIST, trained from scratch at 128 px. Pixels are divided by 255.

The activation comes before the BatchNorm. The paper's text gives neither the branch widths nor the baseline's dropout
rates within blocks; the widths here reproduce its parameter and memory columns, which count running statistics too:
4,289,608 numbers are its 16.36 MB.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from comp.papers.models.layers import Classifier, Concat, Residual, conv, conv_relu_bn, feature_map_side
from comp.zoo.registry import UNIT_RANGE, register_paper_model


def dense_head(inputs: int, width: int, drop_rate: float) -> list[nn.Module]:
    """Return a hidden dense layer of `width` units with dropout, for a flattened feature map."""
    return [nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(inplace=True), nn.Dropout(drop_rate)]


def three_blocks(
    dropouts: Sequence[float], dense: int, drop_rate: float, num_classes: int, in_chans: int, img_size: int
) -> Classifier:
    """Build three blocks of convolution, pooling and dropout, and a hidden layer of `dense` units."""
    features: list[nn.Module] = []
    inputs = in_chans
    for width, dropout in zip((32, 64, 128), dropouts, strict=True):
        features += [*conv_relu_bn(inputs, width), nn.MaxPool2d(2), nn.Dropout(dropout)]
        inputs = width
    return Classifier(
        features, dense_head(inputs * feature_map_side(img_size, 3) ** 2, dense, drop_rate), dense, num_classes
    )


@register_paper_model(UNIT_RANGE)
def karakus_baseline_cnn(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 128, drop_rate: float = 0.5
) -> Classifier:
    """Return the baseline: 4,289,160 parameters at 128 px and 1,143,432 at 64 px.

    For 64 px the paper prints the 4.29 million of 128 px.
    """
    return three_blocks((0.25, 0.25, 0.3), 128, drop_rate, num_classes, in_chans, img_size)


@register_paper_model(UNIT_RANGE)
def karakus_unet_encoder(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 128, drop_rate: float = 0.3
) -> Classifier:
    """Return the contracting half of a U-Net, with one convolution per level: 2,191,432 parameters."""
    return three_blocks((0.1, 0.15, 0.2), 64, drop_rate, num_classes, in_chans, img_size)


def inception(inputs: int, conv1: int, conv3: tuple[int, int], conv5: tuple[int, int], pool: int) -> Concat:
    """Return four parallel branches (1 x 1, 3 x 3, 5 x 5, pooling), given their widths.

    The 3 x 3 and 5 x 5 branches begin with a 1 x 1 reduction; only the last convolution of a branch is normalised.
    """
    return Concat(
        [
            nn.Sequential(*conv_relu_bn(inputs, conv1, 1)),
            nn.Sequential(conv(inputs, conv3[0], 1), nn.ReLU(inplace=True), *conv_relu_bn(*conv3, 3)),
            nn.Sequential(conv(inputs, conv5[0], 1), nn.ReLU(inplace=True), *conv_relu_bn(*conv5, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv_relu_bn(inputs, pool, 1)),
        ]
    )


def pooled_head(inputs: int, drop_rate: float) -> list[nn.Module]:
    """Return global mean pooling and a hidden dense layer of 64 units with dropout."""
    return [nn.AdaptiveAvgPool2d(1), *dense_head(inputs, 64, drop_rate)]


@register_paper_model(UNIT_RANGE)
def karakus_inception_cnn(num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.3) -> Classifier:
    """Return the Inception network: 36,828 parameters."""
    features: list[nn.Module] = [
        conv(in_chans, 32),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        inception(32, 16, (16, 24), (4, 8), 8),
        nn.MaxPool2d(2),
        inception(56, 32, (32, 48), (8, 16), 16),
        nn.MaxPool2d(2),
    ]
    return Classifier(features, pooled_head(112, drop_rate), 64, num_classes)


@register_paper_model(UNIT_RANGE)
def karakus_inception_skip_cnn(num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.3) -> Classifier:
    """Return the Inception network with a normalised stem and a projected shortcut per block: 45,124 parameters."""
    features: list[nn.Module] = [
        *conv_relu_bn(in_chans, 32),
        nn.MaxPool2d(2),
        Residual([inception(32, 16, (16, 24), (4, 8), 8), conv(32, 56, 1)]),
        nn.MaxPool2d(2),
        Residual([inception(56, 32, (32, 48), (8, 16), 16), conv(56, 112, 1)]),
        nn.MaxPool2d(2),
    ]
    return Classifier(features, pooled_head(112, drop_rate), 64, num_classes)


def double_conv(inputs: int, width: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions, each with ReLU and BatchNorm."""
    return nn.Sequential(*conv_relu_bn(inputs, width), *conv_relu_bn(width, width))


@register_paper_model(UNIT_RANGE)
def karakus_skip_cnn(num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.3) -> Classifier:
    """Return the skip CNN: 307,112 parameters.

    Shortcuts go around the second and third block, as in the paper; its slides have three.
    """
    features: list[nn.Module] = [
        double_conv(in_chans, 32),
        nn.MaxPool2d(2),
        Residual([double_conv(32, 64), conv(32, 64, 1)]),
        nn.MaxPool2d(2),
        Residual([double_conv(64, 128), conv(64, 128, 1)]),
    ]
    return Classifier(features, pooled_head(128, drop_rate), 64, num_classes)
