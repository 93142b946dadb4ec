"""The choices of a training for this machine, as `train.py` prints them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class MachineChoices:
    """The choices for this machine, by a measurement or its hardware. The first three are fixed for a run."""

    precision: str
    kernels: str
    augment: str  # device that augments: cpu or gpu
    device: str
    threads: int
    workers: int
    memory: str  # "kept": freed blocks stay with the process; else "returned"

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))
