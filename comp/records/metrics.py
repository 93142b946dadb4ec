"""Records of metrics.json: the scores of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from comp.records.base import Record
from comp.records.scores import ScoreReport


@dataclass(frozen=True)
class EpochOof(Record):
    """The OOF score of each fold's best or last epoch."""

    score: float


@dataclass(frozen=True)
class KeptOof(EpochOof):
    """The OOF score of the kept weights. Optimistic: each fold's epoch was chosen on the images it is scored on."""

    interval: tuple[float, float]
    optimistic: bool


@dataclass(frozen=True)
class OofScores(Record):
    """The scores of the pooled OOF predictions."""

    kept: KeptOof
    best: EpochOof
    last: EpochOof


@dataclass(frozen=True)
class RunScores(Record):
    """The scores of the folds that are done, in the run's metric."""

    mean: float  # mean over folds, of the kept weights
    sd: float | None  # standard deviation over folds; None for one fold
    per_fold: dict[str, tuple[float, ...]]  # scores of the "best" and the "last" epoch
    oof: OofScores
    best_minus_last: float  # how much better the best epoch's OOF score is than the last's
    baseline: float | None = None  # the score without looking at an image: always the commonest, or always the mean
    report: ScoreReport | None = None  # None unless each image has one class


@dataclass(frozen=True)
class RunMetrics(Record):
    """metrics.json: the scores of a run. `scores` are None until a fold is done, and for a run without validation.

    In the file the keys of `scores` are on the top level.
    """

    ADVICE: ClassVar[str] = "delete it and run the command that wrote it again"

    run: str
    metric: str
    kept: Literal["best", "last"]  # the epoch whose weights are kept
    folds_done: tuple[int, ...]
    complete: bool  # every fold of the run is done
    scores: RunScores | None = None
    split_groups: int = 0  # groups of copies that span folds; left out of the file if there are none

    @classmethod
    def from_dict(cls, content: object, source: Path | str) -> Self:
        if isinstance(content, dict):
            content = {**content, "scores": content if content.get("folds_done") else None}
        return super().from_dict(content, source)

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        scores = content.pop("scores") or {}
        if not self.split_groups:
            del content["split_groups"]
        if scores.get("report") and scores["report"]["confused"] is None:
            del scores["report"]["confused"]
        return {**content, **scores}
