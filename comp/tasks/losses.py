"""Losses per image: `loss(outputs, targets) -> (N,)`.

The training loop takes the mean over all images of an optimiser step, so that accumulated batches are weighted by their
number of images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from comp.schema import Loss

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def class_loss(options: Loss, targets: np.ndarray, classes: int, device: torch.device) -> LossFunction:
    """Return the loss of exclusive classes; targets are class indices or rows of probabilities."""
    weights = None
    if options.class_weights == "balanced":
        weights = balanced_weights(torch.from_numpy(targets), classes).to(device)
    smoothing = options.label_smoothing
    if options.name == "focal":
        return lambda logits, targets: focal(logits, targets, options.focal_gamma, smoothing, weights)
    return lambda logits, targets: F.cross_entropy(
        logits, targets, weight=weights, reduction="none", label_smoothing=smoothing
    )


def focal(
    logits: torch.Tensor,
    targets: torch.Tensor,
    gamma: float,
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the focal loss: cross-entropy with every class's term times (1 - p)^gamma; gamma 0 is cross-entropy.

    Written here, because neither torch nor timm has it for a softmax and the soft targets of mixup.
    """
    classes = logits.shape[1]
    if targets.ndim == 1:
        targets = F.one_hot(targets, classes).to(logits.dtype)
    targets = targets * (1 - smoothing) + smoothing / classes
    log_p = logits.log_softmax(1)
    terms = -targets * (1 - log_p.exp()) ** gamma * log_p
    return (terms if weights is None else terms * weights).sum(1)


def balanced_weights(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return class weights n / (K * n_c), which give every class the same total; 0 for a class without images."""
    counts = torch.bincount(targets, minlength=classes).float()
    return torch.where(counts > 0, len(targets) / (classes * counts.clamp(min=1)), 0.0)


def binary_loss(options: Loss) -> LossFunction:
    """Return the loss of several yes-or-no questions, their mean; targets are floats from 0 to 1."""
    gamma = options.focal_gamma if options.name == "focal" else 0.0
    smoothing = options.label_smoothing

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        targets = targets * (1 - smoothing) + smoothing / 2
        terms = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        if gamma:
            terms = terms * (logits.sigmoid() - targets).abs() ** gamma
        return terms.mean(1)

    return loss


def number_loss(options: Loss) -> LossFunction:
    """Return the loss of a standardised number."""
    functions: dict[str, Callable[..., torch.Tensor]] = {
        "smooth_l1": F.smooth_l1_loss,
        "mse": F.mse_loss,
        "mae": F.l1_loss,
    }
    return lambda outputs, targets: functions[options.name](outputs, targets, reduction="none").mean(1)
