"""Gupta and van Es Ostos: networks for BloodMNIST at 64 px, with and without attention. Pixels are divided by 255.

Convolution, BatchNorm, ReLU, in this order and with bias. The paper counts running statistics as parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from comp.zoo.attention import make_attention
from comp.zoo.layers import Classifier, Concat, Kernel, Residual, SamePadMaxPool, conv, conv_bn_relu, feature_map_side
from comp.zoo.registry import UNIT_RANGE, register_paper_model

WIDTHS = (32, 64, 128, 256, 512, 512)


def plain_net(
    repeats: Sequence[int],
    img_size: int,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    bn: bool = True,
    pool_stride: int = 2,
    final_pool: bool = True,
    dense: Sequence[int] = (),
    drop_rate: float = 0.2,
    attention: str | None = None,
    se_mode: str = "separate",
) -> Classifier:
    """So many convolutions at each of WIDTHS, each group pooled and attended to, then dense layers.

    Dropout follows every hidden dense layer, or the flattened map where there is none.
    """
    if not 1 <= len(repeats) <= len(WIDTHS) or pool_stride not in (1, 2):
        raise ValueError(
            f"from 1 to {len(WIDTHS)} groups of layers with pool_stride 1 or 2, not {len(repeats)} with {pool_stride}"
        )
    features: list[nn.Module] = []
    inputs = in_chans
    for group, (width, repeat) in enumerate(zip(WIDTHS, repeats, strict=False), 1):
        for _ in range(repeat):
            features += conv_bn_relu(inputs, width) if bn else [conv(inputs, width), nn.ReLU(inplace=True)]
            inputs = width
        if final_pool or group < len(repeats):
            features.append(SamePadMaxPool() if pool_stride == 1 else nn.MaxPool2d(2))
        features.append(make_attention(attention, width, se_mode))
    halvings = 0 if pool_stride == 1 else len(repeats) - (not final_pool)
    inputs *= feature_map_side(img_size, halvings) ** 2
    neck: list[nn.Module] = [nn.Flatten()]
    for width in dense:
        neck += [nn.Linear(inputs, width), nn.ReLU(inplace=True), nn.Dropout(drop_rate)]
        inputs = width
    return Classifier(features, neck if dense else [*neck, nn.Dropout(drop_rate)], inputs, num_classes)


@register_paper_model(UNIT_RANGE)
def gupta_cnn(
    img_size: int = 64,
    layers: int = 4,
    final_pool: bool = True,
    bn: bool = True,
    dense: int = 0,
    pool_stride: int = 1,
    drop_rate: float = 0.0,
    **kwargs,
) -> Classifier:
    """8,777,992 parameters: experiment 5 of 13; comp/papers/model_sizes.py has the arguments of the others.

    The paper draws pools that halve the map (422,152 parameters); only a stride of 1 gives its 8.78 million.
    """
    return plain_net(
        (1,) * layers,
        img_size,
        final_pool=final_pool,
        bn=bn,
        dense=(dense,) if dense else (),
        pool_stride=pool_stride,
        drop_rate=drop_rate,
        **kwargs,
    )


@register_paper_model(UNIT_RANGE)
def gupta_se_cnn(img_size: int = 64, **kwargs) -> Classifier:
    """465,672 parameters, in each mode of excitation; the paper's 0.46 million is cut off, not rounded."""
    return plain_net((1, 1, 1, 1), img_size, attention="se", **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_sa_cnn(img_size: int = 64, **kwargs) -> Classifier:
    """422,544 parameters."""
    return plain_net((1, 1, 1, 1), img_size, attention="sa", **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_cbam_cnn(img_size: int = 64, **kwargs) -> Classifier:
    """466,064 parameters."""
    return plain_net((1, 1, 1, 1), img_size, attention="cbam", **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_vgg8_convs(img_size: int = 64, drop_rate: float = 0.0, **kwargs) -> Classifier:
    """1,206,952 parameters: the "VGG" of the paper's table 3."""
    return plain_net((2, 2, 2, 2), img_size, drop_rate=drop_rate, **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_vgg8(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs) -> Classifier:
    """4,616,104 parameters; 353,448 with dense=[], as the paper's text can be read for all four of these."""
    return plain_net((2, 2, 2), img_size, dense=dense, **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_vgg12(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs) -> Classifier:
    """3,995,816 parameters; 1,797,544 with dense=[]."""
    return plain_net((2, 2, 2, 3), img_size, dense=dense, **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_vgg15(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs) -> Classifier:
    """8,850,088 parameters; 7,684,008 with dense=[]."""
    return plain_net((2, 2, 2, 3, 3), img_size, dense=dense, **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_vgg18(img_size: int = 64, dense: Sequence[int] = (512, 256), **kwargs) -> Classifier:
    """15,146,152 parameters; 14,754,216 with dense=[]. Six poolings: no less than 64 px."""
    return plain_net((2, 2, 2, 3, 3, 3), img_size, dense=dense, **kwargs)


ATTENDED_VGG15 = (2, 2, 2, 2, 3)  # the paper draws two in the last group, which has 4.91 million and not 7.27


@register_paper_model(UNIT_RANGE)
def gupta_se_vgg15(img_size: int = 64, **kwargs) -> Classifier:
    """7,268,008 parameters."""
    return plain_net(ATTENDED_VGG15, img_size, attention="se", **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_sa_vgg15(img_size: int = 64, **kwargs) -> Classifier:
    """7,093,906 parameters."""
    return plain_net(ATTENDED_VGG15, img_size, attention="sa", **kwargs)


@register_paper_model(UNIT_RANGE)
def gupta_cbam_vgg15(img_size: int = 64, **kwargs) -> Classifier:
    """7,268,498 parameters."""
    return plain_net(ATTENDED_VGG15, img_size, attention="cbam", **kwargs)


def chain(inputs: int, *steps: tuple[int, Kernel] | tuple[int, Kernel, int]) -> nn.Sequential:
    """Convolutions one after the other; a step is a width, a kernel and, where it is not 1, a stride."""
    layers: list[nn.Module] = []
    for width, *shape in steps:
        layers += conv_bn_relu(inputs, width, *shape)
        inputs = width
    return nn.Sequential(*layers)


def avg_pool_branch(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), *conv_bn_relu(inputs, width, 1))


def downsample_pool() -> nn.Module:
    return nn.AvgPool2d(3, 2, 1, count_include_pad=False)


def inception_a(inputs: int) -> Concat:
    return Concat(
        [
            avg_pool_branch(inputs, 96),
            chain(inputs, (96, 1)),
            chain(inputs, (64, 1), (96, 3)),
            chain(inputs, (64, 1), (96, 3), (96, 3)),
        ]
    )


def inception_b(inputs: int) -> Concat:
    return Concat(
        [
            avg_pool_branch(inputs, 128),
            chain(inputs, (384, 1)),
            chain(inputs, (192, 1), (224, (1, 7)), (256, (7, 1))),
            chain(inputs, (192, 1), (192, (1, 7)), (224, (7, 1)), (224, (1, 7)), (256, (7, 1))),
        ]
    )


def inception_c(inputs: int) -> Concat:
    return Concat(
        [
            avg_pool_branch(inputs, 256),
            chain(inputs, (256, 1)),
            nn.Sequential(chain(inputs, (384, 1)), Concat([chain(384, (256, (1, 3))), chain(384, (256, (3, 1)))])),
            nn.Sequential(
                chain(inputs, (384, 1), (448, (1, 3)), (512, (3, 1))),
                Concat([chain(512, (256, (3, 1))), chain(512, (256, (1, 3)))]),
            ),
        ]
    )


@register_paper_model(UNIT_RANGE)
def gupta_inception(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 64, drop_rate: float = 0.2
) -> Classifier:
    """15,561,608 parameters, 786,440 of them because the last map is flattened and not averaged."""
    features = [
        chain(in_chans, (32, 3), (64, 3, 2), (96, 3)),
        inception_a(96),
        inception_a(384),
        Concat([downsample_pool(), chain(384, (96, 3, 2)), chain(384, (64, 1), (96, 3, 2))]),
        inception_b(576),
        inception_b(1024),
        inception_b(1024),
        Concat(
            [
                downsample_pool(),
                chain(1024, (128, 1), (192, 3, 2)),
                chain(1024, (128, 1), (128, (1, 7)), (128, (7, 1)), (192, 3, 2)),
            ]
        ),
        inception_c(1408),
    ]
    width = 1536 * (-(-img_size // 8)) ** 2  # `same` convolutions round up where poolings round down
    return Classifier(features, [nn.Flatten(), nn.Dropout(drop_rate)], width, num_classes)


def residual(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
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
    """21,297,288 parameters: ResNet-34 with a bias in every convolution. At 64 px its last map is 2 x 2."""
    features = [*conv_bn_relu(in_chans, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            features += residual(inputs, width, 2 if block == 0 and width > 64 else 1)
            inputs = width
    return Classifier(features, [nn.AdaptiveAvgPool2d(1), nn.Flatten()], inputs, num_classes)
