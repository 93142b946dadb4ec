"""Does another runtime say the same as torch, on real images?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from comp.engine.predict import normalise
from comp.engine.runtime import Network, bytes_feed

# Of the largest logit. Measured: up to 2e-6 on networks of this kit and of timm; 7e-4 when computed in bf16.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    images: int
    difference: float             # the largest between two logits
    largest: float                # logit of torch, without its sign
    agreeing: int                 # images given the same class

    @property
    def holds(self) -> bool:
        return self.agreeing == self.images and self.difference <= TOLERANCE * self.largest  # False for NaN

    def __str__(self) -> str:
        return (f"logits differ by at most {self.difference:.1e} (the largest is {self.largest:.3g}), "
                f"argmax agrees on {self.agreeing} of {self.images} images")


@torch.no_grad()
def compare(model: nn.Module, network: Network, images: torch.Tensor, mean: Sequence[float],
            std: Sequence[float]) -> Parity:
    """Against eager torch in 32 bits: one image alone, then the others in batches, for a graph may have fixed the
    number it was drawn with."""
    cpu, parts = torch.device("cpu"), [images[:1], *images[1:].split(32)]
    layout = torch.channels_last
    ours = torch.cat([model(normalise(part, mean, std, cpu).contiguous(memory_format=layout)) for part in parts])
    theirs = torch.cat([network(bytes_feed(part).contiguous(memory_format=layout)) for part in parts])
    return Parity(len(images), (ours - theirs).abs().max().item(), ours.abs().max().item(),
                  int((ours.argmax(1) == theirs.argmax(1)).sum()))
