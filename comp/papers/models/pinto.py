"""Pinto and Silva: a convolutional network compared with a multilayer perceptron, on BloodMNIST at 28 px.

The paper calls the data "already preprocessed and normalized" without details; here pixels are divided by 255.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from comp.papers.models.layers import Classifier, conv, feature_map_side
from comp.zoo.registry import UNIT_RANGE, register_paper_model


@register_paper_model(UNIT_RANGE)
def pinto_cnn(num_classes: int = 1000, in_chans: int = 3, img_size: int = 28) -> Classifier:
    """Return the CNN, without BatchNorm or dropout: 422,344 parameters."""
    features: list[nn.Module] = []
    inputs = in_chans
    for width in (32, 64, 128):
        features += [conv(inputs, width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inputs = width
    neck: list[nn.Module] = [
        nn.Flatten(),
        nn.Linear(inputs * feature_map_side(img_size, 3) ** 2, 256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 128),
        nn.ReLU(inplace=True),
    ]
    return Classifier(features, neck, 128, num_classes)


class MultiLayerPerceptron(nn.Module):
    """Dense layers on the pixels. It has no feature map and therefore no `forward_features`."""

    def __init__(self, widths: list[int], num_classes: int):
        super().__init__()
        self.num_features, self.num_classes = widths[-1], num_classes
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layers(x))

    def get_classifier(self) -> nn.Linear:
        """Return the last layer, as timm's models do."""
        return self.fc


@register_paper_model(UNIT_RANGE)
def pinto_mlnn(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 28, hidden_layers: int = 1
) -> MultiLayerPerceptron:
    """Return the multilayer perceptron: 2,785,988 parameters.

    Its hidden layers have as many units as the mean of the numbers of inputs and classes: 1,180.
    """
    inputs = in_chans * img_size**2
    return MultiLayerPerceptron([inputs] + [(inputs + num_classes) // 2] * hidden_layers, num_classes)
