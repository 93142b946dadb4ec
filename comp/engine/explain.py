"""Heat maps: which part of an image an output of a model depends on, for CNNs and transformers alike.

CNNs, and transformers whose feature maps keep rows and columns: Grad-CAM at the last layer with positions of the image
and gradients at them. Transformers over a row of tokens: the last tokens are those that a class token has been through,
and need not tell positions apart, so gradients are integrated from an image of one colour to the image, at the first
layer with the same tokens. In small trained ViTs such a map finds the square that decides (tests/engine/
test_explain.py), which Grad-CAM often misses.

Layers are found by running the model once, so there is nothing to set.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from comp.errors import UserError, require_extra

Layout = Literal["NCHW", "NHWC", "NTC"]  # NTC: tokens in rows of positions, after the prefix tokens
Score = Callable[[torch.Tensor], torch.Tensor]  # outputs of the model (N, outputs) -> what to explain (N, columns)

NO_POSITIONS = (nn.Identity, nn.Dropout, nn.Softmax, nn.Linear)  # copies of other layers, or parts of an attention
INTEGRATION_STEPS = 8
SHADE = 0.25  # brightness of a position that the answer does not depend on
MAX_PREFIX_TOKENS = 8  # a class token, distillation and register tokens


@dataclass(frozen=True)
class SpatialLayer:
    """A layer whose output has a vector per position of the image, and how that output is laid out."""

    module: nn.Module
    layout: Layout
    side: int  # positions per row and per column
    prefix: int = 0  # tokens before those of positions
    is_first: bool = False  # the first layer with these positions, not the last: of a transformer over tokens

    def to_grid(self, output: torch.Tensor) -> torch.Tensor:
        """Return the vectors of positions as (N, channels, side, side)."""
        if self.layout == "NTC":
            output = output[:, self.prefix :].unflatten(1, (self.side, self.side))
        return output if self.layout == "NCHW" else output.permute(0, 3, 1, 2)

    def from_grid(self, grid: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return `output` with the vectors of positions taken from `grid`."""
        if self.layout == "NCHW":
            return grid
        grid = grid.permute(0, 2, 3, 1)
        return grid if self.layout == "NHWC" else torch.cat([output[:, : self.prefix], grid.flatten(1, 2)], 1)


def find_spatial_layer(model: nn.Module, images: torch.Tensor) -> SpatialLayer:
    """Return the last layer with positions of the image that the outputs depend on, or if these are tokens the first
    with as many. A model without one is a UserError.

    `images` are the model's input (N, 3, side, side), of which the first is used.
    """
    recorded: list[tuple[nn.Module, torch.Tensor]] = []

    def record(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            recorded.append((module, output))

    handles = [module.register_forward_hook(record) for module in model.modules()]
    try:
        with torch.enable_grad():
            outputs = model(images[:1].detach().clone().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    candidates = [
        (layer, output)
        for module, output in _with_positions(recorded)
        if (layer := _spatial_layer(model, module, output)) is not None
    ]
    if candidates:
        # Weights that differ: the sum of outputs whose weights add up to zero has no gradient.
        mixed = (outputs * torch.arange(1.0, outputs.shape[-1] + 1, device=outputs.device)).sum()
        gradients = torch.autograd.grad(mixed, [output for _, output in candidates], allow_unused=True)
        for (layer, _), gradient in reversed(list(zip(candidates, gradients, strict=True))):
            if gradient is not None and layer.to_grid(gradient).any():
                if layer.layout != "NTC":
                    return layer
                return replace(next(first for first, _ in candidates if first.side == layer.side), is_first=True)
    raise UserError(
        f"{type(model).__name__} has no layer with positions of the image that its output depends on, so it has no "
        f"heat map"
    )


def _with_positions(recorded: list[tuple[nn.Module, torch.Tensor]]) -> Iterator[tuple[nn.Module, torch.Tensor]]:
    """Yield the layers that ran once, up to the first that reshapes a vector: the positions after it are others."""
    calls = Counter(id(module) for module, _ in recorded)
    for module, output in recorded:
        if isinstance(module, nn.Unflatten):
            return
        if calls[id(module)] == 1 and output.requires_grad and not isinstance(module, NO_POSITIONS):
            yield module, output


def _spatial_layer(model: nn.Module, module: nn.Module, output: torch.Tensor) -> SpatialLayer | None:
    """Return how the output of a module for one image is laid out; None if it has fewer than 2 x 2 positions."""
    if output.shape[0] != 1:  # windows of the image
        return None
    if output.ndim == 4:
        _, first, second, third = output.shape
        is_last = getattr(model, "output_fmt", "NCHW") == "NHWC"  # of timm's models whose channels come last
        if second == third > 1 and not (is_last and first == second):
            return SpatialLayer(module, "NCHW", second)
        return SpatialLayer(module, "NHWC", first) if first == second > 1 else None
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        prefix = output.shape[1] - side**2
        if side > 1 and prefix <= MAX_PREFIX_TOKENS and prefix == getattr(model, "num_prefix_tokens", prefix):
            return SpatialLayer(module, "NTC", side, prefix)
    return None


def heat_maps(
    model: nn.Module, layer: SpatialLayer, images: torch.Tensor, columns: torch.Tensor, score: Score | None = None
) -> torch.Tensor:
    """Return the map (N, side, side) of a column of each image's score, on the CPU, from 0 to 1 at its maximum.

    The model must be in evaluation mode. `score` maps its outputs to the columns; None: they are the outputs. A map
    without a position that raises the score is 0 everywhere. `resize_maps` enlarges maps to the size of images.
    """
    with require_extra("report"):
        from captum.attr import LayerGradCam, LayerIntegratedGradients

    def forward(batch: torch.Tensor) -> torch.Tensor:
        outputs = model(batch).float()
        return score(outputs) if score else outputs

    images = images.detach().clone()  # captum sets requires_grad, and a model may begin with an operation in place
    with _tap(layer) as grid, torch.enable_grad():
        if layer.is_first:
            plain = images.mean((2, 3), keepdim=True).expand_as(images).contiguous()
            integrated = LayerIntegratedGradients(forward, grid).attribute(
                images, plain, columns.tolist(), n_steps=INTEGRATION_STEPS, internal_batch_size=len(images)
            )
            maps = integrated.sum(1).relu()
        else:
            maps = LayerGradCam(forward, grid).attribute(images, columns.tolist(), relu_attributions=True)[:, 0]
    maps = maps.detach().float()
    return (maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)).cpu()


def resize_maps(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Return maps (N, side, side) enlarged bilinearly to (N, size, size)."""
    with require_extra("report"):
        from captum.attr import LayerAttribution
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LayerAttribution.interpolate(maps[:, None], (size, size), "bilinear")[:, 0]


def shade(square: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return uint8 pixels with their colours, darkened where the heat map (side, side) is low."""
    return (square * (SHADE + (1 - SHADE) * heat[..., None])).round().astype(np.uint8)


def check_captum() -> None:
    """Raise a UserError with the command that installs captum unless it can be imported."""
    with require_extra("report"):
        import captum.attr  # noqa: F401


@contextlib.contextmanager
def _tap(layer: SpatialLayer) -> Iterator[nn.Module]:
    """Lead the output of a layer through a module as (N, channels, side, side): captum averages over the last two."""
    grid = nn.Identity()

    def lead_through(_: nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
        return layer.from_grid(grid(layer.to_grid(output)), output)

    handle = layer.module.register_forward_hook(lead_through)
    try:
        yield grid
    finally:
        handle.remove()
