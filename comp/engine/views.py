"""Test-time views: the eight symmetries of a square image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from comp.errors import UserError, did_you_mean


@dataclass(frozen=True)
class View:
    """A left-right mirror or none, then quarter turns counter-clockwise."""

    quarter_turns: int
    mirror: bool

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return this view of images (..., height, width)."""
        upright = images.flip(-1) if self.mirror else images
        if self.quarter_turns % 2 == 0:
            return upright.flip(-2, -1) if self.quarter_turns else upright
        # a quarter turn as torch.rot90 makes it, which has no ONNX operation
        return upright.transpose(-2, -1).flip(-2 if self.quarter_turns == 1 else -1)


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


def check_views(names: Iterable[str]) -> None:
    """Raise a UserError for a name that is no view, as in a manifest that was edited."""
    for name in names:
        if name not in VIEWS:
            raise UserError(f"there is no view {name!r}{did_you_mean(name, VIEWS)}")
