"""The record inside weights.pt: what rebuilds a model from its weights alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from comp.records.base import Record


@dataclass(frozen=True)
class ModelSpec(Record):
    """What rebuilds a model from its state dict alone, and how its input is prepared.

    Stored in weights.pt under the key `recipe`.
    """

    ADVICE: ClassVar[str] = "train the fold again"

    name: str  # registered with timm
    kwargs: dict[str, Any]
    classes: tuple[str, ...]  # in the order of the model's outputs
    mean: tuple[float, ...]  # per channel, for pixels from 0 to 1
    std: tuple[float, ...]
    size: int  # side of the square the model sees, in pixels
    fit: str
    crop: int | None
    precision: str
