"""Test-time views: the eight ways to lay a square picture down, each a pair (apply, undo)."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class View:
    """Mirror left-right or not, then turn by quarters, counter-clockwise."""

    turns: int
    mirror: bool

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """For (..., height, width)."""
        return torch.rot90(images.flip(-1) if self.mirror else images, self.turns, (-2, -1))

    def undo(self, images: torch.Tensor) -> torch.Tensor:
        back = torch.rot90(images, -self.turns, (-2, -1))
        return back.flip(-1) if self.mirror else back


VIEWS = {
    "identity": View(0, False),
    "rot90": View(1, False),
    "rot180": View(2, False),
    "rot270": View(3, False),
    "hflip": View(0, True),
    "transpose": View(1, True),
    "vflip": View(2, True),
    "antitranspose": View(3, True),
}
TTA = {"none": ("identity",), "flips": ("identity", "hflip", "vflip", "rot180"), "d4": tuple(VIEWS)}
