"""Records of a blend: what rebuilds it from its members' predictions, its score, and blend.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from comp.records.base import Fold, Record
from comp.records.run import Unlabelled
from comp.records.task import TaskSpec


@dataclass(frozen=True)
class BlendMember(Record):
    """A run in a blend: the views that are averaged, their temperature, and the weight of the run."""

    name: str  # name of the run
    views: tuple[str, ...]
    temperature: float = 1.0
    weight: float | None = None  # None: a stack has a coefficient per class for it


@dataclass(frozen=True)
class StackWeights(Record):
    """The logistic regression of a stack, on the members' log probabilities."""

    coefficients: tuple[tuple[float, ...], ...]  # (classes, members * classes)
    intercepts: tuple[float, ...]  # (classes,)


@dataclass(frozen=True)
class BlendSpec(Record):
    """The fitted blend, without its members' predictions. Stored under the key `blend` of a submission or bundle."""

    method: str
    parts: tuple[BlendMember, ...]  # in the order of their names
    stack: StackWeights | None = None
    decision: tuple[float, ...] = ()  # thresholds or cut points
    task: TaskSpec | None = None  # None: single labels

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        del content["task"]
        if not self.decision:
            del content["decision"]
        return content if self.task is None else {**content, "task": self.task.to_dict()}


@dataclass(frozen=True)
class MemberRecord(Record):
    """A run that a blend was made of: where it is, what computed its predictions, and the weights of its folds."""

    run: str
    path: str
    runtime: Annotated[str, Field(pattern="^(torch|onnx|openvino|openvino-bf16)$")]
    weights_sha256: dict[str, str]  # fold -> hash, in the order of the mean over folds

    @property
    def folds(self) -> list[Fold]:
        """The folds in the order of the manifest: the last bits of their mean depend on it."""
        return ["full" if fold == "full" else int(fold) for fold in self.weights_sha256]


@dataclass(frozen=True)
class OofSummary(Record):
    """The scores of a blend's out-of-fold predictions. All but `naive` are cross-fitted."""

    metric: str
    score: float
    interval: tuple[float, float]  # 95 %
    naive: float  # the in-sample score: fitted on the images that are scored
    log_loss: float  # of numbers the mean squared error
    calibration_error: float | None  # None where nothing is a probability
    per_fold: tuple[float, ...]
    images: int


@dataclass(frozen=True)
class BlendRecord(Record):
    """blend.json: what was fitted to which members, and its score; read by the leaderboard."""

    ADVICE: ClassVar[str] = "run the same infer.py command again"

    name: str
    method: str
    members: tuple[MemberRecord, ...]
    dataset: str
    folds_sha256: str
    metric: str
    higher_is_better: bool
    oof: OofSummary
    parts: tuple[BlendMember, ...]
    complete: bool  # every member has every fold
    optimistic: bool  # at least one member chose each fold's epoch on the images that are scored
    oof_sha256: str | None = None  # hash of the OOF table beside it; None in files of older versions
    split_groups: int = 0  # groups of copies that span folds; left out of the file if there are none
    unlabelled_images: tuple[Unlabelled, ...] = ()  # whose pixels a member has seen; left out of the file if none

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        for key in ("split_groups", "unlabelled_images"):
            if not content[key]:
                del content[key]
        return content
