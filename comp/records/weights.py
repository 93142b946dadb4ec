"""Records of weights.pt: the weights of a fold, and what rebuilds a model from them alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from comp.checkpoints import CheckpointValues, is_count, is_map, is_state_dict, load_checkpoint, save_checkpoint
from comp.errors import UserError, shorten
from comp.files import read_bytes
from comp.records.base import Fold, Record
from comp.records.task import TaskSpec

if TYPE_CHECKING:
    import torch

MAX_WEIGHTS_BYTES = 2**34  # 16 GiB; a model of a billion weights has 4


@dataclass(frozen=True)
class ModelSpec(Record):
    """The arguments that rebuild a model from its state dict alone, and those that prepare its input.

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
    task: TaskSpec | None = None  # None: one of `classes` per image

    @property
    def task_spec(self) -> TaskSpec:
        """The record of the task, also of weights that were made before there were others than single labels."""
        return self.task or TaskSpec("single", self.classes)

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        del content["task"]
        return content if self.task is None else {**content, "task": self.task.to_dict()}


@dataclass(frozen=True)
class WeightsFile:
    """weights.pt and snapshots/epoch<e>.pt: the weights of one fold, and the spec that rebuilds their model."""

    spec: ModelSpec  # under the key `recipe`
    run: str
    fold: Fold
    epoch: int  # counted from 1
    state_dict: dict[str, torch.Tensor]

    @classmethod
    def from_dict(cls, content: dict[str, Any], path: Path) -> Self:
        """Return the record of a checkpoint's content; a missing key or a wrong type is a UserError."""
        values = CheckpointValues(content, path)
        return cls(
            spec=ModelSpec.from_dict(values.get("recipe", is_map), path),
            run=values.get("run", lambda value: isinstance(value, str)),
            fold=values.get("fold", lambda value: value == "full" or is_count(value)),
            epoch=values.get("epoch", is_count),
            state_dict=values.get("state_dict", is_state_dict),
        )

    def write(self, path: Path) -> None:
        """Write the file, with the tensors on the CPU."""
        save_checkpoint(
            path,
            {
                "recipe": self.spec.to_dict(),
                "run": self.run,
                "fold": self.fold,
                "epoch": self.epoch,
                "state_dict": {key: value.detach().cpu() for key, value in self.state_dict.items()},
            },
        )


@dataclass(frozen=True)
class StoredWeights:
    """A weights file that was read from disk, and the hash of the bytes that were read."""

    path: Path
    sha256: str
    file: WeightsFile

    def check_origin(self, run: str | None, fold: Fold, classes: Sequence[str], epoch: int | None = None) -> None:
        """Refuse the weights of another training, which a copied directory may hold. What is None is not compared."""
        for key, actual, expected in (
            ("run", self.file.run, run),
            ("fold", self.file.fold, fold),
            ("epoch", self.file.epoch, epoch),
            ("classes", ",".join(self.file.spec.classes), ",".join(classes)),
        ):
            if expected is not None and actual != expected:
                shown = f"{key} {shorten(actual, 200)}, where {key} {shorten(expected, 200)} belongs"
                raise UserError(f"{self.path} is of {shown}; restore it, or delete it and train the fold again")


def read_weights(path: Path, sha256: str | None) -> StoredWeights:
    """Read a weights file; bytes other than those of the recorded hash are a UserError. Every load passes here.

    `sha256` is None for snapshots of trainings by older versions, which recorded no hash of them. The bytes that are
    parsed are the bytes that are compared. Hashing takes 24 ms for 20 MB.
    """
    content = read_bytes(path, MAX_WEIGHTS_BYTES)
    actual = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, actual):
        raise other_weights(path)
    return StoredWeights(path, actual, WeightsFile.from_dict(load_checkpoint(path, content), path))


def other_weights(path: Path) -> UserError:
    """Return the error for a weights file whose hash is not the recorded one."""
    return UserError(
        f"{path} is not the file that was recorded when it was written (another sha256); restore it, or delete it "
        f"and train the fold again"
    )
