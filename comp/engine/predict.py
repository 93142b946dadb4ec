"""Probabilities from models: every image decoded once, however many models and views look at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from comp.engine.device import autocast
from comp.engine.views import VIEWS


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> torch.Tensor:
    """To float (N, 3, H, W), channels last, from uint8 (N, H, W, 3), which travels to the device in 4 times fewer
    bytes, or from floats (N, 3, H, W) from 0 to 255 that were made there."""
    if images.dtype == torch.uint8:
        floats = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    else:
        floats = images.to(device, memory_format=torch.channels_last, copy=True)
    shift, scale = _on_device(tuple(mean), device), _on_device(tuple(std), device)
    return floats.sub_(shift).div_(scale)


@lru_cache
def _on_device(shares: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Sent once: a GPU that is sent three numbers is waited for until it has done all it still has to do."""
    return torch.tensor(shares, device=device).view(1, 3, 1, 1) * 255


@torch.no_grad()
def predict(models: Sequence[nn.Module], batches: Iterable[torch.Tensor], *, views: Sequence[str], mean, std,
            device: torch.device, precision: str) -> np.ndarray:
    """float32 probabilities of shape (models, views, images, classes)."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    parts = []
    for batch in batches:
        images = normalise(batch, mean, std, device)
        with autocast(device, precision):
            # a turned picture has the strides of neither layout; laid out anew, convolutions stay on their fast path
            turned = [VIEWS[view].apply(images).contiguous(memory_format=torch.channels_last) for view in views]
            logits = [[model(view) for view in turned] for model in models]
        parts.append(torch.stack([torch.stack(row) for row in logits]).float().softmax(-1).cpu())
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
    return torch.cat(parts, dim=2).numpy()
