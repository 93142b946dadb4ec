"""Gupta's Inception network for BloodMNIST at 64 px. Pixels are divided by 255."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from comp.papers.models.layers import Classifier, Concat, Kernel, conv_bn_relu
from comp.zoo.registry import UNIT_RANGE, register_paper_model


class ConvStep(NamedTuple):
    """One convolution of a chain."""

    width: int
    kernel: Kernel
    stride: int = 1


def conv_chain(inputs: int, *steps: tuple[int, Kernel] | tuple[int, Kernel, int]) -> nn.Sequential:
    """Return convolutions one after the other; a step is a width, a kernel and, if it is not 1, a stride."""
    layers: list[nn.Module] = []
    for step in (ConvStep(*step) for step in steps):
        layers += conv_bn_relu(inputs, step.width, step.kernel, step.stride)
        inputs = step.width
    return nn.Sequential(*layers)


def avg_pool_branch(inputs: int, width: int) -> nn.Sequential:
    """Return a 3 x 3 mean of stride 1, which leaves the padding out as Keras does, and a 1 x 1 convolution."""
    return nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), *conv_bn_relu(inputs, width, 1))


def downsample_pool() -> nn.Module:
    """Return a 3 x 3 mean of stride 2, which leaves the padding out as Keras does."""
    return nn.AvgPool2d(3, 2, 1, count_include_pad=False)


def inception_a(inputs: int) -> Concat:
    """Return a block of 384 channels with 3 x 3 convolutions."""
    return Concat(
        [
            avg_pool_branch(inputs, 96),
            conv_chain(inputs, (96, 1)),
            conv_chain(inputs, (64, 1), (96, 3)),
            conv_chain(inputs, (64, 1), (96, 3), (96, 3)),
        ]
    )


def inception_b(inputs: int) -> Concat:
    """Return a block of 1,024 channels with 1 x 7 and 7 x 1 convolutions."""
    return Concat(
        [
            avg_pool_branch(inputs, 128),
            conv_chain(inputs, (384, 1)),
            conv_chain(inputs, (192, 1), (224, (1, 7)), (256, (7, 1))),
            conv_chain(inputs, (192, 1), (192, (1, 7)), (224, (7, 1)), (224, (1, 7)), (256, (7, 1))),
        ]
    )


def inception_c(inputs: int) -> Concat:
    """Return a block of 1,536 channels whose branches fork into 1 x 3 and 3 x 1 convolutions."""
    return Concat(
        [
            avg_pool_branch(inputs, 256),
            conv_chain(inputs, (256, 1)),
            nn.Sequential(
                conv_chain(inputs, (384, 1)), Concat([conv_chain(384, (256, (1, 3))), conv_chain(384, (256, (3, 1)))])
            ),
            nn.Sequential(
                conv_chain(inputs, (384, 1), (448, (1, 3)), (512, (3, 1))),
                Concat([conv_chain(512, (256, (3, 1))), conv_chain(512, (256, (1, 3)))]),
            ),
        ]
    )


@register_paper_model(UNIT_RANGE)
def gupta_inception(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 64, drop_rate: float = 0.2
) -> Classifier:
    """Return Gupta's Inception network: 15,561,608 parameters.

    786,440 of them are due to flattening the last feature map instead of averaging it.
    """
    features: list[nn.Module] = [
        conv_chain(in_chans, (32, 3), (64, 3, 2), (96, 3)),
        inception_a(96),
        inception_a(384),
        Concat([downsample_pool(), conv_chain(384, (96, 3, 2)), conv_chain(384, (64, 1), (96, 3, 2))]),
        inception_b(576),
        inception_b(1024),
        inception_b(1024),
        Concat(
            [
                downsample_pool(),
                conv_chain(1024, (128, 1), (192, 3, 2)),
                conv_chain(1024, (128, 1), (128, (1, 7)), (128, (7, 1)), (192, 3, 2)),
            ]
        ),
        inception_c(1408),
    ]
    width = 1536 * (-(-img_size // 8)) ** 2  # `same` convolutions round a size up, poolings round it down
    return Classifier(features, [nn.Flatten(), nn.Dropout(drop_rate)], width, num_classes)
