"""What the papers' networks are built of: layers with Keras's conventions, joins of branches, and a frame for all.

Keras keeps 0.99 of a running statistic (torch says momentum 0.01), adds 1e-3 to a variance and gives a convolution its
bias even before a BatchNorm. `same` padding of a stride of 2 is symmetric here: same shapes and counts, other borders.
"""

from __future__ import annotations

import torch
from torch import nn

Kernel = int | tuple[int, int]


def conv(inputs: int, outputs: int, kernel: Kernel = 3, stride: int = 1) -> nn.Conv2d:
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    return nn.Conv2d(inputs, outputs, (rows, columns), stride, (rows // 2, columns // 2))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def conv_bn_relu(
    inputs: int, outputs: int, kernel: Kernel = 3, stride: int = 1, activation: type[nn.Module] = nn.ReLU
) -> list[nn.Module]:
    """Gupta's order."""
    return [conv(inputs, outputs, kernel, stride), batch_norm(outputs), activation(inplace=True)]


def conv_relu_bn(inputs: int, outputs: int, kernel: Kernel = 3) -> list[nn.Module]:
    """Karakus's order: what is normalised is never negative before, and may be after."""
    return [conv(inputs, outputs, kernel), nn.ReLU(inplace=True), batch_norm(outputs)]


class Concat(nn.ModuleList):
    """Branches side by side, their channels stacked."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self], 1)


class Residual(nn.ModuleList):
    """Two branches side by side, their maps added."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        body, shortcut = self
        return body(x) + shortcut(x)


class SamePadMaxPool(nn.Module):
    """Keras's 2 x 2 maximum with stride 1 and `same` padding: the window of the last row and column is cut short."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1)


def feature_map_side(img_size: int, halvings: int) -> int:
    """The side of the map after so many poolings by two, which drop an odd row."""
    if img_size >> halvings == 0:
        raise ValueError(
            f"img_size={img_size} leaves no map after {halvings} poolings by two; the smallest is {2**halvings}"
        )
    return img_size >> halvings


class Classifier(nn.Module):
    """Layers up to the last map, layers from there to one vector of `width`, and a score per class."""

    def __init__(self, features: list[nn.Module], neck: list[nn.Module], width: int, num_classes: int):
        super().__init__()
        self.num_features, self.num_classes = width, num_classes
        self.features = nn.Sequential(*features)
        self.neck = nn.Sequential(*neck)
        self.fc = nn.Linear(width, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.neck(self.forward_features(x)))

    def get_classifier(self) -> nn.Linear:
        return self.fc
