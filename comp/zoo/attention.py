"""Interchangeable attention: each part scales a map by gates between 0 and 1 and leaves its shape alone."""

from __future__ import annotations

import torch
from torch import nn


class SqueezeExcite(nn.Module):
    """Each channel is scaled by what the mean of all channels says of it."""

    def __init__(self, channels: int, ratio: int = 4, bias: bool = True):
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // ratio, 1, bias=bias)
        self.expand = nn.Conv2d(channels // ratio, channels, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = x.mean((2, 3), keepdim=True)
        return x * self.expand(self.reduce(gate).relu()).sigmoid()


class MeanMaxGate(nn.Module):
    """Each channel is scaled by what the means and the maxima of all channels say of it, added."""

    def __init__(self, channels: int, ratio: int, shared: bool):
        super().__init__()
        self.shared = shared
        self.of_mean = bottleneck(channels, ratio)
        if not shared:
            self.of_max = bottleneck(channels, ratio)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        of_max = self.of_mean if self.shared else self.of_max
        score = self.of_mean(x.mean((2, 3), keepdim=True)) + of_max(x.amax((2, 3), keepdim=True))
        return x * score.sigmoid()


class SpatialGate(nn.Module):
    """Each place is scaled by what the mean and the maximum over channels say of its 7 x 7 surroundings."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


def bottleneck(channels: int, ratio: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels // ratio, 1, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels // ratio, channels, 1, bias=False),
    )


# Gupta's counts fit all three, which add channels ** 2 / 2 parameters each; the textbook's ratio of 16 does not
SE_MODES = {
    "separate": lambda channels: MeanMaxGate(channels, 8, shared=False),
    "average": lambda channels: SqueezeExcite(channels, 4, bias=False),
    "shared": lambda channels: MeanMaxGate(channels, 4, shared=True),
}
ATTENTION_MODULES = {
    "se": lambda channels, mode: SE_MODES[mode](channels),
    "sa": lambda channels, mode: SpatialGate(),
    "cbam": lambda channels, mode: nn.Sequential(SE_MODES[mode](channels), SpatialGate()),
}


def make_attention(name: str | None, channels: int, se_mode: str = "separate") -> nn.Module:
    """The part of that name, for maps of so many channels; None is no attention. `se_mode` is for `se` and `cbam`."""
    if se_mode not in SE_MODES:
        raise ValueError(f"se_mode={se_mode} is none of {', '.join(SE_MODES)}")
    if name is None:
        return nn.Identity()
    if name not in ATTENTION_MODULES:
        raise ValueError(f"attention={name} is none of {', '.join(ATTENTION_MODULES)}")
    return ATTENTION_MODULES[name](channels, se_mode)
