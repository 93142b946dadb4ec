"""Records about a dataset: its split (folds/*.json) and its check (runs/checks/*.json)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from comp.records.base import Record

IdKind = Literal["name", "path"]  # how image ids are formed: file names, or paths below train/


@dataclass(frozen=True)
class SplitRecord(Record):
    """folds/<dataset>.json: how the CSV beside it was made, and for which images.

    An official split, which others drew, has neither `k` nor `seed`.
    """

    ADVICE: ClassVar[str] = "restore it, or make a new split with: python -m comp folds --force"

    dataset: str
    images: int
    image_id: IdKind
    image_list_sha256: str  # hash of the ids and labels of all training images
    k: int | None = None
    seed: int | None = None
    official: bool = False
    groups_sha256: str | None = None  # hash of the group of each image; None in files of earlier versions

    def to_dict(self) -> dict[str, Any]:
        origin = {"official": True} if self.official else {"k": self.k, "seed": self.seed}
        return {
            "dataset": self.dataset,
            **origin,
            "images": self.images,
            "image_id": self.image_id,
            "image_list_sha256": self.image_list_sha256,
            **({"groups_sha256": self.groups_sha256} if self.groups_sha256 else {}),
        }


@dataclass(frozen=True)
class FileIndex(Record):
    """runs/.cache/files-*.json: size, modification time, time of change, inode and hash of each file of a list."""

    files: tuple[tuple[int, int, int, int, str] | None, ...]  # None: too young to be recognised by its times
    conversion: str | None = None  # the rule for values of more than 8 bits; None in files of earlier versions


@dataclass(frozen=True)
class CacheRecord(Record):
    """cache.json beside the images.npy of an image cache: its length and the hash of its bytes."""

    bytes: int
    xxh3_128: str


@dataclass(frozen=True)
class DataIssue(Record):
    """One kind of problem in a dataset, with the files that have it."""

    kind: str
    severity: Literal["error", "warning"]
    summary: str
    advice: str
    files: tuple[tuple[str, ...], ...] = ()  # a tuple per case: the copies of one image, say
    remarks: tuple[str, ...] = ()  # a text per case


@dataclass(frozen=True)
class DatasetReport(Record):
    """runs/checks/<dataset>.json: the size of a dataset and everything that is wrong or suspicious in it."""

    dataset: str
    classes: dict[str, int]  # training images of each class or tag; empty for numbers
    test: int  # test images
    issues: tuple[DataIssue, ...]  # errors first
    train: int | None = None  # training images; None in files of earlier versions: the sum of `classes`
    conversions: dict[str, int] = field(default_factory=dict)  # images that each rule turned into 8 bits or one plane

    @property
    def exit_code(self) -> int:
        """The exit status of `data check`: 1 if any issue is an error."""
        return int(any(issue.severity == "error" for issue in self.issues))

    @classmethod
    def from_dict(cls, content: object, source: Path | str) -> Self:
        """Return the record of a file, whose key for the issues is `findings`."""
        if isinstance(content, dict) and "findings" in content:
            content = {**content, "issues": content["findings"]}
        return super().from_dict(content, source)

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        findings = content.pop("issues")
        if not self.conversions:
            del content["conversions"]
        return {**content, "findings": findings, "exit_code": self.exit_code}
