"""The features of images: what a model's classifier, its last layer, is given."""

from __future__ import annotations

import torch
from torch import nn


def compute_features(
    model: nn.Module, classifier: nn.Module | None, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 features (N, numbers) and outputs (N, outputs) of normalised images by a model in evaluation mode.

    `classifier` is the model's last layer; for None, `forward_head(pre_logits=True)` of timm's models is called.
    """
    inputs: list[torch.Tensor] = []
    handle = classifier and classifier.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        outputs = model(images)
    finally:
        if handle:
            handle.remove()
    if not inputs:  # a classifier that is a list of layers, or none
        inputs = [model.forward_head(model.forward_features(images), pre_logits=True)]  # type: ignore[operator]
    return _flat(inputs[0]), outputs.float()


def _flat(features: torch.Tensor) -> torch.Tensor:
    """Return a vector per image: the mean over the positions of a feature map (N, channels, height, width)."""
    return (features.mean((2, 3)) if features.ndim == 4 else features.flatten(1)).float()
