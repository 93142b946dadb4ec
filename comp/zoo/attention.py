"""Squeeze-and-excitation, the channel attention of the kit's main model."""

from __future__ import annotations

import torch
from torch import nn


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: scale each channel by a gate computed from the channel means.

    The gate is a bottleneck of `channels // ratio` channels with a ReLU, followed by a sigmoid.
    """

    def __init__(self, channels: int, ratio: int = 4, bias: bool = True):
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // ratio, 1, bias=bias)
        self.expand = nn.Conv2d(channels // ratio, channels, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channel_means = x.mean((2, 3), keepdim=True)
        return x * self.expand(self.reduce(channel_means).relu()).sigmoid()
