"""Losses per image: `loss(logits, targets) -> (N,)`, targets being class numbers or rows of probabilities.

The mean is taken by the training loop over all images of an update, so that accumulated batches weigh rightly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def make_loss(name: str, *, label_smoothing: float, weights: torch.Tensor | None, focal_gamma: float) -> LossFunction:
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
    """Cross-entropy in which every class's term shrinks by (1 - p)^gamma; gamma 0 is cross-entropy.
    By hand: neither torch nor timm has it for a softmax, and mixup needs it for soft targets."""
    classes = logits.shape[1]
    if targets.ndim == 1:
        targets = F.one_hot(targets, classes).to(logits.dtype)
    targets = targets * (1 - smoothing) + smoothing / classes
    log_p = logits.log_softmax(1)
    terms = -targets * (1 - log_p.exp()) ** gamma * log_p
    return (terms if weights is None else terms * weights).sum(1)


def balanced_weights(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """n / (K * n_c): every class counts the same in total; a class without images counts nothing."""
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, len(labels) / (classes * counts.clamp(min=1)), 0.0)
