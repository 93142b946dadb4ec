"""BatchNorm and the activation that follows it as one CPU operation (batch_norm.cpp).

Both are bound by memory: plain torch reads or writes a feature map 16 times for BatchNorm and SiLU, forward and
backward; here it is 8 times, and 9 where the gradient is stored between two passes.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from timm.layers import GELU
from torch import nn
from torch.autograd.function import once_differentiable

from comp.engine.kernels.compile import load_native
from comp.engine.kernels.tensors import LAYOUT, can_fuse, element_code, pointer, rows_and_channels, thread_count

ACTIVATION_CODES: dict[type[nn.Module], int] = {  # the codes in batch_norm.cpp
    nn.Identity: 0,
    nn.ReLU: 1,
    nn.SiLU: 2,
    nn.Hardswish: 3,
    GELU: 4,
}
ACTIVATIONS = (lambda x: x, nn.functional.relu, nn.functional.silu, nn.functional.hardswish, nn.functional.gelu)


@lru_cache
def library() -> Any:
    """Return the compiled batch_norm.cpp, or None if it cannot be compiled."""
    return load_native(Path(__file__).with_suffix(".cpp"))


class FusedBatchNorm(nn.BatchNorm2d):
    """BatchNorm with its activation. In evaluation, in fp16 and on a GPU it is torch's own."""

    activation = 0  # see ACTIVATION_CODES

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.affine and self.track_running_stats and self.momentum is not None and can_fuse(x):
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]  # a tensor with track_running_stats
            return _BatchNorm.apply(
                x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps, self.activation
            )
        return ACTIVATIONS[self.activation](super().forward(x))


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps, activation):
        x = x.contiguous(memory_format=LAYOUT)
        out, saved = torch.empty_like(x), torch.empty(4, x.shape[1])
        library().batch_norm_forward(
            element_code(x),
            ctypes.c_int(activation),
            pointer(x),
            pointer(out),
            *rows_and_channels(x),
            thread_count(),
            pointer(weight),
            pointer(bias),
            pointer(running_mean),
            pointer(running_var),
            ctypes.c_double(momentum),
            ctypes.c_double(eps),
            pointer(saved),
        )
        ctx.save_for_backward(x, saved)
        ctx.activation = activation
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, saved = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAYOUT)
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(saved[0]), torch.empty_like(saved[0])
        library().batch_norm_backward(
            element_code(x),
            ctypes.c_int(ctx.activation),
            pointer(x),
            pointer(grad),
            pointer(dx),
            *rows_and_channels(x),
            thread_count(),
            pointer(saved),
            pointer(dweight),
            pointer(dbias),
        )
        return dx, dweight, dbias, None, None, None, None, None
