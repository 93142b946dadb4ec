"""The JSON beside a submission: which competition it is for, how it was made and how good it is out of fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from comp.records.base import Record
from comp.records.blend import BlendSpec, MemberRecord, OofSummary
from comp.records.run import GitState, Unlabelled
from comp.records.source import DataSource


@dataclass(frozen=True)
class Competition(Record):
    """The part of a config that outlives it: the dataset, the ledger, and what Kaggle allows."""

    name: str
    root: str
    ledger: str
    kaggle: str | None = None
    per_day: Annotated[int, Field(ge=1)] = 5
    public_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    data: DataSource | None = None  # None: a folder per class in train/, and test/

    @property
    def source(self) -> DataSource:
        """The source of images, labels and ids."""
        return self.data or DataSource(self.root)

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        del content["data"]
        return content if self.data is None else {**content, "data": self.data.to_dict()}

    @property
    def final(self) -> Path:
        """The file that names the submission that counts."""
        return Path(self.ledger).parent / "FINAL"


@dataclass(frozen=True)
class FoldsFile(Record):
    """The split that all members share."""

    file: str
    sha256: str


@dataclass(frozen=True)
class InputHashes(Record):
    """Hashes of what a submission depends on beside its members."""

    train_list_sha256: str
    test_sha256: str
    sample_sha256: str | None  # None: there is no sample submission


@dataclass(frozen=True)
class SubmissionManifest(Record):
    """The JSON beside a submission: everything needed to reproduce the file and to verify its bytes.

    `id`, `file`, `sha256` and `created` are filled in by `write_submission`. Keys that
    another program's manifest lacks have an empty default: such a file can be checked and submitted, not reproduced.
    """

    ADVICE: ClassVar[str] = "make the submission again with infer.py"

    schema: int = 1
    id: str = ""
    file: str = ""
    sha256: str = ""
    created: str = ""
    command: str = ""
    competition: Competition | None = None
    classes: tuple[str, ...] = ()
    full: bool = False  # predicted by models that were trained on every image: there is no CV
    blend: BlendSpec = field(default_factory=lambda: BlendSpec("", ()))
    members: tuple[MemberRecord, ...] = ()
    folds: FoldsFile = FoldsFile("", "")
    images: InputHashes = InputHashes("", "", None)
    oof: OofSummary | None = None
    git: GitState = field(default_factory=lambda: GitState(None, False))
    versions: dict[str, str] = field(default_factory=dict)
    unlabelled_images: tuple[Unlabelled, ...] = ()  # whose pixels a member has seen; left out of the file if none

    def to_dict(self) -> dict[str, Any]:
        competition = self.competition and self.competition.to_dict()
        content = {**super().to_dict(), "competition": competition, "blend": self.blend.to_dict()}
        if not self.unlabelled_images:
            del content["unlabelled_images"]
        return content
