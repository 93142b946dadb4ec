"""SimCLR (T. Chen and others, 2020): two augmented views of an image attract each other, and all others are repelled.

Chosen because its negatives are the batch: no momentum encoder, queue or predictor has to be tuned, and the repulsion
keeps the features of small batches from collapsing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from comp.errors import UserError
from comp.zoo.classifier import classifier_layers

MAX_FEATURES = 2**13  # a head of as many takes 0.3 GB


class SimCLR(nn.Module):
    """A model whose classifier is replaced by a projection head. Its backbone keeps the names of its tensors."""

    def __init__(self, model: nn.Module, size: int, projection: int):
        super().__init__()
        self.backbone = remove_classifier(model)
        with torch.no_grad():
            blank = torch.zeros(2, 3, size, size, device=next(model.parameters()).device)
            features = self.backbone.eval()(blank).flatten(1).shape[1]
        if features > MAX_FEATURES:
            raise UserError(
                f"model.name: this model passes {features:,} numbers per image to its classifier, more than the "
                f"{MAX_FEATURES:,} that are compared; choose one that pools them"
            )
        self.head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, projection))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images).flatten(1))


def remove_classifier(model: nn.Module) -> nn.Module:
    """Return the model with an identity in place of its last layer; a UserError for one that has no single one."""
    layers = classifier_layers(model)
    names = {module: name for name, module in model.named_modules()}
    if len(layers) != 1 or not list(layers[0].parameters()) or layers[0] not in names:
        raise UserError("model.name: this model names no single classifier to take away; choose another")
    parent, _, name = names[layers[0]].rpartition(".")
    setattr(model.get_submodule(parent), name, nn.Identity())
    return model


def contrastive_loss(temperature: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return SimCLR's loss per image, NT-Xent, of projections of the first views and then of the second views."""

    def loss(projections: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        normed = F.normalize(projections, dim=1)
        similarities = (normed @ normed.T / temperature).fill_diagonal_(float("-inf"))
        images = len(projections) // 2
        partners = torch.arange(len(projections), device=projections.device).roll(images)
        return F.cross_entropy(similarities, partners, reduction="none").view(2, images).mean(0)

    return loss


def knn_accuracy(
    train: torch.Tensor, train_targets: torch.Tensor, val: torch.Tensor, val_targets: torch.Tensor, neighbours: int = 20
) -> float:
    """Return the share of `val` whose class most of the nearest features of `train`, by cosine, have."""
    train, classes = F.normalize(train, dim=1), int(train_targets.max()) + 1
    correct = 0
    for features, targets in zip(val.split(1024), val_targets.split(1024), strict=True):
        nearest = (F.normalize(features, dim=1) @ train.T).topk(min(neighbours, len(train))).indices
        votes = F.one_hot(train_targets[nearest], classes).sum(1)
        correct += int((votes.argmax(1) == targets).sum())
    return correct / len(val)
