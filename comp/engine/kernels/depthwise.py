"""The gradients of a depthwise convolution on a CPU, both in one pass (depthwise.cpp).

torch computes them in two passes, and in bf16 with stride 2 by a slow path. The forward pass is torch's own.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from comp.engine.kernels.compile import load_native
from comp.engine.kernels.tensors import LAYOUT, can_fuse, element_code, pointer, thread_count


@lru_cache
def library() -> Any:
    """Return the compiled depthwise.cpp, or None if it cannot be compiled."""
    return load_native(Path(__file__).with_suffix(".cpp"))


def is_supported(module: nn.Module) -> bool:
    """Return whether depthwise.cpp computes the gradients of this convolution, and not slower than torch.

    torch's time over ours, forward and backward (tests/benchmarks/kernels.py): with AVX512_BF16 in bf16 1.1 to 1.5 for
    kernels of 3 and stride 1, and 8 to 36 otherwise; in fp32 1.1 to 1.2 for kernels of 3 and stride 1, and 1.9 to 3.0
    for kernels of 5. A kernel of 3 with stride 2 in fp32 was not faster, and stays torch's.
    """
    return (
        type(module) is nn.Conv2d
        and module.groups == module.in_channels == module.out_channels
        and module.kernel_size in ((3, 3), (5, 5))
        and module.stride in ((1, 1), (2, 2))
        and module.padding in ((0, 0), (1, 1), (2, 2))
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and module.bias is None
    )


class FusedDepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution, with fused gradients in training only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small_and_strided = self.kernel_size == (3, 3) and self.stride == (2, 2)
        if not (self.training and can_fuse(x) and (x.dtype == torch.bfloat16 or not small_and_strided)):
            return super().forward(x)
        return _DepthwiseConv2d.apply(x, self.weight, self.stride[0], self.padding[0])


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, stride, padding):
        x = x.contiguous(memory_format=LAYOUT)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(x, weight.to(x.dtype), None, stride, padding, 1, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAYOUT)
        taps_first = weight.flatten(1).t().contiguous()  # (K x K, C), as the channels of a pixel are
        dx, dweight = torch.empty_like(x), torch.empty_like(taps_first)
        library().depthwise_backward(
            element_code(x),
            ctypes.c_int(weight.shape[-1]),
            ctypes.c_int(ctx.stride),
            pointer(x),
            pointer(grad),
            pointer(taps_first),
            pointer(dx),
            pointer(dweight),
            *(ctypes.c_int64(size) for size in (len(x), *x.shape[2:], *grad.shape[2:], x.shape[1], ctx.padding)),
            thread_count(),
        )
        return dx, dweight.t().reshape(weight.shape), None, None
