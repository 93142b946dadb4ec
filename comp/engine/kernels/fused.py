"""Fewer passes over memory on a CPU: BatchNorm with its activation, and squeeze-and-excitation, each one operation.

They are bound by memory there, not by arithmetic: plain torch reads or writes a map 16 times for BatchNorm and SiLU,
forward and back, and 13 times to excite it; here it is 8 and 7. `fuse(model)` swaps the classes of a model's modules
and nothing else: its state_dict, and what it computes, stay. In evaluation, in half precision and on a GPU the
modules are torch's own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch import nn
from torch.autograd.function import once_differentiable

from comp.engine.kernels.compile import load_native
from comp.zoo.attention import SqueezeExcite

ACTIVATION_CODES = {nn.Identity: 0, nn.ReLU: 1, nn.SiLU: 2}  # as the C++ counts them
ACTIVATIONS = (lambda x: x, nn.functional.relu, nn.functional.silu)
LAYOUT = torch.channels_last


@lru_cache
def kernels() -> ctypes.CDLL | None:
    return load_native(Path(__file__).with_suffix(".cpp"))


def choose_kernels(device: torch.device) -> str:
    """A run records it: the two differ in the last bits."""
    return "fused" if device.type == "cpu" and kernels() else "torch"


def fuse(model: nn.Module) -> nn.Module:
    """The same model, with those modules swapped that have a faster form here; as it is where nothing compiles."""
    if not kernels():
        return model
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            _fuse_activations(module)
        if type(module) is BatchNormAct2d and type(module.act) in ACTIVATION_CODES and type(module.drop) is nn.Identity:
            module.__class__, module.kind = FusedBatchNorm, ACTIVATION_CODES[type(module.act)]
        elif type(module) is nn.BatchNorm2d:
            module.__class__, module.kind = FusedBatchNorm, 0
        elif type(module) in FUSED_CLASSES:
            module.__class__ = FUSED_CLASSES[type(module)]
    return model


def _fuse_activations(layers: nn.Sequential) -> None:
    """An activation that follows a BatchNorm becomes part of it; its place stays, or later names would move."""
    names = list(layers._modules)
    for name, following in pairwise(names):
        norm, act = layers._modules[name], layers._modules[following]
        if type(norm) is nn.BatchNorm2d and type(act) in (nn.ReLU, nn.SiLU):
            norm.__class__, norm.kind = FusedBatchNorm, ACTIVATION_CODES[type(act)]
            layers._modules[following] = nn.Identity()


def _can_fuse(x: torch.Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


class FusedBatchNorm(nn.BatchNorm2d):
    kind = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.affine and self.track_running_stats and self.momentum is not None and _can_fuse(x):
            self.num_batches_tracked.add_(1)
            return _BatchNorm.apply(
                x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps, self.kind
            )
        return ACTIVATIONS[self.kind](super().forward(x))


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps, kind):
        x = x.contiguous(memory_format=LAYOUT)
        out, saved = torch.empty_like(x), x.new_empty(4, x.shape[1])
        kernels().batch_norm_forward(
            ctypes.c_int(kind),
            _pointer(x),
            _pointer(out),
            *_shape(x),
            _threads(),
            _pointer(weight),
            _pointer(bias),
            _pointer(running_mean),
            _pointer(running_var),
            ctypes.c_double(momentum),
            ctypes.c_double(eps),
            _pointer(saved),
        )
        ctx.save_for_backward(x, saved)
        ctx.kind = kind
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, saved = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAYOUT)
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(saved[0]), torch.empty_like(saved[0])
        kernels().batch_norm_backward(
            ctypes.c_int(ctx.kind),
            _pointer(x),
            _pointer(grad),
            _pointer(dx),
            *_shape(x),
            _threads(),
            _pointer(saved),
            _pointer(dweight),
            _pointer(dbias),
        )
        return dx, dweight, dbias, None, None, None, None, None


class FusedSqueezeExcite(SqueezeExcite):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and _can_fuse(x)):
            return super().forward(x)
        return scale_by_gate(x, lambda mean: self.expand(self.reduce(mean).relu()).sigmoid(), list(self.parameters()))


class FusedTimmSqueezeExcite(TimmSqueezeExcite):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and _can_fuse(x)):
            return super().forward(x)
        return scale_by_gate(
            x, lambda mean: self.gate(self.conv_expand(self.act1(self.conv_reduce(mean)))), list(self.parameters())
        )


FUSED_CLASSES = {SqueezeExcite: FusedSqueezeExcite, TimmSqueezeExcite: FusedTimmSqueezeExcite}


def scale_by_gate(x: torch.Tensor, gate: Callable[[torch.Tensor], torch.Tensor], parameters: list) -> torch.Tensor:
    """`x * gate(mean of x)`, the mean over pixels; `gate` knows no parameters but those."""
    return _Excite.apply(x, gate, *parameters)


class _Excite(torch.autograd.Function):
    """The gate is small, so autograd may keep its graph; the two gradients of the map are written in one pass."""

    @staticmethod
    def forward(ctx, x, gate, *parameters):
        x = x.contiguous(memory_format=LAYOUT)
        with torch.enable_grad():
            mean = (_pixel_sums(x) / x[0, 0].numel()).requires_grad_()
            scores = gate(mean)
        ctx.save_for_backward(x)
        ctx.mean, ctx.scores, ctx.parameters = mean, scores, parameters
        return _gate(x, scores.detach(), torch.zeros_like(mean))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAYOUT)
        dmean, *dparameters = torch.autograd.grad(ctx.scores, [ctx.mean, *ctx.parameters], _pixel_sums(x, grad))
        return _gate(grad, ctx.scores.detach(), dmean / x[0, 0].numel()), None, *dparameters


def _pixel_sums(x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
    out = x.new_empty(*x.shape[:2], 1, 1)
    kernels().pixel_sums(_pointer(x), _pointer(y), _pointer(out), *_shape(x, images=True), _threads())
    return out


def _gate(x: torch.Tensor, gate: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    kernels().gate_pixels(
        _pointer(x),
        _pointer(gate.contiguous()),
        _pointer(offset.contiguous()),
        _pointer(out),
        *_shape(x, images=True),
        _threads(),
    )
    return out


def _pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)


def _shape(x: torch.Tensor, images: bool = False) -> list[ctypes.c_int64]:
    """Rows and channels; or images, pixels and channels."""
    count, channels, height, width = x.shape
    numbers = (count, height * width, channels) if images else (count * height * width, channels)
    return [ctypes.c_int64(number) for number in numbers]


def _threads() -> ctypes.c_int:
    return ctypes.c_int(torch.get_num_threads())
