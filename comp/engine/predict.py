"""Probabilities from models: every image decoded once, however many models and views look at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from comp.engine.device import autocast
from comp.engine.runtime import Feed, Network
from comp.engine.views import VIEWS


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W), channels last; uint8 travels to the device: 4 times fewer bytes."""
    floats = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1) * 255
    scale = torch.tensor(std, device=device).view(1, 3, 1, 1) * 255
    return floats.sub_(shift).div_(scale)


def predict(models: Sequence[nn.Module], batches: Iterable[torch.Tensor], *, views: Sequence[str], mean, std,
            device: torch.device, precision: str) -> np.ndarray:
    """`probabilities` of torch models as they are, left in the mode they were in."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    made = probabilities(models, batches, views=views, feed=partial(normalise, mean=mean, std=std, device=device),
                         device=device, precision=precision)
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
    return made


@torch.no_grad()
def probabilities(networks: Sequence[Network], batches: Iterable[torch.Tensor], *, views: Sequence[str], feed: Feed,
                  device: torch.device, precision: str) -> np.ndarray:
    """float32 of shape (networks, views, images, classes)."""
    parts = []
    for batch in batches:
        images = feed(batch)
        with autocast(device, precision):
            # a turned picture has the strides of neither layout; laid out anew, convolutions stay on their fast path
            turned = [VIEWS[view].apply(images).contiguous(memory_format=torch.channels_last) for view in views]
            logits = [[network(view) for view in turned] for network in networks]
        parts.append(torch.stack([torch.stack(row) for row in logits]).float().softmax(-1).cpu())
    return torch.cat(parts, dim=2).numpy()
