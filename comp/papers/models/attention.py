"""The attention modules of Gupta's networks: each scales a feature map by gates between 0 and 1 and keeps its shape."""

from __future__ import annotations

import torch
from torch import nn

from comp.zoo.attention import SqueezeExcite


class MeanMaxGate(nn.Module):
    """Scale each channel by a gate computed from the channel means plus one computed from the channel maxima.

    Each part goes through a bottleneck of `channels // ratio` channels; `shared` uses one bottleneck for both.
    """

    def __init__(self, channels: int, ratio: int, shared: bool):
        super().__init__()
        self.shared = shared
        self.of_mean = bottleneck(channels, ratio)
        if not shared:
            self.of_max = bottleneck(channels, ratio)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        of_max = self.of_mean if self.shared else self.of_max
        logits = self.of_mean(x.mean((2, 3), keepdim=True)) + of_max(x.amax((2, 3), keepdim=True))
        return x * logits.sigmoid()


class SpatialGate(nn.Module):
    """Scale each position by a gate: a 7 x 7 convolution of the mean and the maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


def bottleneck(channels: int, ratio: int) -> nn.Sequential:
    """Return two 1 x 1 convolutions without bias, with `channels // ratio` channels and a ReLU between them."""
    return nn.Sequential(
        nn.Conv2d(channels, channels // ratio, 1, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels // ratio, channels, 1, bias=False),
    )


# Each of the three adds channels ** 2 / 2 parameters and so fits Gupta's counts; the textbook's ratio of 16 does not.
SE_MODES = {
    "separate": lambda channels: MeanMaxGate(channels, 8, shared=False),
    "average": lambda channels: SqueezeExcite(channels, 4, bias=False),
    "shared": lambda channels: MeanMaxGate(channels, 4, shared=True),
}
ATTENTION_MODULES = {
    "se": lambda channels, se_mode: SE_MODES[se_mode](channels),
    "sa": lambda channels, se_mode: SpatialGate(),
    "cbam": lambda channels, se_mode: nn.Sequential(SE_MODES[se_mode](channels), SpatialGate()),
}


def make_attention(name: str | None, channels: int, se_mode: str = "separate") -> nn.Module:
    """Return the attention module `name` for feature maps of `channels` channels, or the identity if `name` is None.

    `se_mode` is used by `se` and `cbam`: which statistics of a channel the gate sees, and by how many bottlenecks.
    """
    if se_mode not in SE_MODES:
        raise ValueError(f"se_mode={se_mode} is unknown; use one of {', '.join(SE_MODES)}")
    if name is None:
        return nn.Identity()
    if name not in ATTENTION_MODULES:
        raise ValueError(f"attention={name} is unknown; use one of {', '.join(ATTENTION_MODULES)}")
    return ATTENTION_MODULES[name](channels, se_mode)
