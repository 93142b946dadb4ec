"""timm's mixup and CutMix as a pure function of a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from timm.data import Mixup
from torch.nn import functional as F


@dataclass(frozen=True)
class Mix:
    """The strengths of mixup and CutMix (0 is off); if both are on, each batch draws one of them."""

    mixup: float
    cutmix: float
    off_epoch: int  # from this epoch on nothing is mixed; 0 is never
    classes: int

    def active(self, epoch: int) -> bool:
        """Return whether batches of this epoch are mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and not (self.off_epoch and epoch >= self.off_epoch)

    def __call__(self, images: torch.Tensor, targets: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mixed images and soft targets. timm mixes pairs, so the last image of an odd batch stays as it is.

        `targets` are class indices, or floats (images, outputs).
        """
        np.random.seed(seed % 2**32)  # timm draws from numpy's global generator
        even = len(images) // 2 * 2
        soft = targets.clone() if targets.is_floating_point() else F.one_hot(targets, self.classes).to(images.dtype)
        if even:
            mixer = Mixup(self.mixup, self.cutmix, label_smoothing=0.0, num_classes=even)
            # timm mixes labels only: given each image's position, it returns the weights that mix any targets
            _, weights = mixer(images[:even], torch.arange(even, device=images.device))  # images change in place
            own, partner = weights.diagonal()[:, None], weights.flip(1).diagonal()[:, None]
            soft[:even] = soft[:even] * own + soft[:even].flip(0) * partner
        return images, soft
