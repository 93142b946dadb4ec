"""Losses per image: `loss(logits, targets) -> (N,)`; targets are class indices or rows of probabilities.

The training loop takes the mean over all images of an optimiser step, so that accumulated batches are weighted by their
number of images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def make_loss(name: str, *, label_smoothing: float, weights: torch.Tensor | None, focal_gamma: float) -> LossFunction:
    """Return the loss `cross_entropy` or `focal`; `weights` has one factor per class."""
    if name == "focal":
        return lambda logits, targets: focal(logits, targets, focal_gamma, label_smoothing, weights)
    return lambda logits, targets: F.cross_entropy(
        logits, targets, weight=weights, reduction="none", label_smoothing=label_smoothing
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
