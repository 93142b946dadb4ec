"""Records of weights.pt: the weights of a fold, and what rebuilds a model from them alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from comp.checkpoints import CheckpointValues, is_count, is_map, is_state_dict, load_checkpoint, save_checkpoint
from comp.records.base import Fold, Record

if TYPE_CHECKING:
    import torch


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


@dataclass(frozen=True)
class WeightsFile:
    """weights.pt and snapshots/epoch<e>.pt: the weights of one fold, and the spec that rebuilds their model."""

    spec: ModelSpec  # under the key `recipe`
    run: str
    fold: Fold
    epoch: int  # counted from 1
    state_dict: dict[str, torch.Tensor]

    @classmethod
    def read(cls, path: Path) -> Self:
        values = CheckpointValues(load_checkpoint(path), path)
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
