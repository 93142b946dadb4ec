"""A soup: the uniform mean of several states of one model, and the BatchNorm statistics that go with it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn

from comp.engine.precision import autocast


def average_weights(model: nn.Module, states: Iterable[Mapping[str, torch.Tensor]]) -> nn.Module:
    """A copy of `model` with the mean of their weights. Buffers are none, and some only count: they are the last's."""
    mean = AveragedModel(model)
    for state in states:
        model.load_state_dict(state)
        mean.update_parameters(model)
    return mean.module


def update_batchnorm_stats(
    model: nn.Module, batches: Iterable[torch.Tensor], device: torch.device, precision: str
) -> None:
    """Running statistics become the mean over these batches, as the model trains on them: those of the states it is the
    mean of are not its own. A frozen layer sees no batch in that way, and keeps what it has."""
    before = {
        module: copy.deepcopy(module.state_dict())
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }
    update_bn(batches, _AutocastModel(model, device, precision).train(model.training))
    for module, state in before.items():
        if not module.num_batches_tracked:
            module.load_state_dict(state)


class _AutocastModel(nn.Module):
    """The model alone: batches are made outside, in full precision."""

    def __init__(self, model: nn.Module, device: torch.device, precision: str):
        super().__init__()
        self.model, self.device, self.precision = model, device, precision

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self.precision):
            return self.model(images)
