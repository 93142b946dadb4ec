"""Swap a model's modules for those that take fewer passes over memory on a CPU.

Only the classes of modules change: a model's state dict and what it computes stay. In evaluation, in fp16 and on a GPU
the fused modules are torch's own.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch import nn

from comp.engine.kernels import batch_norm, depthwise, squeeze_excite
from comp.engine.kernels.batch_norm import ACTIVATION_CODES, FusedBatchNorm
from comp.engine.kernels.depthwise import FusedDepthwiseConv2d
from comp.engine.kernels.squeeze_excite import FusedSqueezeExcite, FusedTimmSqueezeExcite
from comp.zoo.attention import SqueezeExcite

FUSED_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    SqueezeExcite: FusedSqueezeExcite,
    TimmSqueezeExcite: FusedTimmSqueezeExcite,
}


def kernels_available() -> bool:
    """Return whether our C++ operations are compiled; compile them if they are not."""
    return bool(batch_norm.library() and depthwise.library() and squeeze_excite.library())


def choose_kernels(device: torch.device) -> str:
    """Return `fused` or `torch`. A run records it, because the two differ in the last bits."""
    return "fused" if device.type == "cpu" and kernels_available() else "torch"


def apply_kernels(model: nn.Module, kernels: str, device: torch.device) -> nn.Module:
    """Return `model` as a run with these `kernels` trains it on `device`.

    Fused modules are for a CPU. On CUDA they would compute the same as torch's, but converting them to SyncBatchNorm
    would drop their activation.
    """
    return fuse(model) if kernels == "fused" and device.type == "cpu" else model


def fuse(model: nn.Module) -> nn.Module:
    """Return `model` with every module swapped that has a fused class; unchanged if our C++ does not compile."""
    if not kernels_available():
        return model
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            _fuse_activations(module)
        if type(module) is BatchNormAct2d and type(module.act) in ACTIVATION_CODES and type(module.drop) is nn.Identity:
            _swap_batch_norm(module, ACTIVATION_CODES[type(module.act)])
        elif type(module) is nn.BatchNorm2d:
            _swap_batch_norm(module, 0)
        elif depthwise.is_supported(module):
            module.__class__ = FusedDepthwiseConv2d
        elif type(module) in FUSED_CLASSES:
            module.__class__ = FUSED_CLASSES[type(module)]
    return model


def _fuse_activations(layers: nn.Sequential) -> None:
    """Move an activation into the BatchNorm before it. An Identity replaces it, so later layers keep their names."""
    for name, next_name in pairwise(list(layers._modules)):
        norm, activation = layers._modules[name], layers._modules[next_name]
        if type(norm) is nn.BatchNorm2d and type(activation) in ACTIVATION_CODES.keys() - {nn.Identity}:
            _swap_batch_norm(norm, ACTIVATION_CODES[type(activation)])
            layers._modules[next_name] = nn.Identity()


def _swap_batch_norm(module: nn.Module, activation: int) -> None:
    module.__class__ = FusedBatchNorm
    module.activation = activation  # type: ignore[assignment]  # torch's stubs know parameters and modules only
