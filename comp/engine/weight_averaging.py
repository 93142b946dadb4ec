"""Weight averaging (a soup): the uniform mean of several states of one model, and its BatchNorm statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn

from comp.checkpoints import load_state_dict
from comp.engine.precision import autocast


def average_weights(model: nn.Module, states: Iterable[dict[str, torch.Tensor]]) -> nn.Module:
    """Return a copy of `model` with the mean of the weights in `states`.

    Buffers are those of the last state, because some are counters.
    """
    mean = AveragedModel(model)
    for state in states:
        load_state_dict(model, state)
        mean.update_parameters(model)
    return mean.module


def update_batchnorm_stats(
    model: nn.Module, batches: Iterable[torch.Tensor], device: torch.device, precision: str
) -> None:
    """Set the running statistics to the mean over `batches`, as they are in training.

    Averaged weights have other statistics than the states they were averaged from. A frozen layer does not update its
    statistics in training, and keeps those it has.
    """
    saved = {
        module: copy.deepcopy(module.state_dict())
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }
    update_bn(batches, _AutocastModel(model, device, precision).train(model.training))
    for module, state in saved.items():
        if not module.num_batches_tracked:
            module.load_state_dict(state)


class _AutocastModel(nn.Module):
    """Run only the model under autocast: `update_bn` takes batches from outside of it, in full precision."""

    def __init__(self, model: nn.Module, device: torch.device, precision: str):
        super().__init__()
        self.model, self.device, self.precision = model, device, precision

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self.precision):
            return self.model(images)
