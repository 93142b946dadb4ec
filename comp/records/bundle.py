"""The record of a bundle: bundle.json, which determines how its notebook predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from comp.records.base import Record
from comp.records.blend import BlendSpec, OofSummary
from comp.records.run import GitState, Unlabelled
from comp.records.source import DataSource


@dataclass(frozen=True)
class SquareRecord(Record):
    """The fields of `SquareSpec`, which turn an image into a square."""

    size: int
    fit: str
    crop: int | None


@dataclass(frozen=True)
class BundleMember(Record):
    """A member of the bundle's blend: how its input is prepared, and its weights.

    The square depends on the training images, and a bundle has none.
    """

    square: SquareRecord
    size: int  # side of the image that the network sees, in pixels
    batch: int
    weights: tuple[str, ...]  # files in the bundle, one per fold
    weights_sha256: tuple[str, ...]  # their hashes, in the same order


@dataclass(frozen=True, kw_only=True)
class BundleRecord(Record):
    """bundle.json: the blend, its members in the same order, and the submission that the bundle must reproduce."""

    ADVICE: ClassVar[str] = "make the bundle again with python -m comp bundle"

    schema: int = 1
    name: str  # the id of the submission
    sha256: str  # hash of the submission
    classes: tuple[str, ...]
    numbers: tuple[int, ...]  # what a sample file may call each class
    blend: BlendSpec
    members: tuple[BundleMember, ...]
    created: str  # when the submission was made
    oof: OofSummary | None
    git: GitState
    versions: dict[str, str]
    source: DataSource | None = None  # where test images and ids are, below the competition; None: test/
    unlabelled_images: tuple[Unlabelled, ...] = ()  # whose pixels a member has seen

    def to_dict(self) -> dict[str, Any]:
        """Return the content without what most bundles do not have, which earlier versions refuse."""
        content = {**super().to_dict(), "blend": self.blend.to_dict()}
        if self.source is None:
            del content["source"]
        if not self.unlabelled_images:
            del content["unlabelled_images"]
        return content
