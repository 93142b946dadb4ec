"""Squeeze-and-excitation, ours and timm's, with fewer passes over memory on a CPU (squeeze_excite.cpp).

Plain torch reads or writes a feature map 13 times to excite it, forward and backward; here it is 7 times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch.autograd.function import once_differentiable

from comp.engine.kernels.compile import load_native
from comp.engine.kernels.tensors import LAYOUT, can_fuse, element_code, images_pixels_channels, pointer, thread_count
from comp.zoo.attention import SqueezeExcite


@lru_cache
def library() -> Any:
    """Return the compiled squeeze_excite.cpp, or None if it cannot be compiled."""
    return load_native(Path(__file__).with_suffix(".cpp"))


class FusedSqueezeExcite(SqueezeExcite):
    """The kit's squeeze-and-excitation, fused in training only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and can_fuse(x)):
            return super().forward(x)
        return scale_by_gate(x, lambda mean: self.expand(self.reduce(mean).relu()).sigmoid(), list(self.parameters()))


class FusedTimmSqueezeExcite(TimmSqueezeExcite):
    """timm's squeeze-and-excitation of EfficientNet, fused in training only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and can_fuse(x)):
            return super().forward(x)
        return scale_by_gate(
            x, lambda mean: self.gate(self.conv_expand(self.act1(self.conv_reduce(mean)))), list(self.parameters())
        )


def scale_by_gate(
    x: torch.Tensor, gate: Callable[[torch.Tensor], torch.Tensor], parameters: list[torch.nn.Parameter]
) -> torch.Tensor:
    """Return `x * gate(mean of x over pixels)`; `parameters` are all that `gate` depends on."""
    return _Excite.apply(x, gate, *parameters)


class _Excite(torch.autograd.Function):
    """Scale a feature map by a gate of its pixel means. Both gradients of the feature map are written in one pass.

    The means and the gate are in fp32, also for a feature map in bf16.
    """

    @staticmethod
    def forward(ctx, x, gate, *parameters):
        x = x.contiguous(memory_format=LAYOUT)
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            mean = (_pixel_sums(x) / x[0, 0].numel()).requires_grad_()
            gates = gate(mean)
        ctx.save_for_backward(x)
        ctx.mean, ctx.gates, ctx.parameters = mean, gates, parameters
        return _gate_pixels(x, gates.detach(), torch.zeros_like(mean))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAYOUT)
        dmean, *dparameters = torch.autograd.grad(ctx.gates, [ctx.mean, *ctx.parameters], _pixel_sums(x, grad))
        return _gate_pixels(grad, ctx.gates.detach(), dmean / x[0, 0].numel()), None, *dparameters


def _pixel_sums(x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
    """Return the sum over pixels of `x`, or of `x * y`, for each image and channel."""
    out = torch.empty(*x.shape[:2], 1, 1)
    library().pixel_sums(
        element_code(x), pointer(x), pointer(y), pointer(out), *images_pixels_channels(x), thread_count()
    )
    return out


def _gate_pixels(x: torch.Tensor, gates: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Return `x * gates + offsets`."""
    out = torch.empty_like(x)
    library().gate_pixels(
        element_code(x),
        pointer(x),
        pointer(gates.contiguous()),
        pointer(offsets.contiguous()),
        pointer(out),
        *images_pixels_channels(x),
        thread_count(),
    )
    return out
