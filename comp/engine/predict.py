"""Predict the probabilities of many networks under many views, with every image decoded and resized once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from comp.engine.device import is_out_of_memory
from comp.engine.precision import autocast
from comp.engine.views import VIEWS, check_views

Network = Callable[[torch.Tensor], torch.Tensor]  # uint8 (N, H, W, 3) -> outputs (N, outputs); see runtime.py
Activation = Callable[[torch.Tensor], torch.Tensor]  # outputs (..., outputs) -> predictions (..., columns)


def softmax(outputs: torch.Tensor) -> torch.Tensor:
    """Return probabilities of exclusive classes: the activation of single labels."""
    return outputs.softmax(-1)


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> torch.Tensor:
    """Return normalised floats (N, 3, H, W), channels last, on `device`.

    `images` are uint8 (N, H, W, 3), 4 times fewer bytes to send to the device, or floats (N, 3, H, W) from 0 to 255
    that were augmented there.
    """
    if images.dtype == torch.uint8:
        floats = images.to(device, non_blocking=device.type == "cuda").permute(0, 3, 1, 2).float()
    else:
        floats = images.to(device, memory_format=torch.channels_last, copy=True)
    shift, scale = _on_device(tuple(mean), device), _on_device(tuple(std), device)
    return floats.sub_(shift).div_(scale)


@lru_cache
def _on_device(per_channel: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return three numbers as a tensor, sent once: sending them waits until the GPU has finished all queued work."""
    return torch.tensor(per_channel, device=device).view(1, 3, 1, 1) * 255


class NormalisedModel(nn.Module):
    """A model that normalises its own input, so that it cannot be given another mean or standard deviation."""

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
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    precision: str,
    activate: Activation = softmax,
) -> np.ndarray:
    """Predict with torch models in evaluation mode, and restore their modes. See `predict_probabilities`."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    probabilities = predict_probabilities(
        [NormalisedModel(model, mean, std, precision) for model in models],
        batches,
        views=views,
        device=device,
        activate=activate,
    )
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
    return probabilities


@torch.no_grad()
def predict_probabilities(
    networks: Sequence[Network],
    batches: Iterable[torch.Tensor],
    *,
    views: Sequence[str],
    device: torch.device,
    activate: Activation = softmax,
) -> np.ndarray:
    """Return float32 predictions (networks, views, images, columns) for batches of uint8 (N, H, W, 3)."""
    check_views(views)
    batch_probabilities = [_predict_batch(networks, batch, views, device, activate) for batch in batches]
    return torch.cat(batch_probabilities, dim=2).numpy()


def _predict_batch(
    networks: Sequence[Network], batch: torch.Tensor, views: Sequence[str], device: torch.device, activate: Activation
) -> torch.Tensor:
    """Return the predictions of a batch, in two halves where the memory of the device is too small for all of it."""
    try:
        images = batch.to(device, non_blocking=device.type == "cuda").permute(0, 3, 1, 2)
        logits = []
        for view in views:  # views are applied to uint8: 4 times fewer bytes than floats
            turned = VIEWS[view].apply(images).permute(0, 2, 3, 1).contiguous()
            logits.append(torch.stack([network(turned) for network in networks]))
        return activate(torch.stack(logits, 1).float()).cpu()
    except RuntimeError as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
    halves = batch.tensor_split(2)
    return torch.cat([_predict_batch(networks, half, views, device, activate) for half in halves], dim=2)
