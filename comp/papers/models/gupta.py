"""Gupta and van Es Ostos: plain networks for BloodMNIST at 64 px, with and without attention.

Each layer is a convolution with bias, BatchNorm and ReLU, in this order. Pixels are divided by 255. The paper counts
running statistics as parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from comp.papers.models.attention import make_attention
from comp.papers.models.layers import Classifier, SamePadMaxPool, conv, conv_bn_relu, feature_map_side
from comp.zoo.registry import UNIT_RANGE, register_paper_model

WIDTHS = (32, 64, 128, 256, 512, 512)


@dataclass(frozen=True)
class PlainNetOptions:
    """The shape of a plain network: groups of convolutions of WIDTHS channels, a pooling after each, dense layers."""

    repeats: Sequence[int]  # convolutions per group
    img_size: int
    num_classes: int = 1000
    in_chans: int = 3
    bn: bool = True
    pool_stride: int = 2  # 1 keeps the size of the feature map
    final_pool: bool = True  # whether a pooling follows the last group
    dense: Sequence[int] = ()  # widths of the hidden dense layers
    drop_rate: float = 0.2  # after every hidden dense layer, or after the flattened map if there is none
    attention: str | None = None  # after each group: se, sa or cbam
    se_mode: str = "separate"

    def __post_init__(self) -> None:
        if not 1 <= len(self.repeats) <= len(WIDTHS):
            raise ValueError(f"{len(self.repeats)} groups of layers; use 1 to {len(WIDTHS)} groups")
        if self.pool_stride not in (1, 2):
            raise ValueError(f"pool_stride={self.pool_stride}; use pool_stride 1 or 2")

    @property
    def last_map_side(self) -> int:
        """The side of the last feature map in pixels."""
        poolings = len(self.repeats) - (not self.final_pool)
        return feature_map_side(self.img_size, 0 if self.pool_stride == 1 else poolings)


def plain_net(options: PlainNetOptions) -> Classifier:
    """Build a network of groups of convolutions, each pooled and followed by attention, and of dense layers."""
    features: list[nn.Module] = []
    inputs = options.in_chans
    for group, (width, repeat) in enumerate(zip(WIDTHS, options.repeats, strict=False), 1):
        for _ in range(repeat):
            features += conv_bn_relu(inputs, width) if options.bn else [conv(inputs, width), nn.ReLU(inplace=True)]
            inputs = width
        if options.final_pool or group < len(options.repeats):
            features.append(SamePadMaxPool() if options.pool_stride == 1 else nn.MaxPool2d(2))
        features.append(make_attention(options.attention, width, options.se_mode))
    inputs *= options.last_map_side**2
    neck: list[nn.Module] = [nn.Flatten()]
    for width in options.dense:
        neck += [nn.Linear(inputs, width), nn.ReLU(inplace=True), nn.Dropout(options.drop_rate)]
        inputs = width
    if not options.dense:
        neck.append(nn.Dropout(options.drop_rate))
    return Classifier(features, neck, inputs, options.num_classes)


@register_paper_model(UNIT_RANGE)
def gupta_cnn(
    img_size: int = 64,
    layers: int = 4,
    final_pool: bool = True,
    bn: bool = True,
    dense: int = 0,
    pool_stride: int = 1,
    drop_rate: float = 0.0,
    **kwargs: Any,
) -> Classifier:
    """Return experiment 5 of table 2 (8,777,992 parameters); model_table.py has the arguments of the other twelve.

    The paper draws poolings that halve the feature map (422,152 parameters); only a stride of 1 gives its 8.78 million.
    """
    return plain_net(
        PlainNetOptions(
            (1,) * layers,
            img_size,
            final_pool=final_pool,
            bn=bn,
            dense=(dense,) if dense else (),
            pool_stride=pool_stride,
            drop_rate=drop_rate,
            **kwargs,
        )
    )


@register_paper_model(UNIT_RANGE)
def gupta_se_cnn(img_size: int = 64, **kwargs: Any) -> Classifier:
    """Return the CNN with squeeze-and-excitation: 465,672 parameters with every `se_mode`.

    The paper's 0.46 million is truncated, not rounded.
    """
    return plain_net(PlainNetOptions((1, 1, 1, 1), img_size, attention="se", **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_sa_cnn(img_size: int = 64, **kwargs: Any) -> Classifier:
    """Return the CNN with spatial attention: 422,544 parameters."""
    return plain_net(PlainNetOptions((1, 1, 1, 1), img_size, attention="sa", **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_cbam_cnn(img_size: int = 64, **kwargs: Any) -> Classifier:
    """Return the CNN with CBAM: 466,064 parameters."""
    return plain_net(PlainNetOptions((1, 1, 1, 1), img_size, attention="cbam", **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_vgg8_convs(img_size: int = 64, drop_rate: float = 0.0, **kwargs: Any) -> Classifier:
    """Return the "VGG" of the paper's table 3: 1,206,952 parameters."""
    return plain_net(PlainNetOptions((2, 2, 2, 2), img_size, drop_rate=drop_rate, **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_vgg8(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs: Any) -> Classifier:
    """Return VGG-8: 4,616,104 parameters, 353,448 with dense=[].

    dense=[] is another reading of the paper's text, possible for all four VGGs.
    """
    return plain_net(PlainNetOptions((2, 2, 2), img_size, dense=dense, **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_vgg12(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs: Any) -> Classifier:
    """Return VGG-12: 3,995,816 parameters, 1,797,544 with dense=[]."""
    return plain_net(PlainNetOptions((2, 2, 2, 3), img_size, dense=dense, **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_vgg15(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs: Any) -> Classifier:
    """Return VGG-15: 8,850,088 parameters, 7,684,008 with dense=[]."""
    return plain_net(PlainNetOptions((2, 2, 2, 3, 3), img_size, dense=dense, **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_vgg18(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs: Any) -> Classifier:
    """Return VGG-18: 15,146,152 parameters, 14,754,216 with dense=[]. Its six poolings need images of 64 px or more."""
    return plain_net(PlainNetOptions((2, 2, 2, 3, 3, 3), img_size, dense=dense, **kwargs))


# The paper draws two convolutions in the last group, which would be 4.91 million parameters and not its 7.27 million.
ATTENTION_VGG15 = (2, 2, 2, 2, 3)


@register_paper_model(UNIT_RANGE)
def gupta_se_vgg15(img_size: int = 64, **kwargs: Any) -> Classifier:
    """Return VGG-15 with squeeze-and-excitation: 7,268,008 parameters."""
    return plain_net(PlainNetOptions(ATTENTION_VGG15, img_size, attention="se", **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_sa_vgg15(img_size: int = 64, **kwargs: Any) -> Classifier:
    """Return VGG-15 with spatial attention: 7,093,906 parameters."""
    return plain_net(PlainNetOptions(ATTENTION_VGG15, img_size, attention="sa", **kwargs))


@register_paper_model(UNIT_RANGE)
def gupta_cbam_vgg15(img_size: int = 64, **kwargs: Any) -> Classifier:
    """Return VGG-15 with CBAM: 7,268,498 parameters."""
    return plain_net(PlainNetOptions(ATTENTION_VGG15, img_size, attention="cbam", **kwargs))
