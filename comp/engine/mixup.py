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

    def __call__(self, images: torch.Tensor, labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mixed images and soft targets. timm mixes pairs, so the last image of an odd batch stays as it is."""
        np.random.seed(seed % 2**32)  # timm draws from numpy's global generator
        even = len(images) // 2 * 2
        targets = F.one_hot(labels, self.classes).to(images.dtype)
        if even:
            mixer = Mixup(self.mixup, self.cutmix, label_smoothing=0.0, num_classes=self.classes)
            _, targets[:even] = mixer(images[:even], labels[:even])  # the images are mixed in place
        return images, targets
