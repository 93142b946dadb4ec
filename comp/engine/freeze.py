"""Freeze the backbone of a model for the first epochs: its parameters, and the statistics of its BatchNorm layers."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from comp.zoo.classifier import backbone_layers, backbone_parameters


class BackboneFreezer:
    """Freeze the backbone in the first `epochs` epochs, and train it afterwards.

    Parameters that are frozen already, such as those of a pretrained encoder, stay so. An optimizer skips parameters
    without gradients: they have no momentum and no weight decay until they are trained.
    """

    def __init__(self, model: nn.Module, epochs: int):
        self.model, self.epochs, self.is_frozen = model, epochs, False
        self.parameters = [parameter for parameter in backbone_parameters(model).values() if parameter.requires_grad]
        self.norms = [module for _, module in backbone_layers(model) if isinstance(module, _BatchNorm)]

    def start_epoch(self, epoch: int) -> bool:
        """Freeze or unfreeze the backbone for `epoch`, counted from 0; return whether that changed anything."""
        frozen = epoch < self.epochs
        changed, self.is_frozen = frozen != self.is_frozen, frozen
        if changed:
            for parameter in self.parameters:
                parameter.requires_grad_(not frozen)
        return changed

    def train(self) -> None:
        """Set the model to training mode. A frozen BatchNorm normalises by its running statistics and keeps them."""
        self.model.train()
        if self.is_frozen:
            for norm in self.norms:
                norm.eval()
