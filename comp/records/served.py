"""served.json: all that answers about single images need of a run or a submission, so that they start at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from comp.records.base import Record
from comp.records.blend import BlendSpec
from comp.records.bundle import SquareRecord


@dataclass(frozen=True)
class ServedMember(Record):
    """A run of the blend: its fold models, and how an image becomes their input."""

    path: str  # the run directory
    weights_sha256: dict[str, str]  # fold -> hash, in the order of the mean over folds
    square: SquareRecord
    size: int  # side of the image that the models see, in pixels
    batch: int  # images in a batch: the last bits of predictions may depend on it
    graph_sha256: str | None = None  # hash of member<i>.onnx beside this file; None: not exported


@dataclass(frozen=True, kw_only=True)
class ServedRecord(Record):
    """The blend, its members in the same order, and what they were read from."""

    ADVICE: ClassVar[str] = "delete it, and run the same command again"

    schema: int = 1
    name: str
    classes: tuple[str, ...]
    blend: BlendSpec
    members: tuple[ServedMember, ...]
    manifest: str | None = None  # the manifest of the submission; None: made from a run alone
    manifest_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "blend": self.blend.to_dict()}
