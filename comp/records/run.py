"""Records of a run directory: run.json and fold.json."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from comp.records.base import Record
from comp.records.task import TaskSpec

FoldStatus = Literal["running", "done", "failed", "pruned"]
Unlabelled = Literal["validation", "test"]


def describe_unlabelled(images: Collection[Unlabelled]) -> str:
    """Return the remark that belongs beside each score of models that saw pixels without labels; empty for none."""
    return f"trained with the pixels of {' and '.join(sorted(images, reverse=True))} images" if images else ""


@dataclass(frozen=True)
class GitState(Record):
    """The commit of the code, and whether tracked files differed from it; no commit outside a repository."""

    commit: str | None
    dirty: bool


@dataclass(frozen=True)
class RunRecord(Record):
    """run.json: what every fold of a run shares. Written once, when the run is created.

    `open_run`, which creates the run, fills in `created` and `git`, and measures `precision`, `fitted_batch` and
    `sync_batchnorm`.
    """

    ADVICE: ClassVar[str] = "restore it, or train the run again"

    seed: int
    metric: str
    higher_is_better: bool
    classes: tuple[str, ...]  # in the order of the model's outputs
    folds: tuple[int, ...]
    folds_file: str
    folds_sha256: str
    image_list_sha256: str
    parameters: int  # trainable
    kernels: str = "torch"  # or "fused": operations of our own on a CPU
    augment_device: str = "cpu"
    precision: str = ""
    created: str = ""
    git: GitState = GitState(None, False)
    name: str | None = None  # when it was created: weights.pt has it too. None in runs of older versions
    split_groups: int = 0  # groups of copies that span folds: see folds.allow_split_groups
    soup_of: str | None = None  # the run whose snapshots were averaged
    snapshots: int | None = None  # how many of them per fold
    task: TaskSpec | None = None  # None: one of `classes` per image
    model_weights_sha256: str | None = None  # of the file `model.weights` that the run starts from
    fitted_batch: int | None = None  # train.batch, halved until it fitted into memory; None: not by train.fit_memory
    sync_batchnorm: bool | None = None  # None: the run was not begun on several GPUs
    relabel_sha256: str | None = None  # of the corrected labels; None: there were none
    unlabelled_images: tuple[Unlabelled, ...] = ()  # whose pixels it, its teachers or its first weights have seen
    schema: int = 1

    @property
    def task_spec(self) -> TaskSpec:
        """The record of the task, also of a run that was made before there were others than single labels."""
        return self.task or TaskSpec("single", self.classes)

    def with_unlabelled(self, images: Collection[Unlabelled]) -> RunRecord:
        """Return the record of a run that has seen the pixels of these images too."""
        return replace(self, unlabelled_images=tuple(sorted({*self.unlabelled_images, *images})))

    def to_dict(self) -> dict[str, Any]:
        """Return the keys in the order of run.json; those of soups, split groups and a weight file are optional."""
        content = super().to_dict()
        if self.name is None:
            del content["name"]
        if self.soup_of is None:
            del content["soup_of"], content["snapshots"]
        if not self.split_groups:
            del content["split_groups"]
        for key in ("model_weights_sha256", "fitted_batch", "sync_batchnorm", "relabel_sha256"):
            if content[key] is None:
                del content[key]
        if not self.unlabelled_images:
            del content["unlabelled_images"]
        del content["task"]
        if self.task is not None:
            content["task"] = self.task.to_dict()
        content["precision"] = content.pop("precision")
        first = ("schema", "created", "git", "seed", "metric", "kernels", "augment_device")
        return {**{key: content.pop(key) for key in first}, **content}


@dataclass(frozen=True)
class ProcessInfo(Record):
    """The process that computed something: command, machine and library versions."""

    command: str
    device: str
    device_name: str
    threads: int
    host: str
    pid: int
    versions: dict[str, str]


@dataclass(frozen=True)
class FoldRecord(ProcessInfo):
    """fold.json: the state of one fold's training, and the process that trains it. What is not known yet is None."""

    ADVICE: ClassVar[str] = "restore it, or delete it and train the fold again"

    status: FoldStatus
    started: str
    processes: int = 1
    workers: int = 0
    memory_kept: bool | None = None  # whether the allocator keeps freed blocks
    finished: str | None = None
    reason: str | None = None  # why the training failed
    epochs: int | None = None
    kept: Literal["best", "last", "soup"] | None = None  # the epoch whose weights are kept
    best_epoch: int | None = None
    seconds: float | None = None
    images: str | None = None  # key of the image cache that the fold was trained on
    snapshots: dict[str, str] | None = None  # the hash of each snapshot; for a soup: of each that was averaged
    validation_sha256: dict[str, str] | None = None  # the hashes of last.npz and best.npz
    weights_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        null = {"best_epoch"} if self.status == "done" else set()  # None if no epoch was validated
        content = {key: value for key, value in super().to_dict().items() if value is not None or key in null}
        return {"status": content.pop("status"), "started": content.pop("started"), **content}
