"""Building blocks of the papers' networks: layers with Keras's conventions, joins of branches, and a classifier.

Keras keeps 0.99 of a running statistic (momentum 0.01 in torch), adds 1e-3 to a variance and gives a convolution a
bias even before a BatchNorm. `same` padding with a stride of 2 is symmetric here: the shapes and counts are Keras's,
the borders are not.
"""

from __future__ import annotations

import torch
from torch import nn

Kernel = int | tuple[int, int]


def conv(inputs: int, outputs: int, kernel: Kernel = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with bias and `same` padding."""
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    return nn.Conv2d(inputs, outputs, (rows, columns), stride, (rows // 2, columns // 2))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a BatchNorm with Keras's epsilon and momentum."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def conv_bn_relu(
    inputs: int, outputs: int, kernel: Kernel = 3, stride: int = 1, activation: type[nn.Module] = nn.ReLU
) -> list[nn.Module]:
    """Return convolution, BatchNorm and activation: the order of Gupta's networks."""
    return [conv(inputs, outputs, kernel, stride), batch_norm(outputs), activation(inplace=True)]


def conv_relu_bn(inputs: int, outputs: int, kernel: Kernel = 3) -> list[nn.Module]:
    """Return convolution, ReLU and BatchNorm: the order of Karakus's networks, whose outputs may be negative."""
    return [conv(inputs, outputs, kernel), nn.ReLU(inplace=True), batch_norm(outputs)]


class Concat(nn.ModuleList):
    """Parallel branches whose channels are concatenated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self], 1)


class Residual(nn.ModuleList):
    """Two parallel branches, a body and a shortcut, whose feature maps are added."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        body, shortcut = self
        return body(x) + shortcut(x)


class SamePadMaxPool(nn.Module):
    """Keras's 2 x 2 max pooling with stride 1 and `same` padding: the last row and column have a smaller window."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1)


def feature_map_side(img_size: int, halvings: int) -> int:
    """Return the side of the feature map after `halvings` poolings by two, each of which drops an odd row."""
    if img_size >> halvings == 0:
        raise ValueError(
            f"img_size={img_size} is too small for {halvings} poolings by two; the smallest is {2**halvings}"
        )
    return img_size >> halvings


class Classifier(nn.Module):
    """Three parts: `features` up to the last feature map, `neck` to a vector of `width` numbers, and the layer `fc`."""

    def __init__(self, features: list[nn.Module], neck: list[nn.Module], width: int, num_classes: int):
        super().__init__()
        self.num_features, self.num_classes = width, num_classes
        self.features = nn.Sequential(*features)
        self.neck = nn.Sequential(*neck)
        self.fc = nn.Linear(width, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature map."""
        return self.features(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.neck(self.forward_features(x)))

    def get_classifier(self) -> nn.Linear:
        """Return the last layer, as timm's models do."""
        return self.fc
