"""Probabilities of many networks under many views, decoding and resizing every image once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from comp.engine.precision import autocast
from comp.engine.views import VIEWS

Network = Callable[[torch.Tensor], torch.Tensor]  # uint8 (N, H, W, 3) to logits (N, classes); see runtime.py


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


class NormalisedModel(nn.Module):
    """A model as a network that normalises by itself: nobody can feed it with the wrong figures."""

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float], precision: str = "fp32"):
        super().__init__()
        self.model, self.mean, self.std, self.precision = model, mean, std, precision

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with autocast(images.device, self.precision):
            return self.model(normalise(images, self.mean, self.std, images.device))


def predict_models(
    models: Sequence[nn.Module],
    batches: Iterable[torch.Tensor],
    *,
    views: Sequence[str],
    mean,
    std,
    device: torch.device,
    precision: str,
) -> np.ndarray:
    """`probabilities` of torch models, left in the mode they were in."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    made = predict_probabilities(
        [NormalisedModel(model, mean, std, precision) for model in models], batches, views=views, device=device
    )
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
    return made


@torch.no_grad()
def predict_probabilities(
    networks: Sequence[Network], batches: Iterable[torch.Tensor], *, views: Sequence[str], device: torch.device
) -> np.ndarray:
    """float32 of shape (networks, views, images, classes)."""
    parts = []
    for batch in batches:
        images = batch.to(device, non_blocking=True).permute(0, 3, 1, 2)
        logits = []
        for view in views:  # turned as bytes, 4 times fewer than floats
            turned = VIEWS[view].apply(images).permute(0, 2, 3, 1).contiguous()
            logits.append(torch.stack([network(turned) for network in networks]))
        parts.append(torch.stack(logits, 1).float().softmax(-1).cpu())
    return torch.cat(parts, dim=2).numpy()
